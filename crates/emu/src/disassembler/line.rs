//! The text of one instruction.

use super::Prefixes;
use core::fmt::{self, Write};

/// Room for the longest.
const ROOM: usize = 96;

/// One instruction as text, and how many bytes it takes.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    text: [u8; ROOM],
    end: usize,
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { text: [0; ROOM], end: 0, len: 1 }
    }
}

impl Line {
    /// Bytes of the instruction, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no instruction is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        let text = self.text.get(..self.end).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }

    pub(super) fn bad() -> Self {
        let mut this = Self::default();
        // There is room.
        let _ = this.write_str("(bad)");
        this
    }

    pub(super) fn whole(self, len: usize) -> Self {
        Self { len, ..self }
    }

    /// Begins with the prefixes that say something of this instruction.
    pub(super) fn mnemonic(&mut self, prefixes: &Prefixes, name: &str) {
        let string = ["movs", "cmps", "stos", "lods", "scas", "ins", "outs"];
        let string =
            string.iter().any(|it| name.strip_prefix(it).is_some_and(|rest| rest.len() == 1));
        let compares = name.starts_with("cmps") || name.starts_with("scas");
        if prefixes.lock {
            self.put("lock ");
        }
        match prefixes.repeat {
            0xf3 if string && compares => self.put("repe "),
            0xf3 if string => self.put("rep "),
            0xf2 if string => self.put("repne "),
            _ => {}
        }
        if let Some(segment) = prefixes.segment.filter(|_| string) {
            self.put(segment);
            self.put(" ");
        }
        self.put(name);
    }

    /// What separates operand `n` from what is before.
    pub(super) fn comma(&mut self, n: usize) {
        self.put(if n == 0 { " " } else { ", " });
    }

    /// Puts `with` in the place of `mark`.
    pub(super) fn replace(&mut self, mark: char, with: Option<char>) {
        let text = *self;
        self.end = 0;
        for c in text.text().chars() {
            match c {
                _ if c != mark => _ = self.write_char(c),
                _ => _ = with.map(|with| self.write_char(with)),
            }
        }
    }

    fn put(&mut self, text: &str) {
        let _ = self.write_str(text);
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().try_for_each(|byte| self.byte(byte))
    }
}

impl Line {
    fn byte(&mut self, byte: u8) -> fmt::Result {
        *self.text.get_mut(self.end).ok_or(fmt::Error)? = byte;
        self.end = self.end.saturating_add(1);
        Ok(())
    }
}
