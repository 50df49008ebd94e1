//! Tables whose leaves say the memory type (`Intel SDM 3C, 29.3.7.2`). In long mode's format they do not,
//! and types make no difference here.

use core::ops::Range;

use super::{
    Format, LARGE, MapError, PageSize, Root, TABLE, TableMemory, is_leaf, lowest, map,
    split::table_for,
};
use crate::entry::{ADDR, slot, span};
use crate::ept;
use crate::mtrr::{MemoryType, Mtrrs, Run};

/// Maps `range` to itself with the largest pages up to `max`, each of one memory type: that of `types`.
///
/// # Errors
/// As [`map`], and `Scattered` with what is below mapped.
pub fn map_typed<T: TableMemory + ?Sized>(
    mem: &mut T,
    root: impl Into<Root>,
    types: &Mtrrs,
    range: Range<u64>,
    flags: u64,
    max: PageSize,
) -> Result<(), MapError> {
    let root = root.into();
    let (from, to) = (range.start, range.end);
    if root.format == Format::Long {
        return map(mem, root, from, from, to.saturating_sub(from), flags, max);
    }
    for run in types.runs(from, to) {
        let Run { from, to, kind } = run.map_err(|_| MapError::Scattered)?;
        let flags = flags & !ept::TYPE | ept::memory_type(kind);
        map(mem, root, from, from, to.wrapping_sub(from), flags, max)?;
    }
    Ok(())
}

/// Gives what is mapped in `range`, a multiple of 4 KiB at both ends, the memory type `kind`: large leaves
/// that reach out of it are split, and tables that all of whose leaves are alike again become one leaf
/// (up to `max`; never the page table of the first 2 MiB, into which others point). What is not mapped
/// stays so. The work is bounded by the number of entries that cover the range.
///
/// # Errors
/// `OutOfTables` with the leaves before the one in question changed; `Misaligned` with nothing changed.
pub fn retype<T: TableMemory + ?Sized>(
    mem: &mut T,
    root: impl Into<Root>,
    range: Range<u64>,
    kind: MemoryType,
    max: PageSize,
) -> Result<(), MapError> {
    let root = root.into();
    let (from, to) = (range.start, range.end.min(span(5)));
    if (from | to) & 0xFFF != 0 {
        return Err(MapError::Misaligned);
    }
    if root.format == Format::Long {
        return Ok(());
    }
    let mut at = from;
    while at < to {
        let (place, entry, level) = lowest(mem, root, at);
        let size = span(level);
        let start = at & !size.wrapping_sub(1);
        let end = start.wrapping_add(size);
        let same = ept::type_of(entry) == Some(kind);
        if !root.format.present(entry) || same {
            at = end;
        } else if start >= from && end <= to {
            mem.write(place, entry & !ept::TYPE | ept::memory_type(kind));
            at = end;
        } else {
            let table = table_for(mem, root.format, entry, level.wrapping_sub(1))?;
            mem.write(place, table | TABLE);
        }
    }
    join(mem, root, from..to, max);
    Ok(())
}

/// Makes the tables below `end` follow when the MTRRs change from `before` to `now`: [`retype`] for each range
/// whose type is another.
///
/// # Errors
/// As [`retype`], and `Scattered`; the leaves below the one in question are changed.
pub fn follow<T: TableMemory + ?Sized>(
    mem: &mut T,
    root: impl Into<Root>,
    (before, now): (&Mtrrs, &Mtrrs),
    end: u64,
    max: PageSize,
) -> Result<(), MapError> {
    let root = root.into();
    for run in now.changes(before, 0, end) {
        let Run { from, to, kind } = run.map_err(|_| MapError::Scattered)?;
        retype(mem, root, from..to, kind, max)?;
    }
    Ok(())
}

/// Table pages that [`map_typed`] takes for `0..len` more than [`tables_for`](super::tables_for) says.
///
/// # Errors
/// `Scattered`.
pub fn tables_for_types(types: &Mtrrs, len: u64, max: PageSize) -> Result<u64, MapError> {
    let mut tables = 0_u64;
    // What is in pieces anyway, for `len` ends there; and what was counted last.
    let tail = |size: u64| (len & size.wrapping_sub(1) != 0).then(|| len & !size.wrapping_sub(1));
    let mut split = [(PageSize::Size1G, None), (PageSize::Size2M, None)];
    for run in types.runs(0, len) {
        let edge = run.map_err(|_| MapError::Scattered)?.to;
        if edge >= len {
            break;
        }
        for (size, last) in &mut split {
            let page = edge & !size.bytes().wrapping_sub(1);
            if *size <= max
                && page != edge
                && *last != Some(page)
                && tail(size.bytes()) != Some(page)
            {
                *last = Some(page);
                tables = tables.wrapping_add(1);
            }
        }
    }
    Ok(tables)
}

/// Makes one leaf of each table that covers part of `range` and does what a leaf of the level above does.
fn join<T: TableMemory + ?Sized>(mem: &mut T, root: Root, range: Range<u64>, max: PageSize) {
    for (level, size) in [(1, PageSize::Size2M), (2, PageSize::Size1G)] {
        let mut at = range.start.max(PageSize::Size2M.bytes());
        while at < range.end && size <= max {
            let (place, covers) = link(mem, root, at, level);
            if let Some(place) = place {
                join_one(mem, root, place, level);
            }
            at = (at | covers.wrapping_sub(1)).wrapping_add(1);
        }
    }
}

/// The address of the entry that leads to the table of `level` for `va`, if there is one, and the bytes
/// around `va` for which the answer is the same.
fn link<T: TableMemory + ?Sized>(mem: &T, root: Root, va: u64, level: u8) -> (Option<u64>, u64) {
    let mut table = root.hpa & ADDR;
    let mut above = super::ROOT_LEVEL;
    loop {
        let at = slot(table, va, above);
        let entry = mem.read(at);
        if !root.format.present(entry) || is_leaf(entry, above) {
            return (None, span(above));
        }
        if above.wrapping_sub(1) <= level {
            return (Some(at), span(above));
        }
        table = entry & ADDR;
        above = above.wrapping_sub(1);
    }
}

/// Replaces the table of `level` that the entry at `place` leads to by a leaf there, if its 512 entries are
/// leaves that differ in nothing but the address, as they should.
fn join_one<T: TableMemory + ?Sized>(mem: &mut T, root: Root, place: u64, level: u8) {
    let table = mem.read(place) & ADDR;
    let first = mem.read(table);
    let mut cpu = 0;
    for (at, offset) in (0..4096).step_by(8).zip((0..).step_by(span(level) as usize)) {
        let entry: u64 = mem.read(table | at);
        let differs = entry ^ first.wrapping_add(offset);
        if !is_leaf(entry, level)
            || !root.format.present(entry)
            || differs & !root.format.set_by_cpu() != 0
        {
            return;
        }
        cpu |= entry & root.format.set_by_cpu();
    }
    if first & ADDR & span(level.wrapping_add(1)).wrapping_sub(1) != 0 {
        return;
    }
    mem.write(place, first | LARGE | cpu);
    mem.free(table);
}
