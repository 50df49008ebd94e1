//! Large leaves into small ones.

use super::{LARGE, MapError, PRESENT, TABLE, TableMemory, lowest};
use crate::entry::{slot, span};

/// PAT in a leaf of level 1, which has no PS.
const PAT_4K: u64 = 1 << 7;
/// PAT in a large leaf.
const PAT_LARGE: u64 = 1 << 12;

/// Sees that `va` is governed by an entry of level 1 and gives that entry's host-physical address.
///
/// A 1 GiB or 2 MiB leaf on the way is split into leaves of the same attributes, so that every
/// translation stays. Where nothing is mapped tables are added, and the entry given is not present.
///
/// # Errors
/// `OutOfTables`, with the tables as they were.
pub fn split_to_4k<T: TableMemory + ?Sized>(
    mem: &mut T,
    root: u64,
    va: u64,
) -> Result<u64, MapError> {
    let (at, entry, level) = lowest(mem, root, va);
    if level <= 1 {
        return Ok(at);
    }
    let (link, pte) = build(mem, entry, va, level.wrapping_sub(1))?;
    mem.write(at, link);
    Ok(pte)
}

/// Makes a table of `level`, 1 to 3, for what `parent` maps, and those below it on the way to `va`.
/// Gives the entry that is to replace `parent` and the address of the entry of level 1.
fn build<T: TableMemory + ?Sized>(
    mem: &mut T,
    parent: u64,
    va: u64,
    level: u8,
) -> Result<(u64, u64), MapError> {
    let table = mem.alloc().ok_or(MapError::OutOfTables)?;
    if parent & PRESENT != 0 {
        let mut child = child(parent, level);
        for at in (0..4096).step_by(8) {
            mem.write(table | at, child);
            child = child.wrapping_add(span(level));
        }
    }
    let at = slot(table, va, level);
    if level <= 1 {
        return Ok((table | TABLE, at));
    }
    match build(mem, mem.read(at), va, level.wrapping_sub(1)) {
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

/// The first of the 512 leaves of `level` that do what the large leaf `parent` did.
const fn child(parent: u64, level: u8) -> u64 {
    if level > 1 {
        return parent;
    }
    let pat = if parent & PAT_LARGE != 0 { PAT_4K } else { 0 };
    (parent & !(LARGE | PAT_LARGE)) | pat
}
