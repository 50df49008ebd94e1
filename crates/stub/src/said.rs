//! Text for the client's console, in packets of many characters.

use core::fmt;

/// Gathers `N` bytes of text before they are sent: what is written comes in small pieces.
pub(crate) struct Said<const N: usize, F: FnMut(&[u8])> {
    send: F,
    part: [u8; N],
    len: usize,
}

impl<const N: usize, F: FnMut(&[u8])> Said<N, F> {
    /// Sends by `send`, which is never given nothing.
    pub(crate) fn new(send: F) -> Self {
        Said { send, part: [0; N], len: 0 }
    }

    /// Sends what is left.
    pub(crate) fn flush(&mut self) {
        match self.part.get(..self.len) {
            None | Some([]) => {}
            Some(text) => (self.send)(text),
        }
        self.len = 0;
    }
}

impl<const N: usize, F: FnMut(&[u8])> fmt::Write for Said<N, F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.len >= N {
                self.flush();
            }
            if let Some(place) = self.part.get_mut(self.len) {
                *place = byte;
                self.len = self.len.saturating_add(1);
            }
        }
        Ok(())
    }
}

/// Bytes as the protocol writes them in text.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
