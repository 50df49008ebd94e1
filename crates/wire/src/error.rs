//! What is said of a line that is no request.

use crate::{COMMANDS, Command};
use core::fmt;

/// Why a line is no request.
#[derive(Clone, Copy, Debug)]
pub enum ParseError<'a> {
    /// There was no word at all.
    Empty,
    /// The first word names no command.
    Unknown(&'a [u8]),
    /// More words than the command takes.
    Extra {
        /// The command that was given.
        command: &'static Command,
        /// The first word too many.
        extra: &'a [u8],
    },
    /// A word that the command does not understand, or a number out of its range.
    Wrong {
        /// The command that was given.
        command: &'static Command,
        /// The word, without its slash.
        given: &'a [u8],
    },
    /// The command wants more words.
    Missing {
        /// The command that was given.
        command: &'static Command,
    },
}

impl fmt::Display for ParseError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = match self {
            ParseError::Empty => {
                f.write_str("no command given")?;
                return known(f);
            }
            ParseError::Unknown(given) => {
                write!(f, "unknown command '{}'", given.escape_ascii())?;
                return known(f);
            }
            ParseError::Extra { command, extra } if command.arguments.is_empty() => {
                let (name, extra) = (command.name, extra.escape_ascii());
                write!(f, "'{name}' takes no argument, '{extra}' given")?;
                return known(f);
            }
            ParseError::Extra { command, extra } => {
                write!(f, "'{}': '{}' is one word too many", command.name, extra.escape_ascii())?;
                command
            }
            ParseError::Wrong { command, given } => {
                write!(f, "'{}' does not understand '{}'", command.name, given.escape_ascii())?;
                command
            }
            ParseError::Missing { command } => {
                write!(f, "'{}' wants an address", command.name)?;
                command
            }
        };
        write!(f, "; expected: {} {}", command.name, command.arguments)
    }
}

/// What can be typed.
fn known(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("; known: ")?;
    for (index, command) in COMMANDS.iter().enumerate() {
        if index != 0 {
            f.write_str(", ")?;
        }
        f.write_str(command.name)?;
    }
    Ok(())
}

impl core::error::Error for ParseError<'_> {}
