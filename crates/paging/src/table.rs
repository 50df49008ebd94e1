//! Four-level tables, built and changed: in long mode's format (`AMD APM 2, 5.3`) or in EPT's (`Intel SDM
//! 3C, 29.3.2`), as the [`Root`] says.
//!
//! The address translated is called `va` here: a linear address in the VMM's own tables, a
//! guest-physical one in nested tables. Its bits 63:48 are ignored. Entries that lead to a table allow
//! everything (for a nested walk on AMD treats every guest access as a user's: `AMD APM 2, 15.25.5`):
//! rights are the leaf's alone.
//!
//! Nothing here flushes a TLB: who changes live tables does. A new table is filled before it is
//! linked, so a CPU that walks meanwhile sees the old translation or the new.

mod split;
mod typed;

pub use crate::entry::{ACCESSED, ADDR, DIRTY, GLOBAL, LARGE, NX, PCD, PRESENT, PWT, USER, WRITE};
pub use crate::format::{Format, Root};
pub use split::split_to_4k;
pub use typed::{follow, map_typed, retype, tables_for_types};

use crate::entry::{slot, span};
use crate::format::TABLE;

/// The level of a PML4.
const ROOT_LEVEL: u8 = 4;

/// Where table pages live. Addresses are host-physical.
pub trait TableMemory {
    /// A zeroed page of 4 KiB, or `None` when there are no more.
    fn alloc(&mut self) -> Option<u64>;
    /// Takes back a page that [`alloc`](Self::alloc) gave and that no entry leads to; it need not be zero.
    fn free(&mut self, hpa: u64) {
        let _ = hpa;
    }
    /// The entry at `hpa`, a multiple of 8 inside a table page.
    fn read(&self, hpa: u64) -> u64;
    /// Writes the entry at `hpa`, at once for every CPU that walks.
    fn write(&mut self, hpa: u64, entry: u64);
}

/// The size of the page a leaf maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageSize {
    /// 4 KiB, a leaf of level 1.
    Size4K,
    /// 2 MiB, a leaf of level 2.
    Size2M,
    /// 1 GiB, a leaf of level 3. Not every CPU has it (CPUID 8000_0001h EDX.Page1GB).
    Size1G,
}

impl PageSize {
    /// Bytes in the page.
    pub const fn bytes(self) -> u64 {
        span(self.level())
    }

    const fn level(self) -> u8 {
        match self {
            Self::Size4K => 1,
            Self::Size2M => 2,
            Self::Size1G => 3,
        }
    }
}

/// Why tables could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// [`TableMemory::alloc`] had no page left.
    OutOfTables,
    /// An address or length is no multiple of 4 KiB, or the range leaves the 48 bits of `va` or the
    /// 52 of `pa`.
    Misaligned,
    /// Part of the range is mapped already, elsewhere or with other attributes.
    Overlap,
    /// The memory types of the range change more than [`MAX_STEPS`](crate::mtrr::MAX_STEPS) times: MTRRs
    /// with such masks are refused.
    Scattered,
}

/// Maps `va..va + len` to `pa..` with the largest pages up to `max` that alignment and the tables
/// already there allow.
///
/// `flags` are the leaf's attributes. In long mode's format PRESENT is added; in EPT's they have at least
/// one right, and the memory type. LARGE and address bits are taken care of here. What is mapped just so
/// already (but for the bits the CPU sets) is left as it is.
///
/// # Errors
/// `Misaligned` before anything is changed; `OutOfTables` and `Overlap` with the pages before the
/// one in question mapped.
pub fn map<T: TableMemory + ?Sized>(
    mem: &mut T,
    root: impl Into<Root>,
    va: u64,
    pa: u64,
    len: u64,
    flags: u64,
    max: PageSize,
) -> Result<(), MapError> {
    let root = root.into();
    let mut va = va & span(ROOT_LEVEL + 1).wrapping_sub(1);
    let mut pa = pa;
    let end = va.checked_add(len).ok_or(MapError::Misaligned)?;
    let pa_end = pa.checked_add(len).ok_or(MapError::Misaligned)?;
    if (va | pa | len) & 0xFFF != 0
        || end > span(ROOT_LEVEL + 1)
        || pa_end > ADDR.wrapping_add(4096)
    {
        return Err(MapError::Misaligned);
    }
    let flags = root.format.leaf(flags);
    while va < end {
        let left = end.wrapping_sub(va);
        let done = map_one(mem, root, va, pa, left, flags, max)?.min(left);
        va = va.wrapping_add(done);
        pa = pa.wrapping_add(done);
    }
    Ok(())
}

