//! Tables in EPT's format: built, split, and following the MTRRs.

use crate::layouts;
use crate::memory::Memory;
use crate::mtrr::raw;
use paging::ept;
use paging::mtrr::{MTRR_DEF_TYPE, MemoryType, Mtrrs};
use paging::table::{
    ADDR, Format, LARGE, MapError, NX, PRESENT, PageSize, Root, TableMemory, USER, WRITE, follow,
    leaf, map, map_typed, pde_address, retype, split_to_4k,
};
use proptest::prelude::*;

const ROOT: Root = Root::ept(0x8000);
const MIB2: u64 = 2 << 20;
const WB: u64 = 6 << 3;

#[test]
fn rights_in_both_formats() {
    use MemoryType::{Uncacheable, WriteBack};
    assert_eq!(Format::Long.nested(true, true, Uncacheable), PRESENT | USER | WRITE);
    assert_eq!(Format::Long.nested(false, false, WriteBack), PRESENT | USER | NX);
    assert_eq!(Format::Ept.nested(true, true, WriteBack), 0b11_0111);
    assert_eq!(Format::Ept.nested(false, true, Uncacheable), 0b101);
    assert_eq!(Format::Ept.nested(false, false, WriteBack), 0b11_0001);
    assert_eq!(Format::Ept.without_execute(0xFFF), 0xFFB);
    assert_eq!(Format::Long.without_execute(7), 7 | NX);
    assert!(Format::Ept.present(ept::EXECUTE) && !Format::Long.present(ept::EXECUTE));
    assert_eq!(ept::type_of(2 << 3), None);
}

#[test]
fn execute_only_is_present() {
    let mut memory = Memory::new();
    map(&mut memory, ROOT, 0, 0, 0x1000, ept::EXECUTE | WB, PageSize::Size4K).unwrap();
    assert_eq!(leaf(&memory, ROOT, 0).unwrap().1, ept::EXECUTE | WB);
    // Accessed and dirty do not count, another type does.
    let (at, entry, _) = leaf(&memory, ROOT, 0).unwrap();
    memory.write(at, entry | ept::ACCESSED | ept::DIRTY);
    map(&mut memory, ROOT, 0, 0, 0x1000, ept::EXECUTE | WB, PageSize::Size4K).unwrap();
    let other = map(&mut memory, ROOT, 0, 0, 0x1000, ept::EXECUTE, PageSize::Size4K);
    assert_eq!(other, Err(MapError::Overlap));
}

#[test]
fn a_split_keeps_types_and_rights() {
    let mut memory = Memory::new();
    let flags = ept::READ | ept::WRITE | 5 << 3;
    map(&mut memory, ROOT, 0, 1 << 30, 1 << 30, flags, PageSize::Size1G).unwrap();
    let pte = split_to_4k(&mut memory, ROOT, 0x40_5678).unwrap();
    assert_eq!(memory.read(pte), ((1 << 30) + 0x40_5000) | flags);
    let (_, entry, size) = leaf(&memory, ROOT, MIB2).unwrap();
    assert_eq!((entry, size), (((1 << 30) + MIB2) | flags | LARGE, PageSize::Size2M));
    assert!(pde_address(&memory, ROOT, 0x40_5678).is_some());
}

