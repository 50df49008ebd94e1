//! What the guest sees of the VMM's arrival in low memory: one page less, another `int 15h`.

use core::ops::Range;

use firmware::e820::{Kind, Map};
use firmware::options::BootFrom;
use firmware::{Phys, PhysMut, bda};
use handover::RealModeStart;

use crate::error::Error;
use crate::int15;
use crate::layout::PAGE;
use crate::next;

/// The vector of `int 15h`: 4 bytes for each.
const VECTOR_15: u64 = 4 * 0x15;
/// Where a boot sector is loaded: below lies free memory, good for a first stack.
const STACK_TOP: u16 = 0x7c00;

/// Where a BIOS can have memory to give away: above what every program uses, below video memory.
const CONVENTIONAL: Range<u64> = 0x1_0000..0xa_0000;

/// The page to be taken: the last whole one below the end of conventional memory, which the BIOS
/// keeps at 40:13 for `int 12h`. All from there on is reserved in `map`, as if the extended BIOS
/// data area above were larger.
///
/// # Errors
/// [`Error::BiosData`], [`Error::NoLowMemory`], [`Error::MapFull`].
pub(crate) fn reserve<M: Phys + ?Sized>(memory: &M, map: &mut Map) -> Result<u64, Error> {
    let kib = bda::base_memory_kib(memory).ok_or(Error::BiosData)?;
    let end = u64::from(kib) << 10;
    let page = (end & !(PAGE - 1)).checked_sub(PAGE).ok_or(Error::NoLowMemory(kib))?;
    let free = |e: &firmware::e820::Entry| {
        e.kind == Kind::USABLE && e.base <= page && e.end() >= page + PAGE
    };
    if !CONVENTIONAL.contains(&page) || !map.entries().iter().any(free) {
        return Err(Error::NoLowMemory(kib));
    }
    map.reserve(page, end - page)?;
    Ok(page)
}

/// Where the guest begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    /// Its first instruction and stack.
    pub(crate) start: RealModeStart,
    /// [`handover::HandOver::next_disk`].
    pub(crate) next_disk: u32,
}

/// Fills the page, and points `int 15h` and `int 12h` to the new state of things. `map` is the
/// guest's, `drive` the one the machine was started from.
///
/// # Errors
/// [`Error::BiosData`].
pub(crate) fn install<M: PhysMut + ?Sized>(
    memory: &mut M,
    page: u64,
    map: &Map,
    boot: BootFrom,
    drive: Option<u8>,
) -> Result<Begin, Error> {
    let old = memory.bytes(VECTOR_15, 4).and_then(|bytes| bytes.first_chunk().copied());
    let contents = int15::page(map, old.ok_or(Error::BiosData)?);
    let cs = u16::try_from(page >> 4).map_err(|_| Error::BiosData)?;
    let kib = u16::try_from(page >> 10).map_err(|_| Error::BiosData)?;
    let [offset, segment] = [int15::HANDLER.to_le_bytes(), cs.to_le_bytes()];
    let vector = [offset[0], offset[1], segment[0], segment[1]];
    let written = memory.write(page, &contents)
        && memory.write(VECTOR_15, &vector)
        && bda::set_base_memory_kib(memory, kib);
    if !written {
        return Err(Error::BiosData);
    }
    let disks = cs + int15::NEXT / 16;
    let (cs, ip, dl) = match next::disk(boot, drive) {
        None => (cs, int15::START, drive.unwrap_or(0)),
        Some(disk) => (disks, next::ENTRY, disk),
    };
    let start = RealModeStart { cs, ip, ss: 0, sp: STACK_TOP, dl };
    Ok(Begin { start, next_disk: u32::from(disks) << 16 | u32::from(next::ENTRY) })
}

#[cfg(test)]
#[path = "low_tests.rs"]
mod tests;
