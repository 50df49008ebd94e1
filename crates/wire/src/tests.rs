//! What a person types, and what is said when it is wrong.
extern crate std;
use super::{COMMANDS, Code, Dump, Format, MOST, Request, write_help};
use std::string::{String, ToString};

fn parsed(text: &str) -> Request {
    Request::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn said(text: &[u8]) -> String {
    Request::parse(text).unwrap_err().to_string()
}

#[test]
fn plain_commands() {
    for (text, request) in [
        ("help", Request::Help),
        ("  log \n", Request::Log),
        ("counters", Request::Counters),
        ("exits", Request::Exits),
        ("fault", Request::Fault),
        ("version", Request::Version),
        ("memory", Request::Memory),
        ("reset", Request::Reset { stop: false }),
        ("reset  stop", Request::Reset { stop: true }),
    ] {
        assert_eq!(parsed(text), request);
    }
}

#[test]
fn dumps_are_written_as_qemus_monitor_has_them() {
    let dump = |addr, count, format, size| Request::Physical(Dump { addr, count, format, size });
    for (text, request) in [
        ("xp 0x1000", dump(0x1000, 1, Format::Hexadecimal, 4)),
        ("xp/4xg 0x23C0000", dump(0x23c_0000, 4, Format::Hexadecimal, 8)),
        ("xp /16bd 4096", dump(4096, 16, Format::Decimal, 1)),
        ("xp /u 0", dump(0, 1, Format::Unsigned, 4)),
        ("xp /8c 0", dump(0, 8, Format::Character, 1)),
        ("xp /oh 0xffffffffffffffff", dump(u64::MAX, 1, Format::Octal, 2)),
        ("xp /4096x 0", dump(0, MOST, Format::Hexadecimal, 4)),
    ] {
        assert_eq!(parsed(text), request, "{text}");
    }
    for (text, complaint) in [
        ("xp", "'xp' wants an address"),
        ("xp /4xg", "'xp' wants an address"),
        ("xp /4z 0", "'xp' does not understand '4z'"),
        ("xp /0 0", "'xp' does not understand '0'"),
        ("xp /4097x 0", "'xp' does not understand '4097x'"),
        ("xp 0x", "'xp' does not understand '0x'"),
        ("xp +1", "'xp' does not understand '+1'"),
        ("xp 0x+1", "'xp' does not understand '0x+1'"),
        ("xp 12ab", "'xp' does not understand '12ab'"),
        ("xp 0x10000000000000000", "'xp' does not understand '0x10000000000000000'"),
        ("xp 1 2", "'xp': '2' is one word too many"),
    ] {
        assert_eq!(
            said(text.as_bytes()),
            complaint.to_string() + "; expected: xp [/COUNTxduoc,bhwg] ADDR"
        );
    }
}

#[test]
fn a_reset_is_asked_for_by_its_words() {
    assert!(
        said(b"reset now").starts_with("'reset' does not understand 'now'; expected: reset [stop]")
    );
}

#[test]
fn code_is_asked_for_by_count_width_and_place() {
    let code = |at, count, bits| Request::Disassemble(Code { at, count, bits });
    for (text, request) in [
        ("dis", code(None, 8, None)),
        ("dis /3", code(None, 3, None)),
        ("dis/3i 0x7c00", code(Some(0x7c00), 3, None)),
        ("dis /16 0xffff0", code(Some(0xffff0), 8, Some(16))),
        ("dis /32/16i", code(None, 16, Some(32))),
        ("dis /64 /2", code(None, 2, Some(64))),
    ] {
        assert_eq!(parsed(text), request, "{text}");
    }
    assert!(said(b"dis /8x").starts_with("'dis' does not understand '8x'; expected: dis "));
    assert!(said(b"dis here").starts_with("'dis' does not understand 'here'"));
}

#[test]
fn help_names_every_command_and_its_purpose() {
    let mut text = String::new();
    write_help(&mut text).unwrap();
    assert_eq!(text.lines().count(), COMMANDS.len());
    for (line, command) in text.lines().zip(COMMANDS) {
        assert!(line.starts_with(command.name) && line.ends_with(command.help));
        assert!(line.contains(command.arguments) && line.len() <= 120);
        let gap = line.strip_suffix(command.help).unwrap();
        assert!(gap.ends_with(' '), "{line}");
    }
}

#[test]
fn errors_say_what_was_given_and_what_is_known() {
    let known = "; known: help, log, counters, exits, fault, version, memory, xp, dis, reset";
    assert_eq!(said(b" "), ["no command given", known].concat());
    assert_eq!(said(b"lug\x80 x"), ["unknown command 'lug\\x80'", known].concat());
    assert_eq!(said(b"log all"), ["'log' takes no argument, 'all' given", known].concat());
    // A prefix is not enough: names added later must not change what a script means.
    assert!(said(b"lo").starts_with("unknown command 'lo'"));
}
