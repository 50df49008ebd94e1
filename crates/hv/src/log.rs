//! The VMM's log: a ring of text read over the link, optionally mirrored to a second line.
use core::fmt::{self, Write};
use link::Link;

/// The ring. The oldest bytes are lost first.
pub struct Log<L> {
    ring: &'static mut [u8],
    written: usize,
    mirror: Option<L>,
}

impl<L: Link> Log<L> {
    /// An empty log in `ring`.
    pub fn new(ring: &'static mut [u8], mirror: Option<L>) -> Self {
        Self { ring, written: 0, mirror }
    }

    /// Add a line; CR LF is sent to the mirror, LF kept in the ring.
    pub fn line(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a ring cannot fail; a Display that does loses its own line only.
        let _ = self.write_fmt(text);
        self.byte(b'\n');
    }

    fn byte(&mut self, byte: u8) {
        if let Some(at) = self.written.checked_rem(self.ring.len())
            && let Some(place) = self.ring.get_mut(at)
        {
            *place = byte;
            self.written = self.written.wrapping_add(1);
        }
        if let Some(mirror) = &mut self.mirror {
            if byte == b'\n' {
                mirror.send(b'\r');
            }
            mirror.send(byte);
        }
    }

    /// Write what the ring still holds, oldest first.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn dump(&self, out: &mut dyn Write) -> fmt::Result {
        let at = self.written.checked_rem(self.ring.len()).unwrap_or(0);
        let (newer, older) = self.ring.split_at_checked(at).unwrap_or((&[], &[]));
        let older = if self.written > self.ring.len() { older } else { &[] };
        older.iter().chain(newer).try_for_each(|byte| out.write_char(char::from(*byte)))
    }
}

impl<L: Link> Write for Log<L> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.byte(byte));
        Ok(())
    }
}
