//! Maps of bits by which a CPU knows what exits. All CPUs have the same.
use core::sync::atomic::{AtomicU8, Ordering};

/// I/O permission map or bitmaps: a bit a port. What an access that wraps at FFFFh meets is the vendor's.
#[derive(Clone, Copy, Debug)]
pub struct IoMap(pub &'static [AtomicU8]);

impl IoMap {
    /// Watch `count` ports from `first` on, or no longer. Ports beyond FFFFh are those the map has room for.
    pub fn watch(self, first: u16, count: u16, on: bool) {
        for port in (usize::from(first)..).take(usize::from(count)) {
            set_bit(self.0, port, on);
        }
    }
}

/// Set or clear bit `n` of a map, counted from the least of its first byte; none beyond it.
pub fn set_bit(map: &[AtomicU8], n: usize, on: bool) {
    if let Some(byte) = map.get(n >> 3) {
        let bit = 1 << (n & 7);
        // Relaxed: the CPUs read it while they run the guest, in no order with anything else.
        if on {
            byte.fetch_or(bit, Ordering::Relaxed);
        } else {
            byte.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn ports_are_bits() {
        for (len, beyond) in [(0x2000, None), (0x3000, Some(0x7f))] {
            let map = IoMap((0..len).map(|_| AtomicU8::new(0)).collect::<Vec<_>>().leak());
            let at = |n: usize| map.0.get(n).map(|byte| byte.load(Ordering::Relaxed));
            map.watch(0x3f8, 8, true);
            map.watch(0x92, 1, true);
            assert_eq!(at(0x7f), Some(0xff));
            assert_eq!(at(0x92 / 8), Some(1 << 2));
            map.watch(0x3f8, 8, false);
            assert_eq!(at(0x7f), Some(0));
            map.watch(0xffff, 8, true);
            assert_eq!(at(0x1fff), Some(0x80));
            assert_eq!(at(0x2000), beyond);
        }
    }
}
