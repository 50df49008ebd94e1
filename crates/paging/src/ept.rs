//! The bits of an EPT entry (`Intel SDM 3C, 29.3.2`).

use crate::mtrr::MemoryType;

/// Reads are allowed. An entry of which no right is set is not present; one that allows writes alone is
/// misconfigured, and so is one for execution alone where the CPU does not offer it.
pub const READ: u64 = 1 << 0;
/// Writes are allowed.
pub const WRITE: u64 = 1 << 1;
/// Instruction fetches are allowed (those of the supervisor alone where mode-based execute control is on).
pub const EXECUTE: u64 = 1 << 2;
/// All three: everything but the hole, and what leads to a table.
pub const ALL: u64 = READ | WRITE | EXECUTE;
/// IPAT: the guest's PAT is ignored. Never set here: PAT and the leaf's memory type combine as PAT and
/// MTRRs do without EPT (`29.3.7.2`).
pub const IGNORE_PAT: u64 = 1 << 6;
/// A: set by the CPU if the EPT pointer asks for it.
pub const ACCESSED: u64 = 1 << 8;
/// D: the same, in a leaf, for writes.
pub const DIRTY: u64 = 1 << 9;
/// No #VE instead of an exit, in a leaf or an entry that is not present.
pub const SUPPRESS_VE: u64 = 1 << 63;

/// Where a leaf has its memory type.
const TYPE_SHIFT: u32 = 3;
/// The bits of it.
pub(crate) const TYPE: u64 = 7 << TYPE_SHIFT;

/// The bits of a leaf for memory of this type: those of MTRRs, three bits wide.
#[must_use]
pub const fn memory_type(kind: MemoryType) -> u64 {
    (kind as u64).wrapping_shl(TYPE_SHIFT)
}

/// The memory type in a leaf; `None` if it is a reserved one, which the CPU calls misconfigured.
#[must_use]
pub const fn type_of(leaf: u64) -> Option<MemoryType> {
    MemoryType::new((leaf & TYPE).wrapping_shr(TYPE_SHIFT) as u8)
}
