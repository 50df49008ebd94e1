//! Maps of bits by which a CPU knows what exits.

/// I/O permission map or bitmaps: a bit a port. What an access that wraps at FFFFh meets is the vendor's.
#[derive(Debug)]
pub struct IoMap(pub &'static mut [u8]);

impl IoMap {
    /// Watch `count` ports from `first` on, or no longer. Ports beyond FFFFh are those the map has room for.
    pub fn watch(&mut self, first: u16, count: u16, on: bool) {
        for port in (usize::from(first)..).take(usize::from(count)) {
            set_bit(self.0, port, on);
        }
    }
}

/// Set or clear bit `n` of a map, counted from the least of its first byte; none beyond it.
pub fn set_bit(map: &mut [u8], n: usize, on: bool) {
    if let Some(byte) = map.get_mut(n >> 3) {
        let bit = 1 << (n & 7);
        *byte = if on { *byte | bit } else { *byte & !bit };
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;

    #[test]
    fn ports_are_bits() {
        for (len, beyond) in [(0x2000, None), (0x3000, Some(0x7f))] {
            let mut map = IoMap(vec![0; len].leak());
            map.watch(0x3f8, 8, true);
            map.watch(0x92, 1, true);
            assert_eq!(map.0[0x7f], 0xff);
            assert_eq!(map.0[0x92 / 8], 1 << 2);
            map.watch(0x3f8, 8, false);
            assert_eq!(map.0[0x7f], 0);
            map.watch(0xffff, 8, true);
            assert_eq!(map.0[0x1fff], 0x80);
            assert_eq!(map.0.get(0x2000).copied(), beyond);
        }
    }
}
