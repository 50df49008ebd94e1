//! Tables built, then read by the walker and by `leaf`.

use crate::memory::Memory;
use paging::table::{
    ACCESSED, ADDR, GLOBAL, LARGE, MapError, NX, PCD, PRESENT, PWT, PageSize, TableMemory, USER,
    WRITE, leaf, map, pde_address, split_to_4k, tables_for,
};
use paging::walk::{Paging, Translation};
use proptest::prelude::*;
use std::collections::HashMap;

const ROOT: u64 = 0x8000;
const RW: u64 = WRITE | USER;
const SIZES: [PageSize; 3] = [PageSize::Size4K, PageSize::Size2M, PageSize::Size1G];

/// The walker on tables at `ROOT`, with NX in force.
fn walk(memory: &Memory, va: u64) -> Option<Translation> {
    let paging = Paging { cr0: 1 << 31, cr3: ROOT, cr4: 1 << 5, efer: 1 << 10 | 1 << 11 };
    paging.lookup(memory, va).ok()
}

/// The three PAT bits of a leaf.
fn pat(entry: u64, size: PageSize) -> (u64, bool) {
    let high = if size == PageSize::Size4K { 1 << 7 } else { 1 << 12 };
    (entry & (PWT | PCD), entry & high != 0)
}

#[test]
fn the_largest_pages_that_fit() {
    let mut memory = Memory::new();
    // From 1 GiB - 4 KiB to 2 GiB + 2 MiB + 4 KiB.
    let (va, len) = ((1 << 30) - 0x1000, (1 << 30) + (2 << 20) + 0x2000);
    map(&mut memory, ROOT, va, va, len, RW, PageSize::Size1G).unwrap();
    let size = |va| leaf(&memory, ROOT, va).map(|(_, _, size)| size);
    assert_eq!(size(va - 1), None);
    assert_eq!(size(va), Some(PageSize::Size4K));
    assert_eq!(size(1 << 30), Some(PageSize::Size1G));
    assert_eq!(size(2 << 30), Some(PageSize::Size2M));
    assert_eq!(size((2 << 30) + (2 << 20)), Some(PageSize::Size4K));
    assert_eq!(size(va + len), None);
}

#[test]
fn alignment_of_both_addresses_bounds_the_size() {
    let mut memory = Memory::new();
    map(&mut memory, ROOT, 1 << 30, 2 << 20, 1 << 30, RW, PageSize::Size1G).unwrap();
    assert_eq!(leaf(&memory, ROOT, 1 << 30).unwrap().2, PageSize::Size2M);
}

#[test]
fn ranges_refused() {
    let mut memory = Memory::new();
    let top = 1 << 48;
    let cases = [
        (1, 0, 0x1000),
        (0, 0x800, 0x1000),
        (0, 0, 0xFFF),
        (top - 0x1000, 0, 0x2000),
        (0, (1 << 52) - 0x1000, 0x2000),
        (0, u64::MAX - 0xFFF, 0x1000),
        (0x1000, 0, u64::MAX - 0xFFF),
    ];
    for (va, pa, len) in cases {
        let result = map(&mut memory, ROOT, va, pa, len, RW, PageSize::Size1G);
        assert_eq!(result, Err(MapError::Misaligned), "{va:#x} {pa:#x} {len:#x}");
    }
    assert!(memory.words.is_empty());
    map(&mut memory, ROOT, u64::MAX - 0xFFF, (1 << 52) - 0x1000, 0x1000, RW, PageSize::Size1G)
        .unwrap();
    assert_eq!(walk(&memory, u64::MAX).unwrap().gpa, (1 << 52) - 1);
}

#[test]
fn overlap_is_refused_and_repetition_is_not() {
    let mut memory = Memory::new();
    let four = 4 << 20;
    map(&mut memory, ROOT, 0, 0, four, RW, PageSize::Size2M).unwrap();
    let (at, entry, _) = leaf(&memory, ROOT, 0).unwrap();
    memory.write(at, entry | ACCESSED);
    let before = memory.words.clone();
    for max in SIZES {
        map(&mut memory, ROOT, 0, 0, four, RW, max).unwrap();
        map(&mut memory, ROOT, 0x5000, 0x5000, 0x1000, RW, max).unwrap();
        let result = map(&mut memory, ROOT, 0x5000, 0x6000, 0x1000, RW, max);
        assert_eq!(result, Err(MapError::Overlap));
        let result = map(&mut memory, ROOT, 0, 0, four, RW | NX, max);
        assert_eq!(result, Err(MapError::Overlap));
    }
    assert_eq!(memory.words, before);
}

