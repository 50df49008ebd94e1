//! The control vocabulary: what an analyst can ask of the VMM beyond the GDB protocol.
//!
//! Every spelling of a request ends in the same [`Request`], so that nothing can be done in one
//! spelling and not in the other. Today there is one: the text of gdb's `monitor ...`.
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

mod commands;
mod error;
mod words;

pub use commands::{COMMANDS, Command, write_help};
pub use error::ParseError;

/// The version of the vocabulary and of the VMM that speaks it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Most items of one [`Dump`], most instructions of one [`Code`]: about a screen's worth of a slow line, and
/// a bound on how long one request keeps the VMM busy.
pub const MOST: u32 = 4096;

/// One request, free of its spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// List the commands ([`write_help`]).
    Help,
    /// Print the VMM's ring of log lines.
    Log,
    /// Print how often each kind of exit was taken.
    Counters,
    /// Print the last exits of the CPU the analyst looks at.
    Exits,
    /// Print what is known of a fault of the VMM itself.
    Fault,
    /// Print [`VERSION`].
    Version,
    /// Print the map of physical memory.
    Memory,
    /// Print physical memory.
    Physical(Dump),
    /// Print code.
    Disassemble(Code),
    /// Reset the machine.
    Reset {
        /// And hold it before the guest's first instruction when the VMM is there again.
        stop: bool,
    },
}

/// Physical memory to be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dump {
    /// Guest-physical address of the first item.
    pub addr: u64,
    /// How many items, at most [`MOST`].
    pub count: u32,
    /// How an item is written.
    pub format: Format,
    /// Bytes of an item: 1, 2, 4 or 8.
    pub size: u8,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `x`
    Hexadecimal,
    /// `d`
    Decimal,
    /// `u`
    Unsigned,
    /// `o`
    Octal,
    /// `c`
    Character,
}

/// Code to be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Linear address of the first instruction; `None` is the next one to be executed.
    pub at: Option<u64>,
    /// How many instructions, at most [`MOST`].
    pub count: u32,
    /// 16, 32 or 64; `None` is what the CPU executes now.
    pub bits: Option<u8>,
}

impl Request {
    /// Understands one line of text, spaces around the words ignored.
    ///
    /// # Errors
    /// [`ParseError`], whose `Display` is the sentence for the analyst.
    pub fn parse(text: &[u8]) -> Result<Request, ParseError<'_>> {
        commands::parse(text)
    }
}

#[cfg(test)]
mod tests;
