//! The GDB side of the VMM: bytes in, bytes out, no hardware.
//!
//! Three layers, each trusting nothing of the one below it:
//!
//! - `frame` finds packets in the bytes and drops all else. What leaves it has a good checksum.
//! - [`Stub`] keeps the life cycle (who is attached, does the guest run) and answers what `gdbstub`
//!   cannot: a client that died without a word, and the few packets whose answer needs that state.
//! - `shim` gives the rest to `gdbstub`, one packet at a time. `gdbstub` treats a malformed packet as
//!   the end of the session and drops its state machine with the buffer in it; so nothing that must
//!   survive lives in there. The machine is made for one packet and thrown away after it.
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

mod arch;
mod copies;
mod description;
mod frame;
mod memory;
mod range;
mod regs;
mod reply;
mod said;
mod sent;
mod session;
mod shim;
mod stop;
mod target;

pub use regs::{Register, Regs, Segment, Table};
pub use session::{PACKET, Stub};
pub use target::{
    Action, Breakpoint, BreakpointError, Changed, Output, Reason, Refused, Region, Rights, Target,
};
