//! Page walks, against a walker written from the manual's figures alone.
//!
//! Memory is made up as it is read: the first read of an address takes the next value of the input, and
//! later ones give it again. So every table the input can describe is reached without being laid out.

use std::{cell::RefCell, collections::HashMap};

use crate::input::Input;
use paging::walk::{Access, Mode, Paging, PhysRead, Translation, WalkError};

/// The deepest walk.
const LEVELS: usize = 5;

struct Memory<'a> {
    entries: RefCell<(Input<'a>, HashMap<u64, Option<u64>>)>,
    reads: RefCell<usize>,
}

impl Memory<'_> {
    fn read(&self, gpa: u64) -> Option<u64> {
        *self.reads.borrow_mut() += 1;
        let (input, known) = &mut *self.entries.borrow_mut();
        *known.entry(gpa).or_insert_with(|| {
            let shape = input.u8();
            let value = input.u64();
            match shape % 8 {
                0 => None,
                1 => Some(value),
                // Mostly present, without the bits that are reserved somewhere.
                2 => Some(value | 1),
                3 => Some(value & 0x000f_ffff_ffff_ff7f | 1),
                4 => Some(value & 0x000f_ffff_c000_0f7f | 0x81),
                5 => Some(value & 0x7fff_ffff_ffe0_0fff | 0x81),
                6 => Some(value & 0x0000_0000_ffff_f019 | 1),
                _ => Some(value & 0x8000_00ff_ffff_ffff | 7),
            }
        })
    }
}

impl PhysRead for Memory<'_> {
    fn read_u32(&self, gpa: u64) -> Option<u32> {
        assert!(gpa.is_multiple_of(4) && gpa < 1 << 32, "entry at {gpa:#x}");
        self.read(gpa).map(|value| value as u32)
    }
    fn read_u64(&self, gpa: u64) -> Option<u64> {
        assert!(gpa.is_multiple_of(8) && gpa < 1 << 52, "entry at {gpa:#x}");
        self.read(gpa)
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.u8();
    let bit = |n: u32| u64::from(mode >> n & 1);
    // CR0.PG, WP; CR4.PSE, PAE, LA57, SMEP, SMAP; EFER.LMA, NXE.
    let (cr4, long) = (bit(2) << 4 | bit(3) << 5 | bit(4) << 12, bit(5));
    let paging = Paging {
        cr0: bit(0) << 31 | bit(1) << 16,
        cr3: input.u64(),
        cr4: cr4 | bit(7) << 20 | u64::from(input.u8() & 1) << 21,
        efer: long << 10 | bit(6) << 11,
    };
    let memory =
        Memory { entries: RefCell::new((Input::new(&[]), HashMap::new())), reads: RefCell::new(0) };
    let linear = input.u64();
    // Half of them canonical.
    let linear = if input.u8() & 1 == 0 { linear } else { (linear << 16) as i64 as u64 >> 16 };
    memory.entries.borrow_mut().0 = input;

    let plain = reference(&paging, &memory, linear, false);
    *memory.reads.borrow_mut() = 0;
    assert_eq!(paging.lookup(&memory, linear), plain, "{paging:x?} {linear:#x}");
    assert!(*memory.reads.borrow() <= LEVELS);
    let strict = reference(&paging, &memory, linear, true);
    for bits in 0..16_u8 {
        let flag = |n: u8| bits >> n & 1 != 0;
        let access = Access { write: flag(0), user: flag(1), fetch: flag(2), ac: flag(3) };
        if access.write && access.fetch {
            continue;
        }
        let expected = strict.and_then(|found| {
            let may = paging.mode() == Mode::Off || may(&paging, &found, access);
            if may { Ok(found) } else { Err(WalkError::Protection) }
        });
        *memory.reads.borrow_mut() = 0;
        let got = paging.translate(&memory, linear, access);
        assert_eq!(got, expected, "{paging:x?} {linear:#x} {access:?}");
        assert!(*memory.reads.borrow() <= LEVELS);
    }
}

/// One table of the walk: where its index is in the address, and what its entries may be.
struct Level {
    number: u8,
    shift: u32,
    bits: u32,
    /// Whether PS makes a leaf.
    large: bool,
}

const fn level(number: u8, shift: u32, bits: u32, large: bool) -> Level {
    Level { number, shift, bits, large }
}

