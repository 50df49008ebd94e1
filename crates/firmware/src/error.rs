//! What can go wrong while tables are changed in place.
use core::fmt;

/// Why a firmware table could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A table lies where memory cannot be read.
    Unreadable {
        /// Physical address.
        at: u64,
    },
    /// A table contradicts itself.
    Malformed {
        /// The table's signature or name.
        table: &'static str,
        /// Physical address of the first byte that makes no sense.
        at: u64,
    },
    /// A write did not stick: the table is in ROM or write-protected shadow RAM.
    ReadOnly {
        /// Physical address.
        at: u64,
    },
    /// More copies of one table than any firmware has reason to publish.
    TooMany {
        /// The table's signature or name.
        table: &'static str,
    },
    /// The CPU that should stay enabled is not in the table.
    NotListed {
        /// Its APIC ID.
        apic_id: u32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unreadable { at } => {
                write!(f, "firmware table at {at:#x} is outside the memory that can be read")
            }
            Self::Malformed { table, at } => {
                write!(f, "firmware table {table} makes no sense at {at:#x}: wrong length or type")
            }
            Self::ReadOnly { at } => {
                write!(f, "firmware table at {at:#x} cannot be changed: the memory is read-only")
            }
            Self::TooMany { table } => {
                write!(f, "firmware publishes more copies of table {table} than expected")
            }
            Self::NotListed { apic_id } => {
                write!(f, "firmware does not list this CPU: no enabled entry has APIC ID {apic_id}")
            }
        }
    }
}

impl core::error::Error for Error {}

/// What disabling the other CPUs came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disabled {
    /// CPUs that were enabled before, the one kept included.
    pub enabled_total: u32,
    /// Entries whose flags were cleared.
    pub disabled: u32,
}
