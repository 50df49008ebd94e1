//! The fixed ranges: 88 of them, below 1 MiB (`Intel SDM 3A, 12.11.2.2`).

use super::{MemoryType, named};

/// Registers of eight types each.
pub(super) const REGISTERS: usize = 11;

/// The type at `gpa` and the end of its range; `None` from 1 MiB on.
pub(super) fn step(registers: &[u64; REGISTERS], gpa: u64) -> Option<(MemoryType, u64)> {
    // One register for 512 KiB, two for 128 KiB each, eight for 32 KiB each: eight ranges in each.
    let (first, base, shift) = match gpa {
        0..0x8_0000 => (0, 0, 16),
        0x8_0000..0xC_0000 => (1, 0x8_0000, 14),
        0xC_0000..0x10_0000 => (3, 0xC_0000, 12),
        _ => return None,
    };
    let range = gpa.wrapping_sub(base).wrapping_shr(shift);
    let register = registers.get((range.wrapping_shr(3) as usize).wrapping_add(first))?;
    let kind = register.wrapping_shr((range as u32 & 7).wrapping_mul(8));
    Some((named(kind & 0xFF), base.wrapping_add(range.wrapping_add(1).wrapping_shl(shift))))
}
