//! Ranges of one memory type.

use super::{MemoryType, Mtrrs};

/// Edges of MTRRs that are looked at for one question. Firmware makes dozens. A mask with gaps low down can
/// make billions; then the answer is [`Scattered`].
pub const MAX_STEPS: u32 = 4096;

/// A range of one type, as long as it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First byte.
    pub from: u64,
    /// First byte behind it.
    pub to: u64,
    /// Its type.
    pub kind: MemoryType,
}

/// The types change too often ([`MAX_STEPS`]): the masks are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scattered;

/// An iterator over the runs of a range, in ascending order. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    now: &'a Mtrrs,
    before: Option<&'a Mtrrs>,
    at: u64,
    to: u64,
    left: u32,
}

impl<'a> Runs<'a> {
    pub(super) const fn new(now: &'a Mtrrs, before: Option<&'a Mtrrs>, from: u64, to: u64) -> Self {
        Self { now, before, at: from, to, left: MAX_STEPS }
    }

    /// The type at `at` and the end of the step; no type if it is the one it was before.
    fn step(&self, at: u64) -> (Option<MemoryType>, u64) {
        let (kind, end) = self.now.step(at);
        let Some(before) = self.before else {
            return (Some(kind), end);
        };
        let (old, old_end) = before.step(at);
        (Some(kind).filter(|kind| *kind != old), end.min(old_end))
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<Run, Scattered>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut run: Option<Run> = None;
        while self.at < self.to {
            let (kind, end) = self.step(self.at);
            // A run ends where another type begins, that of the step just looked at.
            if run.is_some_and(|run| Some(run.kind) != kind) {
                break;
            }
            let Some(left) = self.left.checked_sub(1) else {
                self.at = self.to;
                return Some(Err(Scattered));
            };
            self.left = left;
            let end = end.min(self.to);
            if let Some(kind) = kind {
                let from = run.map_or(self.at, |run| run.from);
                run = Some(Run { from, to: end, kind });
            }
            self.at = end;
        }
        run.map(Ok)
    }
}
