//! Text for the client's console while it waits for a stop: `O` packets.

use crate::{Output, reply};
use core::fmt;

/// The text that was not sent yet.
pub(crate) struct Said<'a> {
    pub(crate) out: &'a mut dyn Output,
    pub(crate) part: [u8; 256],
    pub(crate) len: usize,
}

impl Said<'_> {
    pub(crate) fn flush(&mut self) {
        let part = self.part.get(..self.len).unwrap_or_default();
        if !part.is_empty() {
            reply::send(self.out, format_args!("O{}", Hex(part)));
        }
        self.len = 0;
    }
}

impl fmt::Write for Said<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.len >= self.part.len() {
                self.flush();
            }
            if let Some(place) = self.part.get_mut(self.len) {
                *place = byte;
                self.len = self.len.wrapping_add(1);
            }
        }
        Ok(())
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
