//! The MSR permission map: which MSRs exit (APM 2, 15.11). That of ports (15.10.1) is [`vcpu::IoMap`], 12 KiB: its
//! last page covers accesses that wrap at FFFFh.
use core::sync::atomic::{AtomicU8, Ordering};

/// MSR permission map: two bits an MSR, read then write, 8 KiB. All CPUs have the same.
#[derive(Clone, Copy)]
pub struct MsrMap(pub &'static [AtomicU8; 0x2000]);

impl MsrMap {
    /// Watch reads and writes of one MSR. MSRs the map does not cover exit anyway.
    pub fn watch(self, msr: u32, read: bool, write: bool) {
        let region = match msr >> 13 {
            0 => 0,
            0x6_0000 => 0x800,
            0x6_0008 => 0x1000,
            _ => return,
        };
        let offset = usize::try_from(msr & 0x1fff).unwrap_or(0);
        if let Some(byte) = self.0.get(region | offset >> 2) {
            let shift = (offset & 3) << 1;
            let bits = u8::from(read) | u8::from(write) << 1;
            // Relaxed: the CPUs read it as they enter the guest, in no order with anything else. Another's bits are kept.
            byte.fetch_or(bits << shift, Ordering::Relaxed);
            byte.fetch_and(!((!bits & 3) << shift), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;

    #[test]
    fn msrs_are_pairs_in_three_ranges() {
        let map = MsrMap(Box::leak(Box::new([const { AtomicU8::new(0) }; 0x2000])));
        let at = |n: usize| map.0[n].load(Ordering::Relaxed);
        map.watch(0x1b, false, true);
        map.watch(0xc000_0080, true, true);
        map.watch(0xc001_0117, true, false);
        map.watch(0x4000_0000, true, true);
        assert_eq!(at(6), 0b1000_0000);
        assert_eq!(at(0x820), 0b11);
        assert_eq!(at(0x1045), 0b01 << 6);
        assert_eq!(map.0.iter().filter(|b| b.load(Ordering::Relaxed) != 0).count(), 3);
        map.watch(0xc000_0080, false, false);
        assert_eq!(at(0x820), 0);
    }
}
