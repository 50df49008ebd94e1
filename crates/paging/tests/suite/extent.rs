//! How far what was found of an address holds.

use crate::memory::Memory;
use paging::walk::{Paging, WalkError};
use proptest::prelude::*;

const PG: u64 = 1 << 31;
const PAE: u64 = 1 << 5;
const OFF: Paging = Paging { cr0: 0, cr3: 0x1000, cr4: 0, efer: 0 };
const BITS32: Paging = Paging { cr0: PG, cr4: 1 << 4, ..OFF };
const BITS_PAE: Paging = Paging { cr0: PG, cr4: PAE, ..OFF };
const LONG: Paging = Paging { cr0: PG, cr4: PAE, efer: 1 << 10, ..OFF };

#[test]
fn pages_and_what_is_missing() {
    let memory = Memory::with(&[
        (0x1000, 0x2003),
        (0x2000, 0x3003),
        (0x2008, 0x4000_0083),
        (0x3000, 0x4003),
        (0x3008, 0x83),
        (0x4008, 0x5003),
    ]);
    for (linear, first, last) in [
        (0x1234, 0x1000, 0x1fff),
        (0x234, 0, 0xfff),
        (0x20_1234, 0x20_0000, 0x3f_ffff),
        (0x40_0000, 0x40_0000, 0x5f_ffff),
        (0x4000_0000, 0x4000_0000, 0x7fff_ffff),
        (0x80_0000_0000, 0x80_0000_0000, 0xff_ffff_ffff),
        (0x1234_0000_0000_0000, 1 << 47, u64::MAX - (1 << 47)),
    ] {
        assert_eq!(LONG.extent(linear, &LONG.find(&memory, linear)), (first, last), "{linear:#x}");
    }
    for paging in [OFF, BITS32, BITS_PAE] {
        let above = paging.extent(5 << 32, &Err(WalkError::NonCanonical));
        assert_eq!(above, (1 << 32, u64::MAX));
    }
    assert_eq!(OFF.extent(5, &OFF.find(&memory, 5)), (0, 0xffff_ffff));
    let missing = Err(WalkError::NotPresent { level: 2 });
    assert_eq!(BITS32.extent(0x40_0001, &missing), (0x40_0000, 0x7f_ffff));
    assert_eq!(BITS_PAE.extent(0x40_0001, &missing), (0x40_0000, 0x5f_ffff));
}

proptest! {
    #[test]
    fn the_address_itself_is_in_it(linear: u64, entries: [u64; 4], five: bool) {
        let places = [0x1000, 0x2000, 0x3000, 0x4000];
        let memory = Memory::with(&places.into_iter().zip(entries).collect::<Vec<_>>());
        let cr4 = PAE | if five { 1 << 12 } else { 0 };
        for paging in [OFF, BITS32, BITS_PAE, Paging { cr4, ..LONG }] {
            let (first, last) = paging.extent(linear, &paging.find(&memory, linear));
            prop_assert!((first..=last).contains(&linear));
        }
    }
}
