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

use core::fmt;

/// The version of the vocabulary and of the VMM that speaks it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

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
    /// Print [`VERSION`].
    Version,
}

/// One line of the vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// The word that a person types.
    pub name: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// What it means.
    pub request: Request,
}

/// All commands. The help, the parser and the error messages are made of this table alone.
pub const COMMANDS: &[Command] = &[
    Command { name: "help", help: "list the commands", request: Request::Help },
    Command { name: "log", help: "print the VMM's log", request: Request::Log },
    Command {
        name: "counters",
        help: "print how often the guest exited, by kind",
        request: Request::Counters,
    },
    Command {
        name: "exits",
        help: "print the guest's last exits, oldest first",
        request: Request::Exits,
    },
    Command { name: "version", help: "print the VMM's version", request: Request::Version },
];

impl Request {
    /// Understands one line of text, spaces around the words ignored.
    ///
    /// # Errors
    /// [`ParseError`], whose `Display` is the sentence for the analyst.
    pub fn parse(text: &[u8]) -> Result<Request, ParseError<'_>> {
        let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let Some(given) = words.next() else { return Err(ParseError::Empty) };
        let Some(command) = COMMANDS.iter().find(|c| c.name.as_bytes() == given) else {
            return Err(ParseError::Unknown(given));
        };
        match words.next() {
            Some(extra) => Err(ParseError::Extra { command: command.name, extra }),
            None => Ok(command.request),
        }
    }
}

/// Why a line is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError<'a> {
    /// There was no word at all.
    Empty,
    /// The first word names no command.
    Unknown(&'a [u8]),
    /// The command takes no arguments.
    Extra {
        /// The command that was given.
        command: &'static str,
        /// The first word too many.
        extra: &'a [u8],
    },
}

impl fmt::Display for ParseError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::Empty => f.write_str("no command given")?,
            ParseError::Unknown(given) => write!(f, "unknown command '{}'", given.escape_ascii())?,
            ParseError::Extra { command, extra } => {
                write!(f, "'{command}' takes no argument, '{}' given", extra.escape_ascii())?;
            }
        }
        f.write_str("; known: ")?;
        for (index, command) in COMMANDS.iter().enumerate() {
            if index != 0 {
                f.write_str(", ")?;
            }
            f.write_str(command.name)?;
        }
        Ok(())
    }
}

impl core::error::Error for ParseError<'_> {}

/// Writes the list of commands, one a line: the answer to [`Request::Help`].
///
/// # Errors
/// Those of `out`.
pub fn write_help(out: &mut dyn fmt::Write) -> fmt::Result {
    for command in COMMANDS {
        writeln!(out, "{:<10}{}", command.name, command.help)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
