//! How far what was found of a linear address holds.

use super::{Mode, Paging, Translation, WalkError};
use crate::entry::span;

impl Paging {
    /// The first and the last of the linear addresses around `linear` for which [`lookup`](Self::lookup) finds
    /// what it `found` for this one: the same page, or nothing because of the same entry.
    #[must_use]
    pub fn extent(&self, linear: u64, found: &Result<Translation, WalkError>) -> (u64, u64) {
        let mode = self.mode();
        let bits = match mode {
            Mode::Off | Mode::Bits32 | Mode::Pae => {
                const LAST: u64 = 0xffff_ffff;
                if linear > LAST {
                    return (LAST.wrapping_add(1), u64::MAX);
                }
                if mode == Mode::Off {
                    return (0, LAST);
                }
                32
            }
            Mode::Level4 => 47_u32,
            Mode::Level5 => 56,
        };
        let size = match *found {
            Ok(page) => page.page_size,
            Err(WalkError::NotPresent { level } | WalkError::Reserved { level }) => match mode {
                Mode::Bits32 if level == 2 => 4 << 20,
                _ => span(level),
            },
            Err(WalkError::NonCanonical) => {
                let half = 1_u64.wrapping_shl(bits);
                return (half, half.wrapping_neg().wrapping_sub(1));
            }
            Err(WalkError::NotRam { .. } | WalkError::Protection) => 4096,
        };
        let offset = size.wrapping_sub(1);
        (linear & !offset, linear | offset)
    }
}
