//! The target description, served in pieces. On one line: white space between its tags means nothing (XML 1.0, 2.10),
//! and every byte crosses the line.

use crate::memory::parse;

const FILE: &[u8] = include_bytes!("target.xml");
const LEN: usize = without_line_ends::<{ FILE.len() }>().1;
static ONE_LINE: [u8; LEN] = without_line_ends().0;

/// [`FILE`] without the ends of its lines, which all stand behind a tag, and how long that is.
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "it runs in the compiler alone"
)]
const fn without_line_ends<const N: usize>() -> ([u8; N], usize) {
    let mut out = [0; N];
    let (mut from, mut to) = (0, 0);
    while from < FILE.len() {
        if FILE[from] == b'\n' {
            assert!(FILE[from - 1] == b'>', "a tag goes over two lines");
        } else {
            out[to] = FILE[from];
            to += 1;
        }
        from += 1;
    }
    (out, to)
}

/// The piece that `target.xml:offset,length` asks for, in a packet of at most `packet` bytes, and what it is
/// marked by: `m` if there is more, `l` for the last. `None` if it asks for something else.
pub(crate) fn piece(request: &[u8], packet: usize) -> Option<(char, &'static str)> {
    let (offset, len) = parse(request.strip_prefix(b"target.xml:")?)?;
    let rest = ONE_LINE.get(usize::try_from(offset).ok()?..)?;
    // `$m`, `#` and the checksum.
    let room = usize::try_from(len).unwrap_or(usize::MAX).min(packet.saturating_sub(5));
    let (piece, more) = match rest.get(..room) {
        Some(piece) if piece.len() < rest.len() => (piece, 'm'),
        _ => (rest, 'l'),
    };
    Some((more, core::str::from_utf8(piece).ok()?))
}
