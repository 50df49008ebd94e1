//! The bits of an entry of 64 bits, common to PAE and long mode (`AMD APM 2, 5.2` and `5.3`).

/// P: the entry is in use; without it every other bit belongs to software.
pub const PRESENT: u64 = 1 << 0;
/// R/W: writes are allowed, if every level above allows them too.
pub const WRITE: u64 = 1 << 1;
/// U/S: CPL 3 may access, if it may at every level above too.
pub const USER: u64 = 1 << 2;
/// PWT: page-level writethrough, low bit of the PAT index.
pub const PWT: u64 = 1 << 3;
/// PCD: page-level cache disable, middle bit of the PAT index.
pub const PCD: u64 = 1 << 4;
/// A: set by the CPU when it uses the entry.
pub const ACCESSED: u64 = 1 << 5;
/// D: set by the CPU when it writes through a leaf.
pub const DIRTY: u64 = 1 << 6;
/// PS: in levels 2 and 3, the entry is a leaf. The same bit is PAT in a leaf of level 1.
pub const LARGE: u64 = 1 << 7;
/// G: the translation survives a write of CR3.
pub const GLOBAL: u64 = 1 << 8;
/// NX: no instruction fetch. Reserved while EFER.NXE is clear.
pub const NX: u64 = 1 << 63;
/// The physical address in an entry: bits 51:12. In a large leaf bit 12 is PAT and the bits between
/// it and the page's size are reserved.
pub const ADDR: u64 = 0x000F_FFFF_FFFF_F000;

/// The number of low address bits below an entry of `level` (1 is the page table): 12, 21, 30...
#[inline(always)]
pub(crate) const fn shift(level: u8) -> u32 {
    (level as u32).wrapping_mul(9).wrapping_add(3)
}

/// Bytes one entry of `level` covers.
#[inline(always)]
pub(crate) const fn span(level: u8) -> u64 {
    1u64.wrapping_shl(shift(level))
}

/// The physical address of the entry for `address` in the table of `level` at `table`.
#[inline(always)]
pub(crate) const fn slot(table: u64, address: u64, level: u8) -> u64 {
    table | (address.wrapping_shr(shift(level).wrapping_sub(3)) & 0xFF8)
}
