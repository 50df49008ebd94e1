//! Packets out of bytes: `$body#cc`, everything else is noise but Ctrl-C.

use core::ops::Range;

/// The byte gdb sends to stop the target.
pub(crate) const CTRL_C: u8 = 0x03;

/// What a byte completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A packet with a good checksum; the frame holds it until the next byte.
    Packet,
    /// A packet whose checksum is wrong.
    Damaged,
    /// Ctrl-C, outside a packet.
    Break,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    Body,
    First,
    Second { high: u8 },
}

/// The bytes of one packet, `$` and checksum included.
pub(crate) struct Frame {
    buffer: &'static mut [u8],
    len: usize,
    sum: u8,
    state: State,
}

impl Frame {
    pub(crate) fn new(buffer: &'static mut [u8]) -> Self {
        Frame { buffer, len: 0, sum: 0, state: State::Idle }
    }

    /// The whole packet last completed.
    pub(crate) fn packet(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    /// What stands between `$` and `#` in [`packet`](Frame::packet).
    pub(crate) fn body(&self) -> &[u8] {
        self.buffer.get(self.body_range()).unwrap_or_default()
    }

    fn body_range(&self) -> Range<usize> {
        1..self.len.saturating_sub(3)
    }

    /// Whether a byte that comes now is outside a packet.
    pub(crate) fn idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Drops a packet half received.
    pub(crate) fn abandon(&mut self) {
        self.state = State::Idle;
    }

    /// Takes one byte.
    pub(crate) fn push(&mut self, byte: u8) -> Option<Event> {
        // In a body `$` only ever stands escaped: a bare one is a client that starts afresh.
        if byte == b'$' {
            self.len = 0;
            self.sum = 0;
            self.state = State::Body;
            return self.keep(byte);
        }
        match self.state {
            State::Idle if byte == CTRL_C => Some(Event::Break),
            State::Idle => None,
            State::Body if byte == b'#' => {
                self.state = State::First;
                self.keep(byte)
            }
            State::Body => {
                self.sum = self.sum.wrapping_add(byte);
                self.keep(byte)
            }
            State::First => match hex(byte) {
                Some(high) => {
                    self.state = State::Second { high };
                    self.keep(byte)
                }
                None => self.damaged(),
            },
            State::Second { high } => {
                self.state = State::Idle;
                match hex(byte) {
                    Some(low) if (high << 4 | low) == self.sum => {
                        self.keep(byte).or(match self.len {
                            0 => None,
                            _ => Some(Event::Packet),
                        })
                    }
                    _ => self.damaged(),
                }
            }
        }
    }

    fn damaged(&mut self) -> Option<Event> {
        self.state = State::Idle;
        Some(Event::Damaged)
    }

    /// Stores a byte of the packet; one too long is dropped up to the next `$`.
    fn keep(&mut self, byte: u8) -> Option<Event> {
        match self.buffer.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len = self.len.saturating_add(1);
            }
            None => {
                self.len = 0;
                self.state = State::Idle;
            }
        }
        None
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
