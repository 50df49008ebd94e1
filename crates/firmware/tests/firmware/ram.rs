//! Physical memory made of a few islands, some of them ROM.
use firmware::{Phys, PhysMut};

#[derive(Clone, Default)]
pub(crate) struct Ram {
    islands: Vec<(u64, Vec<u8>)>,
    rom: Option<std::ops::Range<u64>>,
    /// Bytes stored so far.
    pub(crate) stored: usize,
}

impl Ram {
    /// Adds an island; earlier ones win where they overlap.
    pub(crate) fn put(mut self, at: u64, bytes: &[u8]) -> Self {
        self.islands.push((at, bytes.to_vec()));
        self
    }

    /// Makes stores to a range vanish.
    pub(crate) fn rom(mut self, range: std::ops::Range<u64>) -> Self {
        self.rom = Some(range);
        self
    }

    fn find(&self, at: u64, len: usize) -> Option<(usize, std::ops::Range<usize>)> {
        self.islands.iter().enumerate().find_map(|(index, (base, bytes))| {
            let from = usize::try_from(at.checked_sub(*base)?).ok()?;
            let to = from.checked_add(len)?;
            (to <= bytes.len()).then_some((index, from..to))
        })
    }

    pub(crate) fn u8(&self, at: u64) -> u8 {
        self.bytes(at, 1).unwrap()[0]
    }

    pub(crate) fn u16(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.bytes(at, 2).unwrap().try_into().unwrap())
    }

    pub(crate) fn u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.bytes(at, 4).unwrap().try_into().unwrap())
    }
}

impl Phys for Ram {
    fn bytes(&self, at: u64, len: usize) -> Option<&[u8]> {
        self.find(at, len).map(|(index, range)| &self.islands[index].1[range])
    }
}

impl PhysMut for Ram {
    fn write(&mut self, at: u64, bytes: &[u8]) -> bool {
        let Some((index, range)) = self.find(at, bytes.len()) else { return false };
        if !self.rom.as_ref().is_some_and(|rom| rom.contains(&at)) {
            self.islands[index].1[range].copy_from_slice(bytes);
            self.stored += bytes.len();
        }
        true
    }
}

/// The sum of all bytes modulo 256.
pub(crate) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Sets the byte at `offset` so that `bytes` sum to 0.
pub(crate) fn fix(bytes: &mut [u8], offset: usize) {
    bytes[offset] = bytes[offset].wrapping_sub(sum(bytes));
}
