//! Sparse memory of 8-byte words; what was never written reads as zero, up to `end`.

use paging::table::TableMemory;
use paging::walk::PhysRead;
use std::collections::HashMap;

pub(crate) struct Memory {
    pub(crate) words: HashMap<u64, u64>,
    /// Where RAM ends.
    pub(crate) end: u64,
    /// The next table page to give, and those that may still be given.
    pub(crate) next: u64,
    pub(crate) left: u64,
    pub(crate) freed: Vec<u64>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { words: HashMap::new(), end: 1 << 40, next: 0x10_0000, left: 1 << 20, freed: vec![] }
    }

    pub(crate) fn with(entries: &[(u64, u64)]) -> Self {
        let mut memory = Self::new();
        memory.words.extend(entries.iter().copied());
        memory
    }

    pub(crate) fn with32(entries: &[(u64, u32)]) -> Self {
        let mut memory = Self::new();
        for &(gpa, entry) in entries {
            *memory.words.entry(gpa & !7).or_default() |= u64::from(entry) << ((gpa & 4) * 8);
        }
        memory
    }
}

impl PhysRead for Memory {
    fn read_u32(&self, gpa: u64) -> Option<u32> {
        assert_eq!(gpa % 4, 0);
        Some((self.read_u64(gpa & !7)? >> ((gpa & 4) * 8)) as u32)
    }

    fn read_u64(&self, gpa: u64) -> Option<u64> {
        assert_eq!(gpa % 8, 0);
        (gpa < self.end).then(|| self.words.get(&gpa).copied().unwrap_or(0))
    }
}

impl TableMemory for Memory {
    fn alloc(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        self.next += 0x1000;
        Some(self.next - 0x1000)
    }

    fn free(&mut self, hpa: u64) {
        self.freed.push(hpa);
    }

    fn read(&self, hpa: u64) -> u64 {
        assert_eq!(hpa % 8, 0);
        self.words.get(&hpa).copied().unwrap_or(0)
    }

    fn write(&mut self, hpa: u64, entry: u64) {
        assert_eq!(hpa % 8, 0);
        self.words.insert(hpa, entry);
    }
}
