//! The MSR bitmaps: which MSRs exit (SDM 3C, 24.6.9). Those of ports (24.6.4) are [`vcpu::IoMap`], 8 KiB; an access that
//! wraps at FFFFh always exits.
use core::sync::atomic::AtomicU8;
use vcpu::set_bit;

/// MSR bitmaps: reads of the low and of the high range, then writes. All CPUs have the same.
#[derive(Clone, Copy)]
pub struct MsrMap(pub &'static [AtomicU8; 0x1000]);

impl MsrMap {
    /// Watch reads and writes of one MSR. MSRs the map does not cover exit anyway.
    pub fn watch(self, msr: u32, read: bool, write: bool) {
        let region = match msr >> 13 {
            0 => 0,
            0x6_0000 => 0x400,
            _ => return,
        };
        let offset = usize::try_from(msr & 0x1fff).unwrap_or(0);
        for (at, on) in [(region, read), (region | 0x800, write)] {
            set_bit(self.0, (at << 3) | offset, on);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::sync::atomic::Ordering;
    use std::boxed::Box;

    #[test]
    fn msrs_are_bits_in_four_maps() {
        let map = MsrMap(Box::leak(Box::new([const { AtomicU8::new(0) }; 0x1000])));
        let at = |n: usize| map.0[n].load(Ordering::Relaxed);
        map.watch(0x1b, false, true);
        map.watch(0xc000_0080, true, true);
        map.watch(0x4000_0000, true, true);
        map.watch(0xc001_0010, true, true);
        assert_eq!(at(0x803), 1 << 3);
        assert_eq!((at(0x410), at(0xc10)), (1, 1));
        assert_eq!(map.0.iter().filter(|b| b.load(Ordering::Relaxed) != 0).count(), 3);
        map.watch(0xc000_0080, false, false);
        assert_eq!(at(0x410), 0);
    }
}
