//! Large leaves into small ones.

use super::{MapError, Root, TABLE, TableMemory, lowest};
use crate::entry::{slot, span};
use crate::format::Format;

/// Sees that `va` is governed by an entry of level 1 and gives that entry's host-physical address.
///
/// A 1 GiB or 2 MiB leaf on the way is split into leaves of the same attributes, so that every
/// translation stays. Where nothing is mapped tables are added, and the entry given is not present.
///
/// # Errors
/// `OutOfTables`, with the tables as they were.
pub fn split_to_4k<T: TableMemory + ?Sized>(
    mem: &mut T,
    root: impl Into<Root>,
    va: u64,
) -> Result<u64, MapError> {
    let root = root.into();
    let (at, entry, level) = lowest(mem, root, va);
    if level <= 1 {
        return Ok(at);
    }
    let (link, pte) = build(mem, root.format, entry, va, level.wrapping_sub(1))?;
    mem.write(at, link);
    Ok(pte)
}

/// Makes a table of `level`, 1 to 3, for what `parent` maps, and those below it on the way to `va`.
/// Gives the entry that is to replace `parent` and the address of the entry of level 1.
fn build<T: TableMemory + ?Sized>(
    mem: &mut T,
    format: Format,
    parent: u64,
    va: u64,
    level: u8,
) -> Result<(u64, u64), MapError> {
    let table = table_for(mem, format, parent, level)?;
    let at = slot(table, va, level);
    if level <= 1 {
        return Ok((table | TABLE, at));
    }
    match build(mem, format, mem.read(at), va, level.wrapping_sub(1)) {
        Ok((link, pte)) => {
            mem.write(at, link);
            Ok((table | TABLE, pte))
        }
        Err(error) => {
            mem.free(table);
            Err(error)
        }
    }
}

/// A table of `level`, 1 or 2, whose leaves do what the large leaf `parent` does; empty if that is not
/// present.
pub(super) fn table_for<T: TableMemory + ?Sized>(
    mem: &mut T,
    format: Format,
    parent: u64,
    level: u8,
) -> Result<u64, MapError> {
    let table = mem.alloc().ok_or(MapError::OutOfTables)?;
    if format.present(parent) {
        let mut child = if level > 1 { parent } else { format.small(parent) };
        for at in (0..4096).step_by(8) {
            mem.write(table | at, child);
            child = child.wrapping_add(span(level));
        }
    }
    Ok(table)
}
