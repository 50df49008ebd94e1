//! Where the hole lies, and what is left for the guest.

use firmware::e820::{Kind, Map};
use handover::{MAX_MAP, MAX_RAM_SPANS, Range, Span};

use crate::error::Error;
use crate::layout::{FOUR_GIB, LARGE_PAGE};

/// End of the first MiB, all of which counts as the guest's memory: vectors, video memory, ROMs.
const FIRST_MIB: u64 = 1 << 20;

/// Finds the highest 2 MiB-aligned place for `len` bytes in usable RAM below 4 GiB, off what is
/// `occupied` while setup runs, and reserves it in `map`.
///
/// # Errors
/// [`Error::NoRoom`], [`Error::MapFull`].
pub(crate) fn hole(map: &mut Map, occupied: &[Span], len: u64) -> Result<Span, Error> {
    let mut free = map.clone();
    for span in occupied.iter().filter(|span| span.len != 0) {
        free.reserve(span.base, span.len)?;
    }
    let base = free.top_of_ram_below(FOUR_GIB, len, LARGE_PAGE).ok_or(Error::NoRoom(len))?;
    map.reserve(base, len)?;
    Ok(Span { base, len })
}

/// The guest's memory: the first MiB and all RAM of the final `map`; the number of spans used.
///
/// # Errors
/// [`Error::MapFull`].
pub(crate) fn guest_ram(map: &Map) -> Result<([Span; MAX_RAM_SPANS], u32), Error> {
    let mut spans = [Span::default(); MAX_RAM_SPANS];
    spans[0] = Span { base: 0, len: FIRST_MIB };
    let mut last = 0;
    for entry in map.entries() {
        let base = entry.base.max(FIRST_MIB);
        if !matches!(entry.kind, Kind::USABLE | Kind::ACPI | Kind::NVS) || entry.end() <= base {
            continue;
        }
        if spans[last].end() == base {
            spans[last].len = entry.end() - spans[last].base;
        } else {
            last += 1;
            *spans.get_mut(last).ok_or(Error::MapFull)? = Span { base, len: entry.end() - base };
        }
    }
    Ok((spans, last as u32 + 1))
}

/// The final `map`, for the analyst; the number of ranges used.
pub(crate) fn ranges(map: &Map) -> ([Range; MAX_MAP], u32) {
    let mut ranges = [Range::default(); MAX_MAP];
    let mut len = 0;
    for (to, entry) in ranges.iter_mut().zip(map.entries()) {
        *to = Range { span: Span { base: entry.base, len: entry.len }, kind: entry.kind };
        len += 1;
    }
    (ranges, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firmware::e820::Entry;

    const MIB: u64 = 1 << 20;

    fn map(top: u64) -> Map {
        let mut map = Map::new();
        for (base, end, kind) in [
            (0, 0x9fc00, Kind::USABLE),
            (0x9fc00, 0xa0000, Kind::RESERVED),
            (0xf0000, MIB, Kind::RESERVED),
            (MIB, top, Kind::USABLE),
            (top, top + 0x2_0000, Kind::ACPI),
            (FOUR_GIB, FOUR_GIB + 64 * MIB, Kind::USABLE),
        ] {
            map.push(Entry::new(base, end - base, kind)).unwrap();
        }
        map.normalise();
        map
    }

    #[test]
    fn the_hole_is_high_and_leaves_what_is_above_it_to_the_guest() {
        let top = 512 * MIB - 0x2_0000;
        let mut map = map(top);
        let before = map.usable_bytes();
        let hole = hole(&mut map, &[], MIB + 0x5000).unwrap();
        assert_eq!(hole, Span { base: 510 * MIB, len: MIB + 0x5000 });
        assert_eq!(map.usable_bytes(), before - hole.len);
        let (spans, len) = guest_ram(&map).unwrap();
        let expected = [
            Span { base: 0, len: 510 * MIB },
            Span { base: hole.end(), len: 512 * MIB - hole.end() },
            Span { base: FOUR_GIB, len: 64 * MIB },
        ];
        assert_eq!(&spans[..len as usize], &expected);
    }

    #[test]
    fn modules_are_avoided() {
        let mut map = map(16 * MIB);
        let module = Span { base: 14 * MIB, len: MIB };
        let found = hole(&mut map, &[Span::default(), module], 3 * MIB).unwrap();
        assert_eq!(found.base, 10 * MIB);
        assert!(!found.overlaps(module.base, module.len));
    }

    #[test]
    fn too_little_memory_is_an_error() {
        let len = 16 * MIB;
        assert_eq!(hole(&mut map(16 * MIB), &[], len), Err(Error::NoRoom(len)));
    }

    #[test]
    fn too_many_ranges_are_an_error() {
        let mut map = Map::new();
        for index in 1..=MAX_RAM_SPANS as u64 {
            map.push(Entry::new(index * 2 * MIB, MIB, Kind::USABLE)).unwrap();
        }
        assert_eq!(guest_ram(&map), Err(Error::MapFull));
    }
}
