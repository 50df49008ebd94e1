//! Tables built by random requests, against the list of what was asked for.

use std::collections::HashMap;

use crate::input::Input;
use paging::table::{
    ADDR, LARGE, MapError, NX, PCD, PRESENT, PWT, PageSize, TableMemory, USER, WRITE, leaf, map,
    split_to_4k,
};

const ROOT: u64 = 0x1000;
const SIZES: [PageSize; 3] = [PageSize::Size4K, PageSize::Size2M, PageSize::Size1G];

struct Memory {
    entries: HashMap<u64, u64>,
    next: u64,
    left: usize,
    freed: Vec<u64>,
}

impl TableMemory for Memory {
    fn alloc(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        if let Some(page) = self.freed.pop() {
            self.entries.retain(|at, _| at & !0xfff != page);
            return Some(page);
        }
        self.next += 0x1000;
        Some(self.next)
    }
    fn free(&mut self, hpa: u64) {
        assert!(hpa > ROOT && hpa <= self.next && !self.freed.contains(&hpa), "freed {hpa:#x}");
        self.left += 1;
        self.freed.push(hpa);
    }
    fn read(&self, hpa: u64) -> u64 {
        self.known(hpa);
        self.entries.get(&hpa).copied().unwrap_or(0)
    }
    fn write(&mut self, hpa: u64, entry: u64) {
        self.known(hpa);
        self.entries.insert(hpa, entry);
    }
}

impl Memory {
    fn known(&self, hpa: u64) {
        let page = hpa & !0xfff;
        let ours = hpa.is_multiple_of(8) && (ROOT..=self.next).contains(&page);
        assert!(ours && !self.freed.contains(&page), "touched {hpa:#x}");
    }
}

/// A mapping that was made.
#[derive(Clone, Copy, Debug)]
struct Asked {
    va: u64,
    len: u64,
    pa: u64,
    flags: u64,
}

impl Asked {
    fn holds(&self, va: u64) -> bool {
        (self.va..self.va + self.len).contains(&va)
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let left = usize::from(input.u8() % 24);
    let mut memory = Memory { entries: HashMap::new(), next: ROOT, left, freed: Vec::new() };
    let mut asked: Vec<Asked> = Vec::new();
    for _ in 0..16 {
        if input.is_empty() {
            break;
        }
        let kind = input.u8();
        // Bits 63:48 are ignored.
        let va = address(&mut input) & ((1 << 48) - 1);
        if kind.is_multiple_of(4) {
            let split = split_to_4k(&mut memory, ROOT, va);
            if let Ok(at) = split {
                let found = leaf(&memory, ROOT, va).map(|(at, _, size)| (at, size));
                assert!(found.is_none_or(|found| found == (at, PageSize::Size4K)));
            } else {
                assert_eq!(split, Err(MapError::OutOfTables));
            }
        } else {
            let (pa, len) = (address(&mut input), length(&mut input));
            let flags = [WRITE | USER, USER, NX, PWT | PCD | WRITE][usize::from(kind >> 2 & 3)];
            let max = SIZES[usize::from(kind >> 4) % 3];
            let new = Asked { va, len, pa, flags };
            let agrees = |old: &Asked| {
                let apart = len == 0 || old.va >= va + len || va >= old.va + old.len;
                apart || (old.flags == flags && old.pa.wrapping_sub(old.va) == pa.wrapping_sub(va))
            };
            match map(&mut memory, ROOT, va, pa, len, flags, max) {
                Ok(()) => {
                    assert!(asked.iter().all(agrees), "mapped over something else");
                    asked.extend((len > 0).then_some(new));
                }
                Err(MapError::OutOfTables) => return check(&memory, &asked, false),
                Err(MapError::Scattered) => panic!("no memory types were asked for"),
                Err(MapError::Overlap) => {
                    assert!(!asked.iter().all(agrees), "nothing is in the way");
                    return check(&memory, &asked, false);
                }
                Err(MapError::Misaligned) => {
                    assert!(
                        (va | pa | len) & 0xfff != 0 || va + len > 1 << 48 || pa + len > 1 << 52
                    );
                }
            }
        }
        check(&memory, &asked, true);
    }
}

/// Each mapping translates as asked, at its ends and in between; and, if `all`, nothing else does.
fn check(memory: &Memory, asked: &[Asked], all: bool) {
    let inside = |it: &Asked| [it.va, (it.va + it.len / 2) & !0xfff, it.va + it.len - 0x1000];
    for it in asked.iter().filter(|it| it.len > 0) {
        for va in inside(it) {
            let (_, entry, size) = leaf(memory, ROOT, va).expect("mapped");
            let offset = va & (size.bytes() - 1);
            assert_eq!((entry & ADDR & !(size.bytes() - 1)) + offset, it.pa + (va - it.va));
            let large = if size == PageSize::Size4K { 0 } else { LARGE };
            assert_eq!(entry & !ADDR, it.flags | PRESENT | large);
        }
        for va in [it.va.wrapping_sub(0x1000), it.va + it.len] {
            let known = asked.iter().any(|other| other.holds(va));
            assert!(!all || known || va >> 48 != 0 || leaf(memory, ROOT, va).is_none(), "{va:#x}");
        }
    }
}

/// An address where something is likely to meet something else.
fn address(input: &mut Input<'_>) -> u64 {
    let shape = input.u8();
    let page = u64::from(input.u8());
    match shape % 8 {
        0 => input.u64() & ((1 << 48) - 1),
        1 => page << 12,
        2 => page << 21,
        3 => page << 30,
        4 => (1 << 30) - (page << 12),
        5 => (1 << 48) - (page << 12),
        6 => (page << 30) + (1 << 21) - 0x1000,
        _ => page << 39,
    }
}

fn length(input: &mut Input<'_>) -> u64 {
    let shape = input.u8();
    match shape % 4 {
        0 => u64::from(input.u16()) << 12 & 0x3f_ffff,
        1 => u64::from(shape >> 2) << 12,
        2 => u64::from(shape >> 4) << 21,
        _ => u64::from(shape >> 5) << 30 | u64::from(shape >> 2 & 7) << 12,
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![
        vec![40, 0x21, 3, 1, 3, 1, 0x23, 0, 3, 1, 0, 0, 0],
        vec![40, 0x11, 2, 1, 2, 1, 0x12, 0, 2, 1, 0x01, 1, 9, 1, 9, 0x05],
        vec![3, 0x21, 4, 2, 4, 2, 0x0d, 0x01, 5, 1, 5, 1, 0x09, 0, 7, 1],
    ]
}