#[test]
fn a_large_range_over_small_pages_already_there() {
    let mut memory = Memory::new();
    map(&mut memory, ROOT, 0x3000, 0x3000, 0x1000, RW, PageSize::Size1G).unwrap();
    map(&mut memory, ROOT, 0, 0, 1 << 30, RW, PageSize::Size1G).unwrap();
    assert_eq!(leaf(&memory, ROOT, 0x3000).unwrap().2, PageSize::Size4K);
    assert_eq!(leaf(&memory, ROOT, 2 << 20).unwrap().2, PageSize::Size2M);
}

#[test]
fn split_moves_pat_and_keeps_nx() {
    let flags = WRITE | GLOBAL | PWT | NX;
    let mut memory = Memory::new();
    map(&mut memory, ROOT, 0, 1 << 30, 1 << 30, flags, PageSize::Size1G).unwrap();
    let (at, entry, _) = leaf(&memory, ROOT, 0).unwrap();
    memory.write(at, entry | 1 << 12);
    let pte = split_to_4k(&mut memory, ROOT, 0x40_5678).unwrap();
    let page = (1 << 30) + 0x40_5000;
    assert_eq!(memory.read(pte), page | flags | PRESENT | 1 << 7);
    assert_eq!(leaf(&memory, ROOT, 0x40_5678), Some((pte, memory.read(pte), PageSize::Size4K)));
    let (_, large, size) = leaf(&memory, ROOT, 0).unwrap();
    assert_eq!(large, (1 << 30) | flags | PRESENT | LARGE | 1 << 12);
    assert_eq!(size, PageSize::Size2M);
    // Again: nothing more to do.
    let left = memory.left;
    assert_eq!(split_to_4k(&mut memory, ROOT, 0x40_5000), Ok(pte));
    assert_eq!(memory.left, left);
    assert_eq!(pde_address(&memory, ROOT, 0x40_5000), Some(0x10_1000 + 8 * 2));
}

#[test]
fn split_where_nothing_is_mapped() {
    let mut memory = Memory::new();
    assert_eq!(pde_address(&memory, ROOT, 0x1234_5000), None);
    let pte = split_to_4k(&mut memory, ROOT, 0x1234_5000).unwrap();
    assert_eq!(memory.read(pte), 0);
    assert_eq!(leaf(&memory, ROOT, 0x1234_5000), None);
    memory.write(pte, 0x7000 | PRESENT);
    assert_eq!(walk(&memory, 0x1234_5678).unwrap().gpa, 0x7678);
    assert!(pde_address(&memory, ROOT, 0x1234_5000).is_some());
}

#[test]
fn out_of_tables() {
    for left in 0..3 {
        let mut memory = Memory { left, ..Memory::new() };
        let result = map(&mut memory, ROOT, 0, 0, 0x1000, RW, PageSize::Size1G);
        assert_eq!(result, Err(MapError::OutOfTables));
    }
    for left in 0..2 {
        let mut memory = Memory::new();
        map(&mut memory, ROOT, 0, 0, 1 << 30, RW, PageSize::Size1G).unwrap();
        memory.left = left;
        let (given, before) = (memory.next, leaf(&memory, ROOT, 0));
        assert_eq!(split_to_4k(&mut memory, ROOT, 0), Err(MapError::OutOfTables));
        assert_eq!(leaf(&memory, ROOT, 0), before);
        let taken: Vec<u64> = (0..left).map(|page| given + page * 0x1000).collect();
        assert_eq!(memory.freed, taken, "what was taken is given back");
    }
}