#[test]
fn types_split_and_join_again() {
    let mut memory = Memory::new();
    map(&mut memory, ROOT, 0, 0, 4 << 30, ept::ALL | WB, PageSize::Size1G).unwrap();
    let (given, words) = (memory.left, memory.words.clone());
    let (from, to) = (0x7_F000_0000 % (4 << 30), 0x7_F080_1000 % (4 << 30));
    let max = PageSize::Size1G;
    retype(&mut memory, ROOT, from..to, MemoryType::WriteCombining, max).unwrap();
    let kind = |memory: &Memory, gpa| {
        let (_, entry, size) = leaf(memory, ROOT, gpa).unwrap();
        assert_eq!(entry & ADDR & !(size.bytes() - 1), gpa & !(size.bytes() - 1));
        (ept::type_of(entry).unwrap() as u8, size)
    };
    assert_eq!(kind(&memory, from - 1), (6, PageSize::Size2M));
    assert_eq!(kind(&memory, from), (1, PageSize::Size2M));
    assert_eq!(kind(&memory, to - 1), (1, PageSize::Size4K));
    assert_eq!(kind(&memory, to), (6, PageSize::Size4K));
    assert_eq!(given - memory.left, 2);
    // The CPU has used one of the small pages meanwhile.
    let (at, entry, _) = leaf(&memory, ROOT, to).unwrap();
    memory.write(at, entry | ept::ACCESSED | ept::DIRTY);
    retype(&mut memory, ROOT, from..to, MemoryType::WriteBack, max).unwrap();
    assert_eq!(memory.freed.len(), 2);
    assert_eq!(kind(&memory, to), (6, PageSize::Size1G));
    for (at, entry) in words {
        assert_eq!(memory.read(at) & !(ept::ACCESSED | ept::DIRTY), entry);
    }
    let (_, entry, _) = leaf(&memory, ROOT, to).unwrap();
    assert_eq!(entry & (ept::ACCESSED | ept::DIRTY), ept::ACCESSED | ept::DIRTY);
}

#[test]
fn no_join_where_others_point_or_pages_differ() {
    let mut memory = Memory::new();
    map(&mut memory, ROOT, 0, 0, MIB2, ept::ALL | WB, PageSize::Size4K).unwrap();
    map(&mut memory, ROOT, MIB2, MIB2, MIB2, ept::ALL, PageSize::Size4K).unwrap();
    map(&mut memory, ROOT, 2 * MIB2, 0, MIB2, ept::ALL, PageSize::Size4K).unwrap();
    for page in (3 * MIB2..4 * MIB2).step_by(4096) {
        map(&mut memory, ROOT, page, 0x7000, 4096, ept::READ, PageSize::Size4K).unwrap();
    }
    map(&mut memory, ROOT, 4 * MIB2, 5 * MIB2 - 4096, MIB2, ept::ALL, PageSize::Size4K).unwrap();
    let watched = split_to_4k(&mut memory, ROOT, MIB2).unwrap();
    let entry = memory.read(watched) & !ept::WRITE;
    memory.write(watched, entry);
    for kind in [MemoryType::WriteThrough, MemoryType::WriteBack] {
        retype(&mut memory, ROOT, 0..5 * MIB2, kind, PageSize::Size1G).unwrap();
    }
    let size = |gpa| leaf(&memory, ROOT, gpa).unwrap().2;
    assert_eq!(size(0), PageSize::Size4K, "A20's");
    assert_eq!(size(MIB2), PageSize::Size4K, "one page is read-only");
    assert_eq!(size(2 * MIB2), PageSize::Size2M, "not at its own address, but in one piece");
    assert_eq!(size(3 * MIB2), PageSize::Size4K, "one page again and again");
    assert_eq!(size(4 * MIB2), PageSize::Size4K, "not aligned");
    assert_eq!(memory.freed.len(), 1);
}

#[test]
fn out_of_tables_leaves_the_rest() {
    let mut memory = Memory::new();
    map(&mut memory, ROOT, 0, 0, 1 << 30, ept::ALL | WB, PageSize::Size1G).unwrap();
    memory.left = 1;
    let uc = MemoryType::Uncacheable;
    let result = retype(&mut memory, ROOT, 4096..8192, uc, PageSize::Size1G);
    assert_eq!(result, Err(MapError::OutOfTables));
    let (_, entry, size) = leaf(&memory, ROOT, 4096).unwrap();
    assert_eq!((entry & !ADDR, size), (ept::ALL | WB | LARGE, PageSize::Size2M));
    assert_eq!(retype(&mut memory, ROOT, 1..4096, uc, PageSize::Size1G), Err(MapError::Misaligned));
}

