//! A pair of variable MTRRs (`Intel SDM 3A, 12.11.2.3`).

use super::{MemoryType, named};

/// PHYSMASK.V: the pair is in force.
pub(super) const VALID: u64 = 1 << 11;
/// The address bits of both registers.
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

/// PHYSBASE and PHYSMASK, as the CPU has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) base: u64,
    pub(super) mask: u64,
}

impl Variable {
    /// The type of its memory.
    pub(super) const fn kind(self) -> MemoryType {
        named(self.base & 0xFF)
    }

    /// Whether `gpa` is in its range, and an address behind `gpa` up to which that does not change.
    ///
    /// An address is in the range if it agrees with the base in all bits of the mask (`12.11.3`). A mask
    /// may have gaps: the range is then many pieces, as with the masks of a firmware that takes the CPU's
    /// addresses for shorter than they are.
    pub(super) const fn step(self, gpa: u64, limit: u64) -> (bool, u64) {
        let mask = self.mask & ADDRESS & limit.wrapping_sub(1);
        let base = self.base & mask;
        if self.mask & VALID == 0 || gpa >= limit {
            return (false, u64::MAX);
        }
        if mask == 0 {
            return (true, limit);
        }
        if gpa & mask == base {
            // Up to where the lowest bit that must agree changes.
            let piece = 1_u64.wrapping_shl(mask.trailing_zeros());
            return (true, (gpa | piece.wrapping_sub(1)).wrapping_add(1));
        }
        (false, next(gpa, base, mask, limit))
    }
}

/// The first address behind `gpa` and below `limit` that agrees with `base` in the bits of `mask`, where
/// `gpa` does not; without one the end of everything.
const fn next(gpa: u64, base: u64, mask: u64, limit: u64) -> u64 {
    // The highest bit in which they disagree. Those above may stay.
    let top = 63_u32.wrapping_sub(((gpa ^ base) & mask).leading_zeros());
    let bit = 1_u64.wrapping_shl(top);
    let mut rise = bit;
    if base & bit == 0 {
        // It must fall, so a bit above that is free must rise: the lowest one that is 0.
        let free = !(gpa | mask) & limit.wrapping_sub(1) & !(bit.wrapping_sub(1));
        if free == 0 {
            return u64::MAX;
        }
        rise = 1_u64.wrapping_shl(free.trailing_zeros());
    }
    // Below it all as low as can be.
    let below = rise.wrapping_sub(1);
    (gpa & !below & !mask) | (base & !below) | rise | (base & below)
}
