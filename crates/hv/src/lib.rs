//! The neutral core: the run loop of each CPU, what every exit means, the few devices and registers that
//! protect the VMM, the debugger. Names no VMCB and no VMCS; touches hardware only through [`Host`]
//! and [`vcpu::Vcpu`].
//!
//! Every exit goes the same way: the debugger's hooks, then the device filters, then the architectural
//! default ([`run`]).
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

mod apic;
mod counter;
mod cpu;
mod cpuid;
mod debug;
mod exits;
mod frozen;
mod halt;
mod host;
mod instruction;
mod log;
mod machine;
mod microcode;
mod msr;
mod nested;
mod nmi;
mod ports;
mod post;
mod probe;
mod report;
mod run;
mod step;
mod string;
mod string_io;
mod string_store;
mod task;
mod tsc;
mod xcr;

pub use cpu::Cpu;
pub use frozen::{Room, frozen};
pub use host::Host;
pub use log::Log;
pub use machine::{Buffers, Machine};
pub use microcode::LARGEST as MICROCODE;
pub use nested::{APIC_WINDOW, Nested, Roots};
pub use report::Report;
pub use run::run;
pub use stub::{PACKET, Regs};

#[cfg(test)]
mod tests;
