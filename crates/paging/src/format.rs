//! What differs between the formats tables are built in.

use crate::entry::{ACCESSED, ADDR, DIRTY, LARGE, NX, PRESENT, USER, WRITE};
use crate::ept;
use crate::mtrr::MemoryType;

/// What an entry that leads to a table grants: in both formats the low three bits.
pub(crate) const TABLE: u64 = PRESENT | WRITE | USER;
const _: () = assert!(TABLE == ept::ALL);

/// PAT in a leaf of level 1, which has no PS.
const PAT_4K: u64 = 1 << 7;
/// PAT in a large leaf.
const PAT_LARGE: u64 = 1 << 12;

/// The format of a set of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Long mode's, and so AMD's for nested tables: memory types come from the CPU's own MTRRs.
    Long,
    /// EPT's: a leaf holds the memory type the MTRRs would give (`Intel SDM 3C, 29.3.7.2`).
    Ept,
}

/// A set of tables: where its root is, and its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// The table of level 4, host-physical.
    pub hpa: u64,
    /// What its entries mean.
    pub format: Format,
}

impl Root {
    /// Tables in EPT's format.
    #[must_use]
    pub const fn ept(hpa: u64) -> Self {
        Self { hpa, format: Format::Ept }
    }
}

impl From<u64> for Root {
    /// A bare address is that of tables in long mode's format, as in CR3.
    fn from(hpa: u64) -> Self {
        Self { hpa, format: Format::Long }
    }
}

impl Format {
    /// The attributes of a nested leaf that may be read, and written and executed if said. `kind` is for
    /// EPT alone.
    #[must_use]
    pub const fn nested(self, write: bool, execute: bool, kind: MemoryType) -> u64 {
        let write = if write { WRITE } else { 0 };
        match self {
            Self::Long => PRESENT | USER | write | if execute { 0 } else { NX },
            Self::Ept => {
                ept::READ | write | if execute { ept::EXECUTE } else { 0 } | ept::memory_type(kind)
            }
        }
    }

    /// `entry`, of any level, but that nothing is executed through it.
    #[must_use]
    pub const fn without_execute(self, entry: u64) -> u64 {
        match self {
            Self::Long => entry | NX,
            Self::Ept => entry & !ept::EXECUTE,
        }
    }

    /// Whether the entry is in use.
    #[must_use]
    pub const fn present(self, entry: u64) -> bool {
        match self {
            Self::Long => entry & PRESENT != 0,
            Self::Ept => entry & ept::ALL != 0,
        }
    }

    /// `flags` as they stand in a leaf of level 1.
    pub(crate) const fn leaf(self, flags: u64) -> u64 {
        let flags = flags & !(ADDR | LARGE);
        match self {
            Self::Long => flags | PRESENT,
            Self::Ept => flags,
        }
    }

    /// The bits the CPU sets by itself.
    pub(crate) const fn set_by_cpu(self) -> u64 {
        match self {
            Self::Long => ACCESSED | DIRTY,
            Self::Ept => ept::ACCESSED | ept::DIRTY,
        }
    }

    /// The leaf of level 1 for the first 4 KiB of what the leaf `large`, of level 2, maps.
    pub(crate) const fn small(self, large: u64) -> u64 {
        match self {
            Self::Long => {
                let pat = if large & PAT_LARGE != 0 { PAT_4K } else { 0 };
                (large & !(LARGE | PAT_LARGE)) | pat
            }
            Self::Ept => large & !LARGE,
        }
    }
}
