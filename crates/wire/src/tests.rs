//! What a person types, and what is said when it is wrong.
extern crate std;
use super::{COMMANDS, ParseError, Request, write_help};
use std::string::{String, ToString};

#[test]
fn every_command_parses_to_its_request() {
    for command in COMMANDS {
        assert_eq!(Request::parse(command.name.as_bytes()), Ok(command.request));
    }
    assert_eq!(Request::parse(b"  log \n"), Ok(Request::Log));
}

#[test]
fn help_names_every_command_and_its_purpose() {
    let mut text = String::new();
    write_help(&mut text).unwrap();
    assert_eq!(text.lines().count(), COMMANDS.len());
    for (line, command) in text.lines().zip(COMMANDS) {
        assert!(line.starts_with(command.name) && line.ends_with(command.help));
    }
}

#[test]
fn errors_say_what_was_given_and_what_is_known() {
    let known = "; known: help, log, counters, exits, version";
    let said = |text| Request::parse(text).unwrap_err().to_string();
    assert_eq!(said(b" "), ["no command given", known].concat());
    assert_eq!(said(b"lug\x80 x"), ["unknown command 'lug\\x80'", known].concat());
    assert_eq!(said(b"log all"), ["'log' takes no argument, 'all' given", known].concat());
    // A prefix is not enough: names added later must not change what a script means.
    assert_eq!(Request::parse(b"lo"), Err(ParseError::Unknown(b"lo")));
}
