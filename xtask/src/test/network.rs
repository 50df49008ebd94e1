//! Ramooflax started from the network, by the script of `dist/ipxe` and the iPXE of an emulated card.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};

use super::Test;
use crate::{
    build, paths,
    scene::{Guest, Scene},
    sector::End,
};

/// The option of the script as it is in the repository.
const LINK: &str = "link=uart:0x3f8,115200";

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("network.ipxe", 180, ipxe)]
}

fn ipxe() -> Result<()> {
    let mut prepared = Scene::bare(Guest::Sector(End::Halt)).prepare()?;
    let vmm = build::vmm()?;
    let script = fs::read_to_string(paths::root().join("dist/ipxe/ramooflax.ipxe"))?;
    ensure!(script.contains(LINK), "the script has other options:\n{script}");
    let script = script.replace(LINK, &format!("{LINK} log=uart:0x3e8"));
    prepared.file("ramooflax", &fs::read(vmm.loader)?)?;
    prepared.file("resident", &fs::read(vmm.stripped)?)?;
    let file = prepared.file("ramooflax.ipxe", script.as_bytes())?;
    let dir = file.parent().map(Into::into).unwrap_or_default();
    prepared.config.network = Some((dir, "ramooflax.ipxe".to_owned()));
    let mut machine = prepared.start()?;
    let console = machine.wait_console("END\n", Duration::from_secs(120))?;
    ensure!(console.contains("SECTOR dl=80"), "not as disk 80h:\n{console}");
    ensure!(console.contains("PROBE protected answered"), "without the VMM:\n{console}");
    let log = machine.log();
    ensure!(log.matches("guest starts at").count() == 1, "not once under the VMM:\n{log}");
    // Once by the loader, twice by the disk itself.
    let asked = log.matches("the boot loader was started again").count();
    ensure!(asked == 3, "the loader was not started again:\n{log}");
    Ok(())
}
