//! Both sets of tables for machines of many shapes: every page where it belongs, no page too few.

use super::*;
use paging::table::USER;
use paging::table::{ADDR, leaf};
use std::vec::Vec;

const GIB: u64 = 1 << 30;

struct Built {
    memory: Vec<u8>,
    at: u64,
    hole: Span,
    layout: Layout,
    needs: Needs,
    nested: u64,
    host: u64,
}

fn segments() -> [Segment; 3] {
    let file = [
        Segment { start: 0, len: 0x1234, ..Segment::default() },
        Segment { start: 0x2100, len: 0x2000, execute: true, ..Segment::default() },
        Segment { start: 0x6000, len: 1, write: true, ..Segment::default() },
    ];
    assert_eq!(file[2].end_page(), 0x7000);
    file
}

fn build(cpus: u32, ram_end: u64, max_page: PageSize) -> Built {
    let mapped_end = ram_end.max(FOUR_GIB);
    let needs = Needs { image_len: 0x7000, cpus, mapped_end, max_page, typed: None };
    let layout = Layout::new(&needs).unwrap();
    let hole = Span { base: GIB - 16 * LARGE_PAGE, len: layout.len() };
    let mut memory = std::vec![0; layout.tables.len as usize];
    let at = hole.base + layout.tables.base;
    let mut pages = Pages::new(at, &mut memory);
    let nested = nested(&mut pages, &needs, hole, hole.base + layout.ff_page.base, None).unwrap();
    let host = host(&mut pages, nested, hole.base, &layout, &segments()).unwrap();
    Built { memory, at, hole, layout, needs, nested, host }
}

impl Built {
    /// The host-physical address and flags `va` is mapped to, and the page's size.
    fn at(&mut self, root: u64, va: u64) -> Option<(u64, u64, PageSize)> {
        let pages = Pages::new(self.at, &mut self.memory);
        let (_, entry, size) = leaf(&pages, root, va)?;
        let offset = size.bytes() - 1;
        let flags = entry & (PRESENT | WRITE | USER | NX);
        Some(((entry & ADDR & !offset) + (va & offset), flags, size))
    }
}

const SHAPES: [(u32, u64, PageSize); 6] = [
    (1, 0, PageSize::Size1G),
    (1, 6 * GIB, PageSize::Size1G),
    (1, 6 * GIB + 5 * LARGE_PAGE, PageSize::Size1G),
    (1, 64 * GIB, PageSize::Size2M),
    (64, 6 * GIB, PageSize::Size2M),
    (16, 1040 * GIB, PageSize::Size1G),
];

#[test]
fn the_guest_sees_all_memory_but_the_hole() {
    for (cpus, ram, max) in SHAPES {
        let mut built = build(cpus, ram, max);
        let (nested, hole, end) = (built.nested, built.hole, built.needs.mapped_end);
        let above = hole.end().next_multiple_of(LARGE_PAGE);
        let own = [0, 0x9_e000, LARGE_PAGE - 4096, LARGE_PAGE, hole.base - 4096, hole.end(), above];
        for at in own.into_iter().chain([FOUR_GIB - 4096, end - 4096]) {
            let (to, flags, _) = built.at(nested, at).unwrap();
            let expected = (at, PRESENT | WRITE | USER);
            assert_eq!((to, flags), expected, "{cpus} CPUs, {ram:#x}");
        }
        let ff = (hole.base + built.layout.ff_page.base, PRESENT | USER, PageSize::Size4K);
        for at in (hole.base..hole.end()).step_by(4096) {
            assert_eq!(built.at(nested, at), Some(ff));
        }
        assert_eq!(built.at(nested, end), None);
    }
}

#[test]
fn page_sizes_follow_memory_types() {
    let mut built = build(1, 6 * GIB, PageSize::Size1G);
    let (root, end) = (built.nested, built.hole.end());
    let mut size = |at| built.at(root, at).unwrap().2;
    assert_eq!(size(LARGE_PAGE - 4096), PageSize::Size4K);
    assert_eq!(size(LARGE_PAGE), PageSize::Size2M);
    assert_eq!(size(end), PageSize::Size4K);
    assert_eq!(size(2 * GIB), PageSize::Size2M);
    assert_eq!(size(5 * GIB), PageSize::Size1G);
}

#[test]
fn the_vmm_sees_its_image_protected_and_the_guest_below() {
    for (cpus, ram, max) in SHAPES {
        let mut built = build(cpus, ram, max);
        let (nested, host, layout) = (built.nested, built.host, built.layout);
        for at in [0x1000, built.hole.base, 3 * GIB, built.needs.mapped_end - 4096] {
            let seen = built.at(host, at);
            assert!(seen.is_some());
            assert_eq!(seen, built.at(nested, at));
        }
        let mut rights = |offset: u64| built.at(host, VMM_BASE + offset).map(|(_, flags, _)| flags);
        let data = Some(PRESENT | WRITE | NX);
        assert_eq!(rights(0x1000), Some(PRESENT | NX));
        assert_eq!([rights(0x2000), rights(0x4000)], [Some(PRESENT), Some(PRESENT)]);
        assert_eq!(rights(0x5000), None);
        assert_eq!(rights(0x6000), data);
        assert_eq!([rights(layout.handover.base), rights(layout.tables.base)], [data, data]);
        assert_eq!(rights(layout.ff_page.base), Some(PRESENT | NX));
        assert_eq!([rights(layout.stack.base), rights(layout.len() - 4096)], [data, data]);
        assert_eq!(rights(layout.len()), None);
    }
}

#[test]
fn a_hole_of_several_page_tables_is_mapped_in_order() {
    let mut built = build(64, 0, PageSize::Size2M);
    assert!(built.layout.len() > 2 * LARGE_PAGE);
    for offset in (0x6000..built.layout.len()).step_by(4096) {
        let (to, _, _) = built.at(built.host, VMM_BASE + offset).unwrap();
        assert_eq!(to, built.hole.base + offset);
    }
}

#[test]
fn tables_are_sized_to_the_page() {
    for (cpus, ram, max) in SHAPES {
        let built = build(cpus, ram, max);
        let last = &built.memory[built.memory.len() - 4096..];
        assert!(last.iter().any(|byte| *byte != 0), "{cpus} CPUs, {ram:#x}: a page is unused");
    }
}
