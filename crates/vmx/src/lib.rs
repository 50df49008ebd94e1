//! [`vcpu::Vcpu`] on Intel's VMX with EPT and unrestricted guest: the VMCS, the world switch, the decoding of exits.
//! Source: SDM 3C, chapters 23 to 28. Knows nothing of devices, breakpoints or links.
#![no_std]
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

pub mod capability;
pub mod check;
mod cr0;
pub mod decode;
mod enable;
mod entry;
#[cfg(test)]
mod entry_tests;
mod event;
mod explain;
mod maps;
mod parts;
#[cfg(test)]
mod random_tests;
mod registers;
mod run;
#[cfg(test)]
mod run_tests;
#[cfg_attr(test, path = "switch_tests.rs")]
mod switch;

pub use capability::{Controls, Refusal};
pub use enable::{Region, enable};
pub use maps::MsrMap;
pub use parts::{HostState, Parts, Vmx};
