//! Memory maps, against the definition taken word by word: between two edges the most restricted claim holds.

use crate::input::Input;
use firmware::e820::{Entry, Kind, MAX_ENTRIES, Map};

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (base, len) = (address(&mut input), address(&mut input));
    let mut claims = Vec::new();
    let mut map = Map::new();
    while !input.is_empty() {
        let kind =
            [1, 1, 1, 2, 3, 4, 5, 6, 7, 0, u32::from(input.u8())][usize::from(input.u8()) % 11];
        let attributes = u32::from(input.u8() % 4);
        let entry = Entry { base: address(&mut input), len: address(&mut input), kind, attributes };
        match map.push(entry) {
            Ok(()) => claims.push(entry),
            Err(_) => {
                assert_eq!(map.entries().len(), MAX_ENTRIES);
                break;
            }
        }
    }
    map.normalise();
    sanitised(&claims, &map);
    questions(&map);
    reserved(&map, base, len);
}

/// A number near an edge where something is likely to meet something else.
fn address(input: &mut Input<'_>) -> u64 {
    let shape = input.u8();
    let small = u64::from(input.u8());
    match shape % 8 {
        0 => input.u64(),
        1 => small,
        2 => small << 12,
        3 => small << 20,
        4 => (small << 28) + u64::from(input.u16()),
        5 => small.wrapping_neg(),
        6 => u64::from(input.u32()),
        _ => small << 56,
    }
}

/// Sorted, disjoint, nothing empty, neighbours of one use merged.
pub(crate) fn orderly(map: &Map) {
    let entries = map.entries();
    assert!(
        entries.iter().all(|e| e.len != 0 && e.base.checked_add(e.len).is_some()),
        "{entries:x?}"
    );
    for pair in entries.windows(2) {
        assert!(pair[0].end() <= pair[1].base, "{pair:x?}");
        let same = (pair[0].kind, pair[0].attributes) == (pair[1].kind, pair[1].attributes);
        assert!(!same || pair[0].end() < pair[1].base, "not merged: {pair:x?}");
    }
}

fn at(map: &Map, address: u64) -> Option<&Entry> {
    map.entries().iter().find(|e| e.base <= address && address < e.end())
}

fn rank(kind: u32) -> u32 {
    match kind {
        Kind::USABLE => 0,
        Kind::ACPI => 1,
        Kind::NVS => 2,
        Kind::RESERVED => 4,
        Kind::UNUSABLE => 5,
        _ => 3,
    }
}

fn sanitised(claims: &[Entry], map: &Map) {
    orderly(map);
    let mut edges: Vec<u64> = claims.iter().flat_map(|e| [e.base, e.end()]).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut lost = 0;
    for pair in edges.windows(2) {
        let here = claims.iter().filter(|e| e.base <= pair[0] && pair[1] <= e.end());
        let most = here.map(|e| rank(e.kind)).max();
        match (at(map, pair[0]).map(|e| rank(e.kind)), most) {
            (Some(got), Some(most)) => assert_eq!(got, most, "{pair:x?}"),
            (None, Some(_)) => lost += 1,
            (None, None) => {}
            (Some(_), None) => panic!("{pair:x?} was nowhere in the input"),
        }
    }
    // Memory is given up only when the map is full of pieces.
    assert!(lost == 0 || map.entries().len() == MAX_ENTRIES, "{lost} ranges lost");
    let mut again = map.clone();
    again.normalise();
    assert_eq!(again.entries(), map.entries());
}

fn usable(map: &Map, base: u64, end: u64) -> bool {
    map.entries().iter().any(|e| e.kind == Kind::USABLE && e.base <= base && end <= e.end())
}

pub(crate) fn questions(map: &Map) {
    for (limit, len, align) in
        [(1 << 32, 2 << 20, 2 << 20), (u64::MAX, 4096, 4096), (1 << 20, 1, 1)]
    {
        if let Some(found) = map.top_of_ram_below(limit, len, align) {
            assert!(found >= 1 << 20 && found % align == 0 && found + len <= limit);
            let ranges = map.entries().iter().filter(|e| e.kind == Kind::USABLE);
            let mut ranges = ranges.filter(|e| e.base <= found && found + len <= e.end());
            assert!(ranges.next().is_some(), "{found:#x} is not usable");
        }
    }
    let (low, high) = map.e801();
    let (low, high) = (u64::from(low) << 10, u64::from(high) << 16);
    assert!(low <= 15 << 20 && contiguous(map, 1 << 20, low) && contiguous(map, 16 << 20, high));
    assert!(contiguous(map, 1 << 20, u64::from(map.ext88()) << 10));
    let sum = map.entries().iter().filter(|e| e.kind == Kind::USABLE);
    assert_eq!(map.usable_bytes(), sum.fold(0, |sum: u64, e| sum.saturating_add(e.len)));
}

/// Whether all from `base` on is usable, by one entry or several.
fn contiguous(map: &Map, base: u64, len: u64) -> bool {
    let mut at = base;
    for e in map.entries().iter().filter(|e| e.kind == Kind::USABLE) {
        if e.base <= at && at < e.end() {
            at = e.end();
        }
    }
    at >= base + len
}

fn reserved(map: &Map, base: u64, len: u64) {
    let mut after = map.clone();
    if after.reserve(base, len).is_err() {
        assert_eq!(after.entries(), map.entries(), "refused, and changed");
        return;
    }
    orderly(&after);
    let end = base.saturating_add(len);
    let overlaps = |e: &&Entry| base < end && e.base < end && base < e.end();
    assert!(after.entries().iter().filter(overlaps).all(|e| e.kind == Kind::RESERVED));
    if base < end {
        let hole = at(&after, base).expect("the hole is in the map");
        assert!(hole.end() >= end);
    }
    // What is usable now was so before, and what was so outside the hole still is.
    for e in after.entries().iter().filter(|e| e.kind == Kind::USABLE) {
        assert!(usable(map, e.base, e.end()));
    }
    for e in map.entries().iter().filter(|e| e.kind == Kind::USABLE && !overlaps(e)) {
        assert!(usable(&after, e.base, e.end()));
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let range = |kind: u8, from: [u8; 2], len: [u8; 2]| [&[9, kind, 1][..], &from, &len].concat();
    let usual = [
        vec![3, 100, 3, 2],
        range(0, [1, 0], [2, 0x9f]),
        range(3, [2, 0xf0], [2, 0x10]),
        range(0, [3, 1], [3, 127]),
        range(4, [3, 127], [2, 4]),
        range(3, [5, 16], [5, 1]),
    ]
    .concat();
    let many: Vec<u8> =
        (0..100).flat_map(|n| range(n % 3, [2, n.wrapping_mul(2)], [2, 3])).collect();
    vec![usual, [vec![2, 9, 2, 9], many].concat()]
}
