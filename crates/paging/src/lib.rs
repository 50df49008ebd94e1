//! Page tables, read and built.
//!
//! [`walk`] reads the guest's tables as its CPU would: for the debugger, and to fetch the bytes of
//! an instruction that exited. Those tables are hostile input: every read is fallible and a walk
//! takes at most one step for each level, whatever the tables hold.
//!
//! [`table`] builds tables in the long-mode format, for nested paging on AMD (`AMD APM 2, 15.25.5`:
//! nested tables have the format of the host's mode) and for the VMM's own address space, and in EPT's
//! format, for Intel. There the tables also say what the MTRRs say elsewhere, which [`mtrr`] reads.
//!
//! Nothing here touches memory by itself: callers lend it as [`walk::PhysRead`] or
//! [`table::TableMemory`].

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod entry;
pub mod ept;
mod format;
pub mod mtrr;
pub mod table;
pub mod walk;
