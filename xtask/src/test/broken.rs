//! Memory maps and ACPI tables that make no sense, from a boot loader that lies (`guests/sector/shim.S`): the VMM
//! starts if they can be understood all the same, else one clear line, and the machine boots without it. Or that is
//! no multiboot loader.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use testing::Machine;

use super::{
    Test,
    refusal::{prepare, press, said},
    stick,
};
use crate::{scene::Prepared, sector};

const OPTIONS: &str = "log=uart:0x3e8 boot=next";
const LIMIT: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;
/// End of usable memory with 512 MiB.
const TOP: u64 = 0x1ffe_0000;

/// A range of the map: base, length, type.
type Range = (u64, u64, u32);

/// What the machine really has.
const TRUE: [Range; 5] = [
    (0, 0x9_fc00, 1),
    (0x9_fc00, 0x400, 2),
    (0xf_0000, 0x1_0000, 2),
    (MIB, TOP - MIB, 1),
    (TOP, 0x2_0000, 2),
];

pub(super) fn tests() -> Vec<Test> {
    let map = |name: &str, map: fn() -> Vec<u8>, expected| {
        Test::new(&format!("broken.map-{name}"), 120, move || judge(0, &map(), expected))
    };
    let acpi = |name: &str, damage, expected| {
        Test::new(&format!("broken.acpi-{name}"), 120, move || judge(damage, &[], expected))
    };
    vec![
        map("messy", messy, None),
        map("short-entry", || vec![4, 0, 0, 0, 0, 0, 0, 0], Some("multiboot memory map at")),
        map("long", long, Some("the memory map has more than 96 ranges")),
        map("no-ram", || entries(&[(0, 0x9_fc00, 1), (MIB, TOP, 2)]), Some("no room for the VMM")),
        acpi("zero-entry", 1, Some("firmware table APIC makes no sense")),
        acpi("long-table", 2, Some("firmware table APIC makes no sense")),
        acpi("loop", 3, None),
        acpi("long-root", 4, Some("firmware table RSDT/XSDT makes no sense")),
        acpi("nowhere", 5, None),
        acpi("sums", 6, None),
        acpi("not-listed", 7, Some("firmware does not list this CPU")),
        Test::new("broken.magic", 120, magic),
    ]
}

/// Ranges as multiboot 1 has them.
fn entries(ranges: &[Range]) -> Vec<u8> {
    let entry = |(base, len, kind): &Range| -> Vec<u8> {
        let head = [&20_u32.to_le_bytes()[..], &base.to_le_bytes(), &len.to_le_bytes()].concat();
        [head, kind.to_le_bytes().to_vec()].concat()
    };
    ranges.iter().flat_map(entry).collect()
}

/// Unsorted, overlapping, empty, wrapping, beyond all addresses, of unknown kinds; more than 64 of them.
fn messy() -> Vec<u8> {
    let mut ranges: Vec<Range> = TRUE.into_iter().rev().collect();
    ranges.extend([
        (16 * MIB, 64 * MIB, 1),
        (17 * MIB, 0, 1),
        (0, 0, 2),
        (u64::MAX - 0xffff, 0x2_0000, 1),
        (1 << 60, 1 << 60, 1),
        (1 << 61, u64::MAX, 2),
        (0x9_f000, 0x1_1000, 99),
        (200 * MIB, 0x1000, 0),
        (201 * MIB, 0x1000, u32::MAX),
    ]);
    ranges.extend((0..60).map(|n| ((300 - n) * MIB, MIB, 1)));
    entries(&ranges)
}

/// More ranges than any machine has.
fn long() -> Vec<u8> {
    let islands = (0..100).map(|n| ((2 + 2 * n) * MIB, MIB, 1));
    entries(&TRUE[..3].iter().copied().chain(islands).collect::<Vec<_>>())
}

/// The boot loader that lies, made for one lie.
fn shim(dir: &Path, damage: u32, map: &[u8]) -> Result<()> {
    let (program, mut bytes) = sector::assemble(dir, "shim", &["-Ttext=0x1000000"])?;
    let mark = bytes.windows(4).position(|part| part == b"SHIM").context("no mark")? + 4;
    let mut data = [damage.to_le_bytes(), u32::try_from(map.len())?.to_le_bytes()].concat();
    data.extend(map);
    ensure!(data.len() < 8192, "the map is too long for the shim");
    bytes[mark..mark + data.len()].copy_from_slice(&data);
    fs::write(&program, bytes).context("the shim")
}

fn lying(damage: u32, map: &[u8]) -> Result<Prepared> {
    let dir = tempfile::tempdir()?;
    shim(dir.path(), damage, map)?;
    prepare(OPTIONS, |contents| {
        contents.files.push((dir.path().join("shim"), "shim".to_owned()));
        contents.menu = format!(
            "multiboot /boot/shim\nmodule /boot/ramooflax {OPTIONS}\nmodule /boot/resident\nboot\n"
        );
        Ok(())
    })
}

/// The VMM starts, or says `refusal`; the machine's own disk boots in any case.
fn judge(damage: u32, map: &[u8], refusal: Option<&str>) -> Result<()> {
    let mut machine = lying(damage, map)?.start()?;
    if let Some(expected) = refusal {
        let said = said(&machine, "In 10 seconds or at a key, without it:", 1)?;
        ensure!(said.contains(expected) && said.contains("xpected"), "but:\n{said}");
        stick::screen(&machine, expected)?;
        press(&machine)?;
    }
    let console = machine.wait_console("END\n", LIMIT)?;
    ensure!(console.contains("SECTOR dl=80"), "not as disk 80h:\n{console}");
    let under = console.contains("PROBE real answered");
    ensure!(under == refusal.is_none(), "under the VMM: {under}{}", machine.tails());
    Ok(())
}

/// EAX does not say that a multiboot loader is at work: nothing of what it handed over can be believed, and the machine
/// halts.
fn magic() -> Result<()> {
    const EXPECTED: &str = "Ramooflax was not started by a multiboot loader. Expected: GRUB's";
    let machine = lying(8, &[])?.start()?;
    let said = said(&machine, "Halted.", 1)?;
    ensure!(said.contains(EXPECTED), "but:\n{said}");
    stick::screen(&machine, EXPECTED)?;
    press(&machine)?;
    thread::sleep(Duration::from_secs(1));
    ensure!(halted(&machine)?, "not halted{}", machine.tails());
    ensure!(machine.console().is_empty(), "something boots{}", machine.tails());
    Ok(())
}

/// Whether the CPU is halted with interrupts off: EFLAGS.IF is bit 9, which Bochs writes in capitals.
fn halted(machine: &Machine) -> Result<bool> {
    if machine.is_bochs() {
        let mut outside = machine.outside()?;
        // Code and data are flat here; behind HLT is where it stands.
        let rip = outside.register("rip")?;
        let hlt = outside.word(rip - 1, 1)? == 0xf4;
        outside.go()?;
        thread::sleep(Duration::from_millis(200));
        let stands = machine.outside()?.register("rip")? == rip;
        let registers = machine.debugger()?.command("r")?;
        machine.debugger()?.go()?;
        return Ok(hlt && stands && registers.contains(" if "));
    }
    let registers = machine.qmp()?.human("info registers")?;
    let flags = registers.split_once("EFL=").and_then(|(_, rest)| rest.get(..8));
    let flags = u32::from_str_radix(flags.context("no EFLAGS")?, 16)?;
    Ok(registers.contains("HLT=1") && flags & 1 << 9 == 0)
}
