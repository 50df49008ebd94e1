//! The permission maps: which ports and MSRs exit (APM 2, 15.10.1 and 15.11).

/// I/O permission map: a bit a port, 12 KiB (the last page covers accesses that wrap at FFFFh).
pub struct IoMap(pub &'static mut [u8; 0x3000]);

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

/// MSR permission map: two bits an MSR, read then write, 8 KiB.
pub struct MsrMap(pub &'static mut [u8; 0x2000]);

impl MsrMap {
    /// Watch reads and writes of one MSR. MSRs the map does not cover exit anyway.
    pub fn watch(&mut self, msr: u32, read: bool, write: bool) {
        let region = match msr >> 13 {
            0 => 0,
            0x6_0000 => 0x800,
            0x6_0008 => 0x1000,
            _ => return,
        };
        let offset = usize::try_from(msr & 0x1fff).unwrap_or(0);
        if let Some(byte) = self.0.get_mut(region | offset >> 2) {
            let shift = (offset & 3) << 1;
            let bits = u8::from(read) | u8::from(write) << 1;
            *byte = *byte & !(3 << shift) | bits << shift;
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
        let mut map = IoMap(Box::leak(Box::new([0; 0x3000])));
        map.watch(0x3f8, 8, true);
        map.watch(0x92, 1, true);
        assert_eq!(map.0[0x7f], 0xff);
        assert_eq!(map.0[0x92 / 8], 1 << 2);
        map.watch(0x3f8, 8, false);
        assert_eq!(map.0[0x7f], 0);
        map.watch(0xffff, 8, true);
        assert_eq!(map.0[0x1fff], 0x80);
        assert_eq!(map.0[0x2000], 0x7f);
    }

    #[test]
    fn msrs_are_pairs_in_three_ranges() {
        let mut map = MsrMap(Box::leak(Box::new([0; 0x2000])));
        map.watch(0x1b, false, true);
        map.watch(0xc000_0080, true, true);
        map.watch(0xc001_0117, true, false);
        map.watch(0x4000_0000, true, true);
        assert_eq!(map.0[6], 0b1000_0000);
        assert_eq!(map.0[0x820], 0b11);
        assert_eq!(map.0[0x1045], 0b01 << 6);
        assert_eq!(map.0.iter().filter(|b| **b != 0).count(), 3);
        map.watch(0xc000_0080, false, false);
        assert_eq!(map.0[0x820], 0);
    }
}
