//! `vCont;r`: steps as long as the guest stays in a range of addresses, in one round trip. That is gdb's `next`
//! and `step`.

use crate::{Reason, Target};

/// Steps told of at once. gdb takes a stop within the range for what it is and asks to go on, and meanwhile
/// the line was looked at: some 10 µs a step let no 16-byte FIFO overrun.
const STEPS: u8 = 64;

/// A range being stepped, or one whose steps are used up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    cpu: usize,
    start: u64,
    end: u64,
    left: u8,
    interrupted: bool,
}

impl Range {
    /// Linear addresses from `start` up to, not including, `end`.
    pub(crate) fn new(cpu: usize, (start, end): (u64, u64)) -> Self {
        Range { cpu, start, end, left: STEPS, interrupted: false }
    }

    /// Ctrl-C came while the guest stands still: meant for the range, if only its steps were used up.
    pub(crate) fn interrupt(&mut self) {
        self.interrupted = self.left == 0;
    }

    /// Whether Ctrl-C came and was not heeded yet.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// What becomes of the range at a stop.
    pub(crate) fn stopped(mut self, target: &mut dyn Target, why: Reason) -> After {
        if why != (Reason::Step { cpu: self.cpu }) {
            return After::Left;
        }
        let rip = target.registers(self.cpu).rip_linear;
        // A breakpoint is to be told of even if the guest came to it by a step.
        if !(self.start..self.end).contains(&rip) || target.breakpoint_at(rip) {
            return After::Left;
        }
        self.left = self.left.saturating_sub(1);
        match self.left {
            0 => After::UsedUp(self),
            _ => After::Step(self, self.cpu),
        }
    }
}

/// See [`Range::stopped`].
pub(crate) enum After {
    /// The client is told of the stop.
    Left,
    /// So it is, and will go on.
    UsedUp(Range),
    /// This CPU steps again.
    Step(Range, usize),
}
