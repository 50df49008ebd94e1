//! [`vcpu::Vcpu`] on AMD's SVM with nested paging: the VMCB, the world switch, the decoding of exits.
//! Source: APM 2, chapter 15. Knows nothing of devices, breakpoints or links.
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

mod bochs;
pub mod decode;
mod enable;
mod event;
mod maps;
mod parts;
mod registers;
mod run;
mod switch;
mod tcg;

pub use enable::{Refusal, enable};
pub use maps::MsrMap;
pub use parts::{Parts, Svm};
