//! What tests need and users do not: the emulator harness.
//!
//! A [`Config`] describes a PC; [`Config::start`] gives a running [`Machine`], killed when dropped.
//! Its serial ports are always the same: COM1 (3F8h) is the link, COM2 (2F8h) the guest's console,
//! COM3 (3E8h) the mirror of the VMM's log. The emulator is QEMU, which [`Qmp`] drives, or Bochs, which
//! [`Debugger`] does; [`Gdb`] drives a stock gdb, [`Rsp`] speaks to a stub without one.
#![forbid(unsafe_code)]

mod bochs;
mod config;
mod debugger;
mod gdb;
mod keys;
mod machine;
mod outside;
mod qmp;
mod rfb;
mod rsp;
mod screen;
mod tails;

pub use config::{Config, Console, Usb};
pub use debugger::Debugger;
pub use gdb::Gdb;
pub use machine::Machine;
pub use outside::Outside;
pub use qmp::Qmp;
pub use rsp::{Rsp, escaped, framed};
pub use screen::Screen;
