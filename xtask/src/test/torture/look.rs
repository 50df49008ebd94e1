//! The VMM in good order: a stock gdb is answered, and the code is what was loaded.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectSegment as _, SegmentFlags, elf::PF_X};
use serde_json::json;
use testing::{Gdb, Machine};

/// A gdb attaches, asks and detaches; the code of `image`, the file of the resident image, is whole meanwhile.
pub(super) fn look(machine: &Machine, image: &[u8]) -> Result<()> {
    let mut gdb = Gdb::start()?;
    gdb.limit = Duration::from_secs(15);
    let said = gdb.command(&format!("target remote {}", machine.link().display()))?;
    ensure!(said.contains(" in ?? ()"), "gdb does not attach: {said}{}", machine.tails());
    let version = gdb.command("monitor version")?;
    ensure!(version.contains(env!("CARGO_PKG_VERSION")), "the version is {version}");
    ensure!(!version.contains("frozen"), "the VMM is frozen: {}", gdb.command("monitor log")?);
    let counters = gdb.command("monitor counters")?;
    ensure!(counters.contains("cpuid"), "the counters are {counters}");
    gdb.value("$rip")?;
    gdb.value("$cr0")?;
    let whole = unharmed(machine, image);
    let said = gdb.command("detach")?;
    ensure!(said.contains("detached"), "no detach: {said}");
    whole
}

/// Compares the code of the resident image with what is in physical memory, past all page tables.
fn unharmed(machine: &Machine, image: &[u8]) -> Result<()> {
    let log = machine.log();
    let hole = log.rsplit_once("Ramooflax: hole 0x").context("the log names no hole")?.1;
    let hole = hole.split_once("..").context("the log names no hole")?.0;
    let hole = u64::from_str_radix(hole, 16)?;
    let image = object::File::parse(image)?;
    let code = image.segments().filter(
        |segment| matches!(segment.flags(), SegmentFlags::Elf { p_flags } if p_flags & PF_X != 0),
    );
    let mut compared = 0;
    for segment in code {
        let expected = segment.data()?;
        let from = hole + segment.address();
        let found = memory(machine, from, expected.len())?;
        let differ = found.iter().zip(expected).position(|(one, other)| one != other);
        ensure!(
            differ.is_none(),
            "the VMM's code changed at {from:#x} + {:#x}",
            differ.unwrap_or(0)
        );
        compared += expected.len();
    }
    ensure!(compared > 10_000, "no code was compared");
    Ok(())
}

/// Physical memory.
fn memory(machine: &Machine, from: u64, len: usize) -> Result<Vec<u8>> {
    if machine.is_bochs() {
        let mut debugger = machine.debugger()?;
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let more = (len - bytes.len()).min(4096);
            bytes.extend(debugger.memory(from + bytes.len() as u64, more)?);
        }
        return Ok(bytes);
    }
    let to = machine.dir().join("memory");
    let place = json!({ "val": from, "size": len, "filename": to });
    machine.qmp()?.execute("pmemsave", place)?;
    fs::read(&to).context("the memory that was saved")
}
