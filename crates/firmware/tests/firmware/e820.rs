use firmware::e820::{Entry, Full, Kind, MAX_ENTRIES, Map};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn map(ranges: &[(u64, u64, u32)]) -> Map {
    let mut map = Map::new();
    for (from, to, kind) in ranges {
        map.push(Entry::new(*from, to - from, *kind)).unwrap();
    }
    map.normalise();
    map
}

/// The map SeaBIOS gives in QEMU 7.2's `pc` with an AMD CPU.
fn qemu(low_end: u64, high_end: u64) -> Map {
    map(&[
        (0, 0x9_fc00, Kind::USABLE),
        (0x9_fc00, 0xa_0000, Kind::RESERVED),
        (0xf_0000, 0x10_0000, Kind::RESERVED),
        (0x10_0000, low_end - 0x2_0000, Kind::USABLE),
        (low_end - 0x2_0000, low_end, Kind::RESERVED),
        (0xfeff_c000, 0xff00_0000, Kind::RESERVED),
        (0xfffc_0000, 4 * GIB, Kind::RESERVED),
        (4 * GIB, high_end, Kind::USABLE),
        (0xfd_0000_0000, 0x100_0000_0000, Kind::RESERVED),
    ])
}

#[test]
fn ram_beyond_all_addresses_is_none() {
    let ram = |from, to, kind| (from, to, kind);
    let mut map = map(&[
        ram(0, 0x9_f000, Kind::USABLE),
        ram(GIB, 5 * GIB, Kind::USABLE),
        ram(1 << 60, 1 << 61, Kind::ACPI),
        ram(1 << 62, u64::MAX, Kind::USABLE),
        ram(1 << 61, 1 << 62, Kind::RESERVED),
    ]);
    map.limit_ram(4 * GIB);
    assert_eq!(map.highest_ram_end(), 4 * GIB);
    assert_eq!(map.usable_bytes(), 0x9_f000 + 3 * GIB);
    assert_eq!(map.entries().len(), 3);
}

#[test]
fn qemu_512_mib() {
    let mut map = qemu(512 * MIB, 4 * GIB);
    assert_eq!(map.entries().len(), 8);
    assert_eq!(map.highest_ram_end(), 0x1ffe_0000);
    assert_eq!(map.usable_bytes(), 0x9_fc00 + 0x1ffe_0000 - 0x10_0000);
    assert_eq!(map.e801(), (0x3c00, 0x1efe));
    assert_eq!(map.ext88(), 0xfc00);

    let hole = map.top_of_ram_below(4 * GIB, 2 * MIB, 2 * MIB);
    assert_eq!(hole, Some(0x1fc0_0000));
    map.reserve(0x1fc0_0000, 2 * MIB).unwrap();
    assert_eq!(map.e801(), (0x3c00, ((0x1fc0_0000 - 16 * MIB) >> 16) as u16));
    assert_eq!(map.entries()[4], Entry::new(0x1fc0_0000, 2 * MIB, Kind::RESERVED));
    assert_eq!(map.entries()[5], Entry::new(0x1fe0_0000, 0x1e_0000, Kind::USABLE));
    assert_eq!(map.highest_ram_end(), 0x1fe0_0000 + 0x1e_0000);
}

#[test]
fn qemu_4_and_6_gib_have_a_hole_below_4_gib() {
    for high_end in [5 * GIB, 7 * GIB] {
        let map = qemu(3 * GIB, high_end);
        assert_eq!(map.highest_ram_end(), high_end);
        assert_eq!(map.e801(), (0x3c00, 0xbefe));
        assert_eq!(map.ext88(), 0xfc00);
        assert_eq!(map.top_of_ram_below(4 * GIB, 4 * MIB, 2 * MIB), Some(0xbfa0_0000));
        assert_eq!(map.top_of_ram_below(u64::MAX, GIB, GIB), Some(high_end - GIB));
    }
}