/// Sees that `va` is mapped to `pa` by one leaf; gives the bytes from `va` to that leaf's end.
fn map_one<T: TableMemory + ?Sized>(
    mem: &mut T,
    root: Root,
    va: u64,
    pa: u64,
    left: u64,
    flags: u64,
    max: PageSize,
) -> Result<u64, MapError> {
    let mut table = root.hpa & ADDR;
    let mut level = ROOT_LEVEL;
    loop {
        let at = slot(table, va, level);
        let entry = mem.read(at);
        let size = span(level);
        let offset = va & size.wrapping_sub(1);
        if !root.format.present(entry) {
            let fits = (va | pa) & size.wrapping_sub(1) == 0 && left >= size;
            if level == 1 || (level <= max.level() && fits) {
                let large = if level == 1 { 0 } else { LARGE };
                mem.write(at, pa | flags | large);
                return Ok(size);
            }
            table = mem.alloc().ok_or(MapError::OutOfTables)?;
            mem.write(at, table | TABLE);
        } else if is_leaf(entry, level) {
            let large = if level == 1 { 0 } else { LARGE };
            let same = pa.wrapping_sub(offset) | flags | large;
            if (entry ^ same) & !root.format.set_by_cpu() != 0 {
                return Err(MapError::Overlap);
            }
            return Ok(size.wrapping_sub(offset));
        } else {
            table = entry & ADDR;
        }
        level = level.wrapping_sub(1);
    }
}

/// The leaf that maps `va`: the address of its entry, the entry, the size of its page. `None` if
/// `va` is not mapped.
pub fn leaf<T: TableMemory + ?Sized>(
    mem: &T,
    root: impl Into<Root>,
    va: u64,
) -> Option<(u64, u64, PageSize)> {
    let root = root.into();
    let (at, entry, level) = lowest(mem, root, va);
    if !root.format.present(entry) {
        return None;
    }
    let size = match level {
        1 => PageSize::Size4K,
        2 => PageSize::Size2M,
        _ => PageSize::Size1G,
    };
    Some((at, entry, size))
}

/// The address of the PDE (the entry of level 2) that covers `va`, present or not; `None` where the
/// tables end above, at a 1 GiB leaf or an entry that is not present.
pub fn pde_address<T: TableMemory + ?Sized>(
    mem: &T,
    root: impl Into<Root>,
    va: u64,
) -> Option<u64> {
    let Root { hpa, format } = root.into();
    let pml4e = mem.read(slot(hpa & ADDR, va, 4));
    if !format.present(pml4e) {
        return None;
    }
    let pdpte = mem.read(slot(pml4e & ADDR, va, 3));
    if !format.present(pdpte) || is_leaf(pdpte, 3) {
        return None;
    }
    Some(slot(pdpte & ADDR, va, 2))
}

/// Table pages, the root not counted, to map `len` bytes at 0 to 0 with pages up to `max`: sizes
/// the VMM before it is placed.
pub const fn tables_for(len: u64, max: PageSize) -> u64 {
    // At 0 pages are aligned to any size: only the tail needs smaller ones than `max`.
    let pdpts = len.div_ceil(span(4));
    let (pds, pts) = match max {
        PageSize::Size4K => (len.div_ceil(span(3)), len.div_ceil(span(2))),
        PageSize::Size2M => (len.div_ceil(span(3)), tail(len, span(2))),
        PageSize::Size1G => (tail(len, span(3)), tail(len, span(2))),
    };
    pdpts.wrapping_add(pds).wrapping_add(pts)
}

/// 1 if `len` is no multiple of `size`, a power of two.
const fn tail(len: u64, size: u64) -> u64 {
    (len & size.wrapping_sub(1) != 0) as u64
}

/// The entry the walk for `va` ends at, its address and level: a leaf, or one not present.
fn lowest<T: TableMemory + ?Sized>(mem: &T, root: Root, va: u64) -> (u64, u64, u8) {
    let mut table = root.hpa & ADDR;
    let mut level = ROOT_LEVEL;
    loop {
        let at = slot(table, va, level);
        let entry = mem.read(at);
        if !root.format.present(entry) || is_leaf(entry, level) {
            return (at, entry, level);
        }
        table = entry & ADDR;
        level = level.wrapping_sub(1);
    }
}

/// Whether a present entry maps a page.
const fn is_leaf(entry: u64, level: u8) -> bool {
    level <= 1 || (level <= 3 && entry & LARGE != 0)
}
