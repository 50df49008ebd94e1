//! The bitmaps: which ports and MSRs exit (SDM 3C, 24.6.4 and 24.6.9).

/// I/O bitmaps A and B: a bit a port. An access that wraps at FFFFh always exits.
pub struct IoMap(pub &'static mut [u8; 0x2000]);

impl IoMap {
    /// Watch `count` ports from `first` on, or no longer.
    pub fn watch(&mut self, first: u16, count: u16, on: bool) {
        for port in (usize::from(first)..).take(usize::from(count)) {
            if let Some(byte) = self.0.get_mut(port >> 3) {
                let bit = 1 << (port & 7);
                *byte = if on { *byte | bit } else { *byte & !bit };
            }
        }
    }
}

/// MSR bitmaps: reads of the low and of the high range, then writes.
pub struct MsrMap(pub &'static mut [u8; 0x1000]);

impl MsrMap {
    /// Watch reads and writes of one MSR. MSRs the map does not cover exit anyway.
    pub fn watch(&mut self, msr: u32, read: bool, write: bool) {
        let region = match msr >> 13 {
            0 => 0,
            0x6_0000 => 0x400,
            _ => return,
        };
        let offset = usize::try_from(msr & 0x1fff).unwrap_or(0);
        for (at, on) in [(region, read), (region | 0x800, write)] {
            if let Some(byte) = self.0.get_mut(at | offset >> 3) {
                let bit = 1 << (offset & 7);
                *byte = if on { *byte | bit } else { *byte & !bit };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;

    #[test]
    fn ports_are_bits() {
        let mut map = IoMap(Box::leak(Box::new([0; 0x2000])));
        map.watch(0x3f8, 8, true);
        map.watch(0x92, 1, true);
        assert_eq!(map.0[0x7f], 0xff);
        assert_eq!(map.0[0x92 / 8], 1 << 2);
        map.watch(0x3f8, 8, false);
        assert_eq!(map.0[0x7f], 0);
        map.watch(0xffff, 8, true);
        assert_eq!(map.0[0x1fff], 0x80);
    }

    #[test]
    fn msrs_are_bits_in_four_maps() {
        let mut map = MsrMap(Box::leak(Box::new([0; 0x1000])));
        map.watch(0x1b, false, true);
        map.watch(0xc000_0080, true, true);
        map.watch(0x4000_0000, true, true);
        map.watch(0xc001_0010, true, true);
        assert_eq!(map.0[0x803], 1 << 3);
        assert_eq!((map.0[0x410], map.0[0xc10]), (1, 1));
        assert_eq!(map.0.iter().filter(|b| **b != 0).count(), 3);
        map.watch(0xc000_0080, false, false);
        assert_eq!(map.0[0x410], 0);
    }
}