#[test]
fn small_machines_and_the_hole_at_15_mib() {
    let eight = map(&[(0, 0xa_0000, Kind::USABLE), (MIB, 8 * MIB, Kind::USABLE)]);
    assert_eq!((eight.e801(), eight.ext88()), ((7 << 10, 0), 7 << 10));
    let hole = map(&[(MIB, 15 * MIB, 1), (16 * MIB, 32 * MIB, 1)]);
    assert_eq!((hole.e801(), hole.ext88()), ((14 << 10, 256), 14 << 10));
    assert_eq!((Map::new().e801(), Map::new().ext88()), ((0, 0), 0));
    assert_eq!(Map::new().highest_ram_end(), 0);
}

#[test]
fn top_of_ram_stays_above_1_mib_and_refuses_nonsense() {
    let map = map(&[(0, MIB, Kind::USABLE), (2 * MIB, 3 * MIB, Kind::USABLE)]);
    assert_eq!(map.top_of_ram_below(u64::MAX, 0x1000, 0x1000), Some(3 * MIB - 0x1000));
    assert_eq!(map.top_of_ram_below(2 * MIB, 0x1000, 0x1000), None);
    assert_eq!(map.top_of_ram_below(u64::MAX, 2 * MIB, 0x1000), None);
    assert_eq!(map.top_of_ram_below(u64::MAX, 0, 0x1000), None);
    assert_eq!(map.top_of_ram_below(u64::MAX, 0x1000, 0), None);
    assert_eq!(map.top_of_ram_below(u64::MAX, 0x1000, 3), None);
}

#[test]
fn wrapping_entries_are_clipped_and_unknown_kinds_kept() {
    let mut map = Map::new();
    map.push(Entry { base: u64::MAX - 0xfff, len: u64::MAX, kind: 0x1234, attributes: 3 }).unwrap();
    map.push(Entry::new(7, 0, Kind::USABLE)).unwrap();
    map.normalise();
    let clipped = Entry { base: u64::MAX - 0xfff, len: 0xfff, kind: 0x1234, attributes: 3 };
    assert_eq!(map.entries(), [clipped]);
}

