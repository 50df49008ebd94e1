//! The target description, served in pieces. On one line: white space between its tags means nothing (XML 1.0, 2.10),
//! and every byte crosses the line. It says the same few things of each register, so the image holds it in short.

use crate::memory::parse;
use core::fmt::{self, Write as _};
use core::slice;

const FILE: &[u8] = include_bytes!("target.xml");

/// What [`SHORT`] has a byte for, from [`FIRST`] on. Of two that fit the earlier is taken.
const WORDS: [&str; 24] = [
    "\" bitsize=\"64\" type=\"int64\"/><reg name=\"",
    "\" bitsize=\"32\" type=\"int32\"/><reg name=\"",
    "\" bitsize=\"80\" type=\"i387_ext\"/><reg name=\"",
    "\" bitsize=\"32\" type=\"int\" group=\"float\"/>",
    "\" bitsize=\"64\" type=\"data_ptr\"/>",
    "\" bitsize=\"64\" type=\"i386_",
    "\" bitsize=\"64\" type=\"int",
    "\" bitsize=\"",
    "\" type=\"",
    "\"/><field name=\"",
    "\"/><reg name=\"",
    "\"/></flags>",
    "\"/></feature>",
    "<field name=\"",
    "<feature name=\"org.",
    "<flags id=\"i386_",
    "<reg name=\"",
    "\" start=\"",
    "\" end=\"",
    "\" size=\"",
    "_limit",
    "_base",
    "_attr",
    "target",
];

/// The byte for the first word: the file is ASCII.
const FIRST: u8 = 0x80;

/// Bytes in short, and in full.
const LENGTHS: (usize, usize) = {
    let (_, short, full) = shortened::<{ FILE.len() }>();
    (short, full)
};

static SHORT: [u8; LENGTHS.0] = shortened().0;

/// [`FILE`] without the ends of its lines, which all stand behind a tag, in short; how long that is, and how long in full.
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "it runs in the compiler alone"
)]
const fn shortened<const N: usize>() -> ([u8; N], usize, usize) {
    let mut line = [0; FILE.len()];
    let (mut from, mut full) = (0, 0);
    while from < FILE.len() {
        assert!(FILE[from] < FIRST, "not ASCII");
        if FILE[from] == b'\n' {
            assert!(FILE[from - 1] == b'>', "a tag goes over two lines");
        } else {
            line[full] = FILE[from];
            full += 1;
        }
        from += 1;
    }
    let mut out = [0; N];
    let (mut at, mut short) = (0, 0);
    while at < full {
        let mut word = 0;
        while word < WORDS.len() && !stands_at(&line, at, WORDS[word].as_bytes()) {
            word += 1;
        }
        if word < WORDS.len() {
            out[short] = FIRST + word as u8;
            at += WORDS[word].len();
        } else {
            out[short] = line[at];
            at += 1;
        }
        short += 1;
    }
    (out, short, full)
}

/// Whether `line` has `word` at `at`.
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "it runs in the compiler alone"
)]
const fn stands_at(line: &[u8], at: usize, word: &[u8]) -> bool {
    let mut n = 0;
    while n < word.len() && at + n < line.len() && line[at + n] == word[n] {
        n += 1;
    }
    n == word.len()
}

/// What a byte of [`SHORT`] stands for.
fn in_full(short: &'static u8) -> &'static [u8] {
    let word = short.checked_sub(FIRST).and_then(|word| WORDS.get(usize::from(word)));
    word.map_or(slice::from_ref(short), |word| word.as_bytes())
}

/// So many bytes of the description from one on.
pub(crate) struct Piece {
    from: usize,
    len: usize,
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = SHORT.iter().flat_map(in_full).skip(self.from).take(self.len);
        bytes.try_for_each(|&byte| f.write_char(char::from(byte)))
    }
}

/// The piece that `target.xml:offset,length` asks for, in a packet of at most `packet` bytes, and what it is
/// marked by: `m` if there is more, `l` for the last. `None` if it asks for something else.
pub(crate) fn piece(request: &[u8], packet: usize) -> Option<(char, Piece)> {
    let (offset, len) = parse(request.strip_prefix(b"target.xml:")?)?;
    let from = usize::try_from(offset).ok()?;
    let rest = LENGTHS.1.checked_sub(from)?;
    // `$m`, `#` and the checksum.
    let room = usize::try_from(len).unwrap_or(usize::MAX).min(packet.saturating_sub(5));
    let mark = if room < rest { 'm' } else { 'l' };
    Some((mark, Piece { from, len: room.min(rest) }))
}
