//! What a person types: `monitor ...` and the VMM's command line. Either it is understood, or the error is a
//! line that can be shown.

use firmware::options;
use wire::Request;

pub(crate) fn run(bytes: &[u8]) {
    if let Err(error) = Request::parse(bytes) {
        shown(&error.to_string());
    }
    if let Err(error) = options::parse(bytes) {
        shown(&error.to_string());
    }
}

/// A sentence of printable characters: nothing that was typed reaches a terminal as it is.
fn shown(text: &str) {
    assert!(!text.is_empty() && text.chars().all(|c| c.is_ascii() && !c.is_control()), "{text:?}");
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        wire::COMMANDS.iter().map(|command| command.name.as_bytes().to_vec()).collect();
    seeds.push(b"/boot/ramooflax link=uart:0x3f8,115200 log=uart:0x2f8 wait".to_vec());
    seeds.push(b"  help me ".to_vec());
    seeds
}
