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

struct Packet<'a> {
    out: &'a mut dyn Output,
    sum: u8,
}

impl Write for Packet<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.sum = self.sum.wrapping_add(byte);
            self.out.put(byte);
        }
        Ok(())
    }
}