#[test]
fn types_make_no_difference_in_long_mode() {
    let types = layouts::all()[0].mtrrs();
    let mut memory = Memory::new();
    let flags = Format::Long.nested(true, true, MemoryType::Uncacheable);
    map_typed(&mut memory, 0x8000, &types, 0..4 << 30, flags, PageSize::Size1G).unwrap();
    let words = memory.words.clone();
    assert_eq!(words.len(), 5);
    let now = Mtrrs::none();
    follow(&mut memory, 0x8000, (&types, &now), 4 << 30, PageSize::Size1G).unwrap();
    assert_eq!(memory.words, words);
}

#[test]
fn scattered_masks_are_refused() {
    let mut types = layouts::all()[1].mtrrs();
    types.write(0x206, 6).unwrap();
    types.write(0x207, 0x1800).unwrap();
    let end = 16 << 30;
    let built = map_typed(&mut Memory::new(), ROOT, &types, 0..end, ept::ALL, PageSize::Size1G);
    assert_eq!(built, Err(MapError::Scattered));
    let mut memory = Memory::new();
    let before = layouts::all()[1].mtrrs();
    map_typed(&mut memory, ROOT, &before, 0..end, ept::ALL, PageSize::Size1G).unwrap();
    let result = follow(&mut memory, ROOT, (&before, &types), end, PageSize::Size1G);
    assert_eq!(result, Err(MapError::Scattered));
}

#[test]
fn an_os_that_switches_mtrrs_off_and_on_again() {
    for layout in layouts::all() {
        let before = layout.mtrrs();
        let (end, max) = (layout.end.min(64 << 30), PageSize::Size1G);
        let mut memory = Memory::new();
        map_typed(&mut memory, ROOT, &before, 0..end, ept::ALL, max).unwrap();
        let leaves = |memory: &Memory| -> Vec<_> {
            let starts = [0, 0xA_0000, 2 << 20, 1 << 30, 3 << 30, end - 1];
            starts.into_iter().map(|gpa| leaf(memory, ROOT, gpa).map(|(_, e, s)| (e, s))).collect()
        };
        let was = leaves(&memory);
        let mut off = before.clone();
        off.write(MTRR_DEF_TYPE, 0).unwrap();
        follow(&mut memory, ROOT, (&before, &off), end, max).unwrap();
        let (_, entry, size) = leaf(&memory, ROOT, 2 << 20).unwrap();
        assert_eq!(ept::type_of(entry), Some(MemoryType::Uncacheable), "{}", layout.name);
        assert!(size >= PageSize::Size2M, "{}", layout.name);
        follow(&mut memory, ROOT, (&off, &before), end, max).unwrap();
        assert_eq!(leaves(&memory), was, "{}", layout.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However the MTRRs change, the tables say what ones built anew say.
    #[test]
    fn tables_follow(changes in prop::collection::vec(raw(), 2..6), max in 1_usize..3) {
        let max = [PageSize::Size4K, PageSize::Size2M, PageSize::Size1G][max];
        let end = 64 << 20;
        let mut memory = Memory::new();
        let mut before = changes[0].mtrrs();
        map_typed(&mut memory, ROOT, &before, 0..end, ept::ALL, max).unwrap();
        for raw in changes {
            let now = raw.mtrrs();
            follow(&mut memory, ROOT, (&before, &now), end, max).unwrap();
            let mut fresh = Memory::new();
            map_typed(&mut fresh, ROOT, &now, 0..end, ept::ALL, max).unwrap();
            for page in (0..end).step_by(4096) {
                let (_, entry, size) = leaf(&memory, ROOT, page).unwrap();
                prop_assert_eq!(ept::type_of(entry), Some(raw.kind(page)));
                prop_assert_eq!(entry & ADDR | page & (size.bytes() - 1), page);
                // And from 2 MiB on with pages as large.
                let (_, _, wanted) = leaf(&fresh, ROOT, page).unwrap();
                prop_assert!(size == wanted || page < MIB2);
            }
            before = now;
        }
        // Every table in use or given back, once.
        let mut freed = memory.freed.clone();
        freed.sort_unstable();
        freed.dedup();
        prop_assert_eq!(freed.len(), memory.freed.len());
    }
}