#[test]
fn an_entry_is_24_bytes_of_the_e820_call() {
    let entry = Entry { base: 0x1122_3344_5566_7788, len: 0x1000, kind: 3, attributes: 1 };
    let bytes = entry.to_bytes();
    assert_eq!(bytes[..8], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
    assert_eq!(bytes[8..], [0, 0x10, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn a_full_map_refuses_and_stays() {
    let mut map = Map::new();
    for index in 0..MAX_ENTRIES as u64 {
        map.push(Entry::new(index * 16 * MIB, MIB, Kind::USABLE)).unwrap();
    }
    assert_eq!(map.push(Entry::default()), Err(Full));
    let before = map.clone();
    assert_eq!(map.reserve(16 * MIB + 0x1000, 0x1000), Err(Full));
    assert_eq!(map.entries(), before.entries());
    map.reserve(16 * MIB, MIB).unwrap();
    assert_eq!(map.entries()[1], Entry::new(16 * MIB, MIB, Kind::RESERVED));
}

#[test]
fn too_many_pieces_cost_the_smallest_ram_only() {
    let mut map = Map::new();
    map.push(Entry::new(0, GIB, Kind::USABLE)).unwrap();
    for index in 1..MAX_ENTRIES as u64 {
        map.push(Entry::new(index * MIB, 0x1000 * index, Kind::RESERVED)).unwrap();
    }
    map.normalise();
    assert_eq!(map.entries().len(), MAX_ENTRIES);
    let reserved = map.entries().iter().filter(|e| e.kind == Kind::RESERVED).count();
    assert_eq!(reserved, MAX_ENTRIES - 1);
    let last = Entry::new(95 * MIB + 0x5_f000, GIB - 95 * MIB - 0x5_f000, Kind::USABLE);
    assert_eq!(map.entries()[MAX_ENTRIES - 1], last);
}

/// Which of two kinds an overlap has, spelled differently from the code under test.
fn stronger(a: u32, b: u32) -> u32 {
    let order = [Kind::USABLE, Kind::ACPI, Kind::NVS, 99, Kind::RESERVED, Kind::UNUSABLE];
    let place = |kind| order.iter().position(|k| *k == kind).unwrap();
    if place(a) >= place(b) { a } else { b }
}

fn kind_at(entries: &[Entry], at: u64) -> Option<u32> {
    let over = entries.iter().filter(|e| e.base <= at && at - e.base < e.len);
    over.map(|e| e.kind).reduce(stronger)
}

fn entries(most: usize, span: u64) -> impl Strategy<Value = Vec<Entry>> {
    let kind = prop::sample::select(vec![1, 1, 1, 2, 3, 4, 5, 99]);
    let entry = (0..span, 0..span / 4, kind).prop_map(|(b, l, k)| Entry::new(b, l, k));
    prop::collection::vec(entry, 0..=most)
}

fn filled(entries: &[Entry]) -> Map {
    let mut map = Map::new();
    entries.iter().for_each(|e| map.push(*e).unwrap());
    map
}

fn assert_normal(map: &Map) -> Result<(), TestCaseError> {
    for e in map.entries() {
        prop_assert!(e.len != 0);
    }
    for pair in map.entries().windows(2) {
        prop_assert!(pair[0].end() <= pair[1].base);
        prop_assert!(pair[0].end() < pair[1].base || pair[0].kind != pair[1].kind);
    }
    Ok(())
}

proptest! {
    #[test]
    fn normalise_changes_no_byte_s_use(list in entries(24, 200)) {
        let mut map = filled(&list);
        map.normalise();
        assert_normal(&map)?;
        for at in 0..300 {
            prop_assert_eq!(kind_at(map.entries(), at), kind_at(&list, at));
        }
        let before = map.clone();
        map.normalise();
        prop_assert_eq!(map.entries(), before.entries());
    }

    #[test]
    fn normalise_never_invents_ram(list in entries(MAX_ENTRIES, 2000)) {
        let mut map = filled(&list);
        map.normalise();
        assert_normal(&map)?;
        for at in 0..2600 {
            if kind_at(map.entries(), at) == Some(Kind::USABLE) {
                prop_assert_eq!(kind_at(&list, at), Some(Kind::USABLE));
            }
        }
    }

    #[test]
    fn reserve_takes_exactly_its_range(list in entries(24, 200), base in 0..250u64, len in 0..80u64) {
        let mut map = filled(&list);
        map.reserve(base, len).unwrap();
        assert_normal(&map)?;
        for at in 0..400 {
            let inside = base <= at && at < base + len;
            let expected = if inside { Some(Kind::RESERVED) } else { kind_at(&list, at) };
            prop_assert_eq!(kind_at(map.entries(), at), expected);
        }
    }

    #[test]
    fn top_of_ram_is_the_highest_place(
        list in entries(12, 64), limit in 0..80u64, len in 1..12u64, shift in 0..3u32
    ) {
        let page = |n: u64| MIB + (n << 12);
        let list: Vec<_> = list.iter().map(|e| Entry::new(page(e.base), e.len << 12, e.kind)).collect();
        let mut map = filled(&list);
        map.normalise();
        let fits = |base: u64| {
            base.is_multiple_of(1 << shift) && base + len <= limit
                && (base..base + len).all(|n| kind_at(&list, page(n)) == Some(Kind::USABLE))
        };
        let expected = (0..100).rev().find(|base| fits(*base)).map(page);
        prop_assert_eq!(map.top_of_ram_below(page(limit), len << 12, 1 << (12 + shift)), expected);
    }

    #[test]
    fn any_numbers_are_survived(
        list in prop::collection::vec(any::<(u64, u64, u32, u32)>(), 0..=MAX_ENTRIES),
        base: u64, len: u64, align: u64
    ) {
        let list: Vec<_> = list.into_iter()
            .map(|(base, len, kind, attributes)| Entry { base, len, kind: kind % 8, attributes })
            .collect();
        let mut map = filled(&list);
        let _ = map.reserve(base, len);
        map.normalise();
        let _ = (map.e801(), map.ext88(), map.usable_bytes(), map.highest_ram_end());
        let _ = map.top_of_ram_below(base, len, align);
        for pair in map.entries().windows(2) {
            prop_assert!(pair[0].end() <= pair[1].base);
        }
    }
}
