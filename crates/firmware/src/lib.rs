//! What the firmware and the boot loader say about the machine: e820, ACPI, the MP table, the BIOS
//! data area, multiboot. Parsed and crafted here; memory is reached through [`Phys`], hardware never.
//!
//! Everything read is an allegation: every access is bounded, every loop ends, nothing panics.
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

pub mod acpi;
pub mod bda;
pub mod e820;
mod error;
mod le;
pub mod mp_table;
pub mod multiboot;
pub mod options;

pub use error::{Disabled, Error};

/// Physical memory, read.
pub trait Phys {
    /// The bytes at `at .. at + len`; `None` if any of them is not there.
    fn bytes(&self, at: u64, len: usize) -> Option<&[u8]>;
}

/// Physical memory, written in place.
pub trait PhysMut: Phys {
    /// Stores `bytes` at `at`; false, with nothing stored, if any of them is not there.
    fn write(&mut self, at: u64, bytes: &[u8]) -> bool;
}
