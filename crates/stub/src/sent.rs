//! The reply last sent, for the client that got it damaged and says `-`.
//!
//! A short one is kept and sent again as it was. One too long for that is told by
//! [`Again::Answer`] to be made anew from its packet: nothing that changes the machine has so long a reply.
//!
//! A packet may have several replies (the text of `monitor`). Clients acknowledge them in their order, and
//! only the last can be sent again without being taken for the answer to the next packet.

use crate::Output;

/// Bytes kept: every reply but those that show memory, all registers or a description fits.
const KEPT: usize = 256;
/// How often one reply is sent again, which is how often gdb asks.
const MOST: u8 = 3;

/// What is to be done about a `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Again {
    /// Nothing, or it is done.
    Done,
    /// Answer the packet last received once more.
    Answer,
}

/// The way out, with a memory.
pub(crate) struct Sent<O> {
    out: O,
    kept: [u8; KEPT],
    /// Bytes of the last reply.
    len: usize,
    /// Replies that are not acknowledged yet.
    waiting: u16,
    /// How often the last one may be sent again.
    left: u8,
}

impl<O: Output> Sent<O> {
    pub(crate) fn new(out: O) -> Self {
        Sent { out, kept: [0; KEPT], len: 0, waiting: 0, left: 0 }
    }

    pub(crate) fn inner(&mut self) -> &mut O {
        &mut self.out
    }

    /// Sends `+` or `-`, which is no reply.
    pub(crate) fn sign(&mut self, sign: u8) {
        self.out.put(sign);
    }

    /// What follows is the reply to a new packet, or a stop.
    pub(crate) fn begin(&mut self, acknowledged: bool) {
        self.forget();
        self.left = if acknowledged { MOST } else { 0 };
    }

    /// The client speaks of other things.
    pub(crate) fn forget(&mut self) {
        self.waiting = 0;
    }

    /// `+` came.
    pub(crate) fn accepted(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// `-` came.
    pub(crate) fn refused(&mut self) -> Again {
        match (self.waiting, self.left) {
            (0, _) | (1, 0) => return Again::Done,
            (1, _) => self.left = self.left.saturating_sub(1),
            _ => {
                self.accepted();
                return Again::Done;
            }
        }
        match self.kept.get(..self.len) {
            Some(reply) => {
                reply.iter().for_each(|&byte| self.out.put(byte));
                Again::Done
            }
            None => {
                self.forget();
                Again::Answer
            }
        }
    }
}

impl<O: Output> Output for Sent<O> {
    fn put(&mut self, byte: u8) {
        // Within a reply both stand escaped, so half a one is not counted.
        match byte {
            b'$' => self.len = 0,
            b'#' => self.waiting = self.waiting.saturating_add(1),
            _ => {}
        }
        if let Some(place) = self.kept.get_mut(self.len) {
            *place = byte;
        }
        self.len = self.len.saturating_add(1);
        self.out.put(byte);
    }
}
