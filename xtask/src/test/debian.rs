//! Debian, from GRUB through SeaBIOS to a userland that computes and powers off.

use std::{fs, ops::Range, time::Duration};

use anyhow::{Result, bail, ensure};
use testing::Config;

use super::Test;
use crate::{
    facts,
    menu::Multiboot,
    scene::{Guest, Scene},
};

const WORK: &str = "ramooflax.work ramooflax.iomem ramooflax.do=poweroff";
const LIMIT: Duration = Duration::from_secs(150);
/// A CPU of 2008 as the emulator has it.
pub(super) const PHENOM: &str = "phenom,+svm,+npt";

pub(super) fn tests() -> Vec<Test> {
    let cloud = || Scene::under(Guest::named("cloud", WORK));
    let boots = |name: &str, scene: Scene, adjust: fn(&mut Config)| {
        Test::new(&format!("debian.{name}"), 300, move || boot(&scene, adjust).map(drop))
    };
    let mut one = cloud();
    if let Some(start) = &mut one.vmm {
        start.multiboot = Multiboot::One;
    }
    vec![
        boots("bare", Scene::bare(Guest::named("cloud", WORK)), |_| {}),
        boots("cloud", cloud(), |_| {}),
        boots("cloud-4g", cloud(), |config| config.memory = 4096),
        boots("cloud-6g", cloud(), |config| config.memory = 6144),
        boots("amd64", Scene::under(Guest::named("amd64", WORK)), |_| {}),
        boots("multiboot1", one, |_| {}),
        boots("phenom", cloud(), |config| config.cpu = PHENOM.into()),
        Test::new("debian.memory", 300, memory),
        Test::new("debian.cpus", 300, cpus),
        Test::new("debian.spcr", 300, spcr),
        boots("amd64-4g", Scene::under(Guest::named("amd64", WORK)), |c| c.memory = 4096).long(),
        boots("amd64-6g", Scene::under(Guest::named("amd64", WORK)), |c| c.memory = 6144).long(),
    ]
}

/// Boots to a power-off; gives all that the guest printed.
fn boot(scene: &Scene, adjust: fn(&mut Config)) -> Result<String> {
    let mut prepared = scene.prepare()?;
    // A reset instead of a power-off must not go unseen as another boot.
    prepared.config.no_reboot = true;
    adjust(&mut prepared.config);
    let mut machine = prepared.start()?;
    machine.wait_console("WORKLOAD OK", LIMIT)?;
    machine.wait_console("READY", LIMIT)?;
    let status = machine.wait_exit(Duration::from_secs(30))?;
    ensure!(status.success(), "the emulator ended with {status}{}", machine.tails());
    let console = machine.console();
    ensure!(console.contains("reboot: Power down"), "no power-off{}", machine.tails());
    Ok(console)
}

/// The guest has less memory by the VMM, and knows it as reserved: one range below 4 GiB, and at
/// most two pages of conventional memory.
fn memory() -> Result<()> {
    for mib in [512, 4096, 6144] {
        let map = |scene: Scene| -> Result<Vec<(Range<u64>, String)>> {
            let mut prepared = scene.prepare()?;
            prepared.config.memory = mib;
            Ok(facts::iomem(&prepared.start()?.wait_console("READY", LIMIT)?))
        };
        let bare = map(Scene::bare(Guest::named("cloud", "ramooflax.iomem")))?;
        let under = map(Scene::under(Guest::named("cloud", "ramooflax.iomem")))?;
        let of = |map: &[(Range<u64>, String)], kind: &str| -> Vec<Range<u64>> {
            map.iter().filter(|(_, name)| name == kind).map(|(range, _)| range.clone()).collect()
        };
        let gone = facts::missing(&of(&bare, "System RAM"), &of(&under, "System RAM"));
        let (low, high): (Vec<_>, Vec<_>) = gone.iter().partition(|range| range.end <= 1 << 20);
        let [hole] = high.as_slice() else {
            bail!("at {mib} MiB not one range is gone above 1 MiB, but {high:x?}");
        };
        ensure!(hole.end <= 1 << 32, "at {mib} MiB the hole is above 4 GiB: {hole:x?}");
        let low: u64 = low.iter().map(|range| range.end - range.start).sum();
        ensure!(low <= 2 * 4096, "at {mib} MiB {low} bytes of conventional memory are gone");
        let unknown = facts::missing(&gone, &of(&under, "Reserved"));
        ensure!(unknown.is_empty(), "at {mib} MiB {unknown:x?} are gone and not reserved");
    }
    Ok(())
}

/// Until there is SMP the guest of a machine with two CPUs sees one.
fn cpus() -> Result<()> {
    let console = boot(&Scene::under(Guest::named("cloud", WORK)), |config| config.smp = 2)?;
    ensure!(console.contains(" cpus=1\n"), "more than one CPU:\n{console}");
    Ok(())
}

/// An SPCR that names the link as the machine's console is hidden from the guest: the bare machine
/// lists it.
fn spcr() -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), console_table(0x3f8))?;
    let tables = |scene: Scene| -> Result<Vec<String>> {
        let mut prepared = scene.prepare()?;
        prepared.config.acpi_tables.push(file.path().to_owned());
        let console = prepared.start()?.wait_console("READY", LIMIT)?;
        let names = console.lines().filter_map(|line| line.strip_prefix("ACPI "));
        Ok(names.map(str::to_owned).collect())
    };
    let bare = tables(Scene::bare(Guest::named("cloud", "ramooflax.acpi")))?;
    ensure!(bare.iter().any(|name| name == "SPCR"), "the bare machine has only {bare:?}");
    let under = tables(Scene::under(Guest::named("cloud", "ramooflax.acpi")))?;
    ensure!(under.iter().any(|name| name == "FACP"), "the guest has only {under:?}");
    ensure!(!under.iter().any(|name| name == "SPCR"), "the guest has {under:?}");
    Ok(())
}

/// An SPCR of revision 1 (Microsoft's Serial Port Console Redirection Table) for the 16550 at the
/// I/O port `port`. QEMU computes length and checksum.
fn console_table(port: u64) -> Vec<u8> {
    let mut table = Vec::new();
    table.extend(b"SPCR\x50\0\0\0\x01\0TEST  TESTTEST");
    table.extend([1, 0, 0, 0, b'T', b'E', b'S', b'T', 1, 0, 0, 0]);
    // A full 16550; the generic address: in I/O space, 8 bits wide.
    table.extend([0, 0, 0, 0, 1, 8, 0, 0]);
    table.extend(port.to_le_bytes());
    // 8259 interrupt 4, no other; 115200 baud, no parity, 1 stop bit, no flow control, VT100.
    table.extend([1, 4, 0, 0, 0, 0, 7, 0, 1, 0, 0, 0]);
    // No PCI device.
    table.extend([0xff, 0xff, 0xff, 0xff]);
    table.resize(0x50, 0);
    table
}
