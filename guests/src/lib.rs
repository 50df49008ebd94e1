//! What the test guests share: a multiboot start in long mode, a report over COM2, exceptions that
//! can be caught, and the ways into real and 32-bit protected mode and back.
//!
//! A guest is the only software of its machine, on one CPU, so this crate hands out the machine's
//! registers and memory as safe functions: there is no other owner whose invariants could break.
//! What a wrong address does here is what the test is about.

#![no_std]
#![expect(
    clippy::macro_metavars_in_unsafe,
    reason = "`cpu_asm!` is for the guests alone, which are assembly for the most part"
)]

pub mod bios;
pub mod cpu;
pub mod exception;
pub mod low;
pub mod pic;
pub mod report;
pub mod start;

/// Runs one piece of assembly (Intel syntax) with its operands.
///
/// The text must keep what the compiler relies on: the stack pointer, the direction flag and the
/// registers not named as operands, unless it faults under [`exception::catch`], which restores them.
#[macro_export]
macro_rules! cpu_asm {
    ($($t:tt)*) => {
        // SAFETY: the guest owns the whole machine; the operands name every register changed.
        unsafe { ::core::arch::asm!($($t)*) }
    };
}

/// Declares labels of assembly files as functions that give their addresses.
#[macro_export]
macro_rules! labels {
    ($($name:ident),* $(,)?) => { $(
        #[doc = concat!("Address of the label `", stringify!($name), "`.")]
        #[must_use]
        pub fn $name() -> u64 {
            // SAFETY: a label of this image; only its address is taken.
            unsafe extern "C" { static $name: u8; }
            (&raw const $name).expose_provenance() as u64
        }
    )* };
}

/// Adds an assembly file (AT&T syntax) to the guest.
#[macro_export]
macro_rules! assembly {
    ($file:literal) => {
        ::core::arch::global_asm!(include_str!($file), options(att_syntax, raw));
    };
}

/// Names the function a guest runs.
#[macro_export]
macro_rules! guest {
    ($main:path) => {
        // SAFETY: the one definition of the symbol that the start code declares.
        #[unsafe(no_mangle)]
        extern "Rust" fn guest_main() {
            $main();
        }
    };
}
