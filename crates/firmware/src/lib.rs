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

/// Local APIC IDs of CPUs, each once, as far as there is room.
#[derive(Debug)]
pub struct ApicIds<'a> {
    room: &'a mut [u32],
    len: usize,
}

impl<'a> ApicIds<'a> {
    /// None yet; at most as many as `room` has places.
    pub fn new(room: &'a mut [u32]) -> Self {
        Self { room, len: 0 }
    }

    /// Adds one, unless it is there.
    pub fn add(&mut self, id: u32) {
        if self.list().contains(&id) {
            return;
        }
        if let Some(place) = self.room.get_mut(self.len) {
            *place = id;
            self.len = self.len.saturating_add(1);
        }
    }

    /// Those added, in order.
    #[must_use]
    pub fn list(&self) -> &[u32] {
        self.room.get(..self.len).unwrap_or_default()
    }
}

/// Physical memory, written in place.
pub trait PhysMut: Phys {
    /// Stores `bytes` at `at`; false, with nothing stored, if any of them is not there.
    fn write(&mut self, at: u64, bytes: &[u8]) -> bool;
}
