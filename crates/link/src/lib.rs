//! The lines to the analyst: bytes in, bytes out. Nothing here waits without bound.
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

mod ports;
pub mod uart;
pub use ports::{CpuPorts, Ports};

/// A byte stream to the analyst.
pub trait Link {
    /// A received byte, if there is one; never waits.
    fn receive(&mut self) -> Option<u8>;
    /// Send one byte. A line that does not drain loses it after a bounded time.
    fn send(&mut self, byte: u8);
    /// Whether somebody waits for what is sent, and nothing else for us: a line that does not drain is then
    /// given seconds, not a fraction of one.
    fn patient(&mut self, _: bool) {}
    /// Wait until the last byte has left, but no longer than a line takes that drains.
    fn flush(&mut self) {}
}