#[test]
fn a_1g_leaf_has_no_pde() {
    let mut memory = Memory::new();
    map(&mut memory, ROOT, 0, 0, 1 << 30, RW, PageSize::Size1G).unwrap();
    assert_eq!(pde_address(&memory, ROOT, 0), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_page_mapped_is_found(
        ranges in prop::collection::vec((0u64..4096, 0u64..4096, 1u64..1200, 0usize..3, any::<bool>()), 1..5),
    ) {
        let mut memory = Memory::new();
        let mut model: HashMap<u64, (u64, bool)> = HashMap::new();
        for (page, target, pages, max, nx) in ranges {
            // Often aligned alike, so that large pages fit.
            let (va, pa) = if page % 2 == 0 { (page << 20, target << 21) } else { (page << 12, target << 12) };
            let va = va & !0xFFF;
            let flags = RW | if nx { NX } else { 0 };
            let wanted = |page: u64| (va + page * 0x1000, (pa + page * 0x1000, nx));
            let clash = (0..pages).map(wanted).any(|(va, new)| model.get(&va).is_some_and(|old| *old != new));
            let result = map(&mut memory, ROOT, va, pa, pages << 12, flags, SIZES[max]);
            prop_assert_eq!(result.is_err(), clash);
            if let Err(error) = result {
                prop_assert_eq!(error, MapError::Overlap);
                break;
            }
            model.extend((0..pages).map(wanted));
            for (va, (pa, nx)) in &model {
                let found = walk(&memory, va | 0x777).unwrap();
                prop_assert_eq!((found.gpa, found.executable), (pa | 0x777, !nx));
                let (_, entry, size) = leaf(&memory, ROOT, *va).unwrap();
                prop_assert_eq!(found.page_size, size.bytes());
                let inside = va & (size.bytes() - 1);
                prop_assert_eq!((entry & ADDR & !(size.bytes() - 1)) | inside, *pa);
            }
            prop_assert_eq!(walk(&memory, (1 << 46) | va), None);
        }
    }

    #[test]
    fn a_split_keeps_every_translation(
        va in 0u64..3 << 30,
        max in 0usize..3,
        flags in prop_oneof![Just(RW), Just(NX | PWT), Just(WRITE | PCD | GLOBAL)],
        high_pat: bool,
    ) {
        let mut memory = Memory::new();
        let base = 5 << 30;
        map(&mut memory, ROOT, 0, base, 3 << 30, flags, SIZES[max.max(1)]).unwrap();
        if high_pat {
            let (at, entry, _) = leaf(&memory, ROOT, va).unwrap();
            memory.write(at, entry | 1 << 12);
        }
        let before = memory.words.clone();
        let pte = split_to_4k(&mut memory, ROOT, va).unwrap();
        let old = Memory { words: before, ..Memory::new() };
        // All pages around, and one in each 2 MiB elsewhere.
        let near = (0..1024u64).map(|page| (va & !0x1F_FFFF).wrapping_sub(1 << 20).wrapping_add(page << 12));
        let far = (0..1536u64).map(|large| large << 21);
        for probe in near.chain(far).filter(|probe| *probe < 3 << 30) {
            let (was, is) = (walk(&old, probe).unwrap(), walk(&memory, probe).unwrap());
            prop_assert_eq!(is, Translation { page_size: is.page_size, ..was });
            prop_assert!(is.page_size <= was.page_size);
            let (_, was, was_size) = leaf(&old, ROOT, probe).unwrap();
            let (_, is, is_size) = leaf(&memory, ROOT, probe).unwrap();
            prop_assert_eq!(pat(was, was_size), pat(is, is_size));
            prop_assert_eq!(was & GLOBAL, is & GLOBAL);
        }
        let (at, _, size) = leaf(&memory, ROOT, va).unwrap();
        prop_assert_eq!((at, size), (pte, PageSize::Size4K));
    }

    #[test]
    fn tables_for_is_what_map_takes(pages in 0u64..3 << 18, max in 0usize..3) {
        // 4 KiB pages over 3 GiB take long: fewer will do.
        let len = if max == 0 { (pages >> 6) << 12 } else { pages << 12 };
        let mut memory = Memory::new();
        let before = memory.left;
        map(&mut memory, ROOT, 0, 0, len, RW, SIZES[max]).unwrap();
        prop_assert_eq!(before - memory.left, tables_for(len, SIZES[max]));
    }
}

#[test]
fn tables_for_round_lengths() {
    assert_eq!(tables_for(0, PageSize::Size1G), 0);
    assert_eq!(tables_for(1, PageSize::Size1G), 3);
    assert_eq!(tables_for(512 << 30, PageSize::Size1G), 1);
    assert_eq!(tables_for(1 << 40, PageSize::Size2M), 2 + 1024);
    assert_eq!(tables_for((4 << 30) + (2 << 20), PageSize::Size2M), 1 + 5);
    assert_eq!(tables_for(1 << 30, PageSize::Size4K), 1 + 1 + 512);
}