/// The walk by the manual: APM 2, 5.2.2 (32 bits), 5.2.3 (PAE), 5.3.3 (long mode), 5.4 (the entries' bits).
fn reference(
    paging: &Paging,
    memory: &Memory<'_>,
    linear: u64,
    strict: bool,
) -> Result<Translation, WalkError> {
    let (long, nxe) = (paging.efer >> 10 & 1 != 0, paging.efer >> 11 & 1 != 0);
    let (pae, la57) = (paging.cr4 >> 5 & 1 != 0, paging.cr4 >> 12 & 1 != 0);
    let pse = paging.cr4 >> 4 & 1 != 0;
    if !long && paging.cr0 >> 31 == 0 {
        let gpa = linear % (1 << 32);
        return Ok(Translation {
            gpa,
            page_size: 4096,
            writable: true,
            user: true,
            executable: true,
        });
    }
    let wide = long || pae;
    let mut linear = linear;
    let levels: Vec<Level> = if long {
        let top = if la57 { 56 } else { 47 };
        let sign = linear as i64 >> top;
        if sign != 0 && sign != -1 {
            return Err(WalkError::NonCanonical);
        }
        let all = [
            level(5, 48, 9, false),
            level(4, 39, 9, false),
            level(3, 30, 9, true),
            level(2, 21, 9, true),
            level(1, 12, 9, false),
        ];
        all.into_iter().skip(usize::from(!la57)).collect()
    } else {
        linear %= 1 << 32;
        if pae {
            vec![level(3, 30, 2, false), level(2, 21, 9, true), level(1, 12, 9, false)]
        } else {
            vec![level(2, 22, 10, pse), level(1, 12, 10, false)]
        }
    };
    let mut table = match (long, pae) {
        (true, _) => paging.cr3 & 0x000f_ffff_ffff_f000,
        (false, true) => paging.cr3 & 0xffff_ffe0,
        (false, false) => paging.cr3 & 0xffff_f000,
    };
    let (mut writable, mut user, mut executable) = (true, true, true);
    for Level { number, shift, bits, large } in levels {
        let index = linear >> shift & ((1 << bits) - 1);
        let gpa = table + index * if wide { 8 } else { 4 };
        let entry = if wide { memory.read(gpa) } else { memory.read(gpa).map(|e| e & 0xffff_ffff) };
        let entry = entry.ok_or(WalkError::NotRam { gpa })?;
        if entry & 1 == 0 {
            return Err(WalkError::NotPresent { level: number });
        }
        let leaf = number == 1 || (large && entry >> 7 & 1 != 0);
        let pdpte = !long && pae && number == 3;
        if strict && entry & must_be_zero(long, wide, number, leaf, nxe, shift) != 0 {
            return Err(WalkError::Reserved { level: number });
        }
        if !pdpte {
            writable &= entry >> 1 & 1 != 0;
            user &= entry >> 2 & 1 != 0;
            executable &= !wide || entry >> 63 == 0;
        }
        let address = if wide { entry & 0x000f_ffff_ffff_f000 } else { entry & 0xffff_f000 };
        if leaf {
            let page_size = 1 << shift;
            // PSE-36 (5.2.2, fig. 5-11): bits 20:13 of the entry are bits 39:32 of the address.
            let high = if !wide && number == 2 { (entry >> 13 & 0xff) << 32 } else { 0 };
            let gpa = address / page_size * page_size + linear % page_size + high;
            executable |= !nxe;
            return Ok(Translation { gpa, page_size, writable, user, executable });
        }
        table = address;
    }
    unreachable!("level 1 is a leaf")
}

fn must_be_zero(long: bool, wide: bool, number: u8, leaf: bool, nxe: bool, shift: u32) -> u64 {
    if !wide {
        // Bit 21 of a 4 MiB page.
        return if leaf && number == 2 { 1 << 21 } else { 0 };
    }
    let mut bits = 0;
    if !long {
        bits |= 0x7ff0_0000_0000_0000;
        if number == 3 {
            return bits | 1 << 63 | 0b1_1110_0110;
        }
    }
    if !nxe {
        bits |= 1 << 63;
    }
    if leaf && number > 1 {
        bits |= ((1 << shift) - 1) & !0x1fff;
    }
    if number >= 4 {
        bits |= 1 << 7;
    }
    bits
}

/// APM 2, 5.6 and 5.6.6: the rights of a page.
fn may(paging: &Paging, page: &Translation, access: Access) -> bool {
    let (wp, smep, smap) =
        (paging.cr0 >> 16 & 1 != 0, paging.cr4 >> 20 & 1 != 0, paging.cr4 >> 21 & 1 != 0);
    if access.fetch {
        let by_rings = if access.user { page.user } else { !(page.user && smep) };
        return page.executable && by_rings;
    }
    if access.user {
        return page.user && (!access.write || page.writable);
    }
    let hidden = page.user && smap && !access.ac;
    !hidden && (!access.write || page.writable || !wp)
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let entries: Vec<u8> =
        [3_u8, 3, 4, 3, 7].iter().flat_map(|kind| [&[*kind][..], &[0x67; 8]].concat()).collect();
    let modes = [0x00_u8, 0x01, 0x05, 0x09, 0x49, 0x29, 0x69, 0x79, 0xff];
    let head =
        |mode: u8| [&[mode][..], &[0x00, 0x10, 0, 0, 0, 0, 0, 0], &[0], &[0x21; 8], &[1]].concat();
    modes.iter().map(|mode| [head(*mode), entries.clone()].concat()).collect()
}
