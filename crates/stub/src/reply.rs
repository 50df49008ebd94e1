//! Packets that the stub writes itself.

use crate::Output;
use core::fmt::{self, Write};

/// Sends `body` as a packet. No character of it may need escaping.
pub(crate) fn send(out: &mut dyn Output, body: fmt::Arguments<'_>) {
    let mut packet = Packet { out, sum: 0 };
    packet.out.put(b'$');
    // A `Packet` never fails, and neither do the arguments the stub formats.
    let _ = packet.write_fmt(body);
    let sum = packet.sum;
    let _ = write!(packet, "#{sum:02x}");
}

/// Sends `mark` and then as much of `data`, escaped, as a packet of `longest` bytes holds.
pub(crate) fn binary(out: &mut dyn Output, mark: u8, data: &[u8], longest: usize) {
    // `$`, the mark, `#` and the checksum.
    let mut room = longest.saturating_sub(5);
    let mut packet = Packet { out, sum: 0 };
    packet.out.put(b'$');
    packet.byte(mark);
    for &byte in data {
        // `*` would begin a run length.
        let escaped = matches!(byte, b'#' | b'$' | b'}' | b'*');
        let Some(left) = room.checked_sub(if escaped { 2 } else { 1 }) else { break };
        room = left;
        if escaped {
            packet.byte(b'}');
            packet.byte(byte ^ 0x20);
        } else {
            packet.byte(byte);
        }
    }
    let sum = packet.sum;
    let _ = write!(packet, "#{sum:02x}");
}

struct Packet<'a> {
    out: &'a mut dyn Output,
    sum: u8,
}

impl Packet<'_> {
    fn byte(&mut self, byte: u8) {
        self.sum = self.sum.wrapping_add(byte);
        self.out.put(byte);
    }
}

impl Write for Packet<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.byte(byte));
        Ok(())
    }
}

/// Sends what `write` writes as a packet of hexadecimal digits.
pub(crate) fn hex(out: &mut dyn Output, write: impl FnOnce(&mut dyn Write) -> fmt::Result) {
    let mut packet = Packet { out, sum: 0 };
    packet.out.put(b'$');
    // It never fails.
    let _ = write(&mut Digits(&mut packet));
    let sum = packet.sum;
    let _ = write!(packet, "#{sum:02x}");
}

struct Digits<'a, 'b>(&'a mut Packet<'b>);

impl Write for Digits<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().try_for_each(|byte| write!(self.0, "{byte:02x}"))
    }
}
