//! The copies of its first packet that a client sends while the guest is slow to stop.
//!
//! gdb sends a packet again whenever two seconds pass without a `+`, four times in all
//! (`putpkt_binary` in gdb/remote.c). Who looks at the line late finds several, and each would get an
//! answer: gdb takes the second for that to its next packet and stays one behind for good.
//!
//! A copy is known by the byte before it. gdb and LLDB send a `+` before their first packet and
//! one for every answer before the next packet, whereas a copy is sent by a client that has seen no
//! answer yet. So the same packet again, and no `+` right before its `$`, is a copy.
//!
//! A copy is not even acknowledged: gdb has the `+` of the first. Should that be lost and the answer
//! with it, gdb sends on, and is answered once it can have no more copies on the way.

/// How often gdb repeats a packet.
const MOST: u8 = 3;

/// What is known of the copies that may still come.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// Bytes of the packet, which is kept by the session.
    len: usize,
    /// How many more may come; 0 = what comes is no copy.
    left: u8,
    /// The byte before.
    previous: u8,
}

impl Copies {
    /// Takes note of a byte from the link, whether it is put to use or not.
    pub(crate) fn see(&mut self, byte: u8) {
        if byte == b'$' && self.previous == b'+' {
            self.left = 0;
        }
        self.previous = byte;
    }

    /// The packet of `len` bytes was the first of a client, answered late.
    pub(crate) fn expect(&mut self, len: usize) {
        self.len = len;
        self.left = MOST;
    }

    /// Whether what comes may be a copy.
    pub(crate) fn expected(&self) -> bool {
        self.left != 0
    }

    /// Whether `packet` is a copy; `kept` begins with the packet told to [`Copies::expect`].
    pub(crate) fn take(&mut self, packet: &[u8], kept: &[u8]) -> bool {
        let copy = self.expected() && kept.get(..self.len) == Some(packet);
        self.left = if copy { self.left.saturating_sub(1) } else { 0 };
        copy
    }
}
