//! The commands as a person types them.

use crate::words::{Words, word};
use crate::{ParseError, Request};
use core::fmt;

/// One line of the vocabulary.
#[derive(Debug)]
pub struct Command {
    /// The word that a person types.
    pub name: &'static str,
    /// What may follow it.
    pub arguments: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    kind: Kind,
}

/// How the arguments are understood.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain(Request),
    Dump,
    Code,
    Reset,
}

const fn plain(name: &'static str, help: &'static str, request: Request) -> Command {
    Command { name, arguments: "", help, kind: Kind::Plain(request) }
}

/// All commands. The help, the parser and the error messages are made of this table alone.
pub const COMMANDS: &[Command] = &[
    plain("help", "list the commands", Request::Help),
    plain("log", "print the VMM's log", Request::Log),
    plain("counters", "print how often the guest exited, by kind", Request::Counters),
    plain("exits", "print the guest's last exits, oldest first", Request::Exits),
    plain("fault", "print the report of a fault of the VMM itself", Request::Fault),
    plain("version", "print the VMM's version", Request::Version),
    plain("memory", "print the map of physical memory", Request::Memory),
    Command {
        name: "xp",
        arguments: "[/COUNTxduoc,bhwg] ADDR",
        help: "print physical memory",
        kind: Kind::Dump,
    },
    Command {
        name: "dis",
        arguments: "[/COUNTi] [/16|/32|/64] [ADDR]",
        help: "disassemble, as the CPU would execute it",
        kind: Kind::Code,
    },
    Command {
        name: "reset",
        arguments: "[stop]",
        help: "reset the machine; hold the next guest before its first instruction",
        kind: Kind::Reset,
    },
];

pub(crate) fn parse(text: &[u8]) -> Result<Request, ParseError<'_>> {
    let Some((given, rest)) = word(text) else { return Err(ParseError::Empty) };
    let Some(command) = COMMANDS.iter().find(|c| c.name.as_bytes() == given) else {
        return Err(ParseError::Unknown(given));
    };
    let words = Words::new(command, rest);
    match command.kind {
        Kind::Plain(request) => words.nothing(request),
        Kind::Dump => words.dump(),
        Kind::Code => words.code(),
        Kind::Reset => words.reset(),
    }
}

/// Writes the list of commands, one a line: the answer to [`Request::Help`].
///
/// # Errors
/// Those of `out`.
pub fn write_help(out: &mut dyn fmt::Write) -> fmt::Result {
    for Command { name, arguments, help, .. } in COMMANDS {
        let gap = if arguments.is_empty() { "" } else { " " };
        let width = 38_usize.saturating_sub(name.len()).saturating_sub(gap.len());
        writeln!(out, "{name}{gap}{arguments:<width$}{help}")?;
    }
    Ok(())
}
