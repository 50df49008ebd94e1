//! Numbers that are the same for the same seed.

/// splitmix64.
#[derive(Clone, Copy)]
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of one case of one run.
    pub(crate) fn new(seed: u64, case: u64) -> Self {
        let mut first = Self(seed ^ case.wrapping_mul(0xd134_2543_de82_ef95));
        Self(first.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    pub(crate) fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    /// A number of any size.
    pub(crate) fn number(&mut self) -> u64 {
        let bits = self.below(64);
        match self.below(8) {
            0 => 1 << bits,
            1 => (1 << bits) - 1,
            2 => u64::MAX << bits,
            3 => self.next(),
            _ => self.next() >> bits,
        }
    }
}
