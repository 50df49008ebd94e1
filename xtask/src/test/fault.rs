//! A fault of the VMM itself is a report: the guest stands still, and the analyst's line answers.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use object::{Object as _, ObjectSymbol as _};
use testing::Gdb;

use super::Test;
use crate::{
    build,
    scene::{Guest, Scene},
};

/// Where the VMM sees its own memory (crate `handover`), the image first.
const VMM_BASE: u64 = 0xffff_8000_0000_0000;
/// An address of the VMM's half where nothing is.
const NOWHERE: u64 = VMM_BASE + 0x1234_5000;

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("vmm.fault", 180, fault)]
}

/// The emulator's own stub sends the VMM astray while it takes an interrupt for the guest.
fn fault() -> Result<()> {
    let mut prepared = Scene::under(Guest::named("exits", "")).prepare()?;
    let image = fs::read(build::vmm()?.resident)?;
    let image = object::File::parse(&*image)?;
    let window = image
        .symbols()
        .find(|symbol| symbol.name() == Ok("svm_window_look"))
        .context("the image has no svm_window_look")?;
    let window = VMM_BASE + window.address();
    prepared.config.qemu_gdb = true;
    let mut machine = prepared.start()?;
    machine.wait_console("READY", Duration::from_secs(60))?;

    let mut emulator = Gdb::attach(&machine.qemu_gdb())?;
    emulator.command(&format!("hbreak *{window:#x}"))?;
    emulator.command("continue")?;
    ensure!(emulator.value("$rip")? == window, "the VMM took no interrupt");
    emulator.command(&format!("set var $rip = {NOWHERE:#x}"))?;
    emulator.command("delete")?;
    emulator.command("detach")?;

    let mut gdb = Gdb::attach(&machine.link())?;
    ensure!(gdb.value("$rip")? == NOWHERE, "the registers are not those of the fault");
    let log = gdb.command("monitor log")?;
    let told = format!("VMM fault: vector 14 error 0x10 at {NOWHERE:#x}");
    ensure!(log.contains(&told), "the log does not say {told:?}:\n{log}");
    // It does not go on, and goes on answering: this client, and the next.
    let said = gdb.command("continue")?;
    ensure!(said.contains("SIGINT") && gdb.value("$rip")? == NOWHERE, "continue gave: {said}");
    ensure!(gdb.command("detach")?.contains("detached"), "no detach");
    let mut gdb = Gdb::attach(&machine.link())?;
    let log = gdb.command("monitor log")?;
    ensure!(log.contains(&told), "the next client reads:\n{log}");
    Ok(())
}
