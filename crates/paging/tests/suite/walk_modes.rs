//! Walks of tables built by hand, one mode after the other.

use crate::memory::Memory;
use paging::walk::{Access, Mode, Paging, Translation, WalkError};

const PG: u64 = 1 << 31;
const PSE: u64 = 1 << 4;
const PAE: u64 = 1 << 5;
const LA57: u64 = 1 << 12;
const LMA: u64 = 1 << 10;
const NXE: u64 = 1 << 11;
const NX: u64 = 1 << 63;

const OFF: Paging = Paging { cr0: 0, cr3: 0, cr4: 0, efer: 0 };
const BITS32: Paging = Paging { cr0: PG, cr3: 0x1018, cr4: PSE, efer: 0 };
const PAE_NX: Paging = Paging { cr0: PG, cr3: 0x1020, cr4: PAE, efer: NXE };
const LONG: Paging = Paging { cr0: PG, cr3: 0x1FFF, cr4: PAE, efer: LMA | NXE };
const LONG5: Paging = Paging { cr0: PG, cr3: 0x1000, cr4: PAE | LA57, efer: LMA | NXE };

/// Both ways to walk, which must agree where rights and reserved bits are no matter.
fn walk(paging: Paging, memory: &Memory, linear: u64) -> Result<Translation, WalkError> {
    let found = paging.translate(memory, linear, Access::READ);
    assert_eq!(found, paging.lookup(memory, linear));
    found
}

fn page(gpa: u64, page_size: u64, rights: &str) -> Result<Translation, WalkError> {
    Ok(Translation {
        gpa,
        page_size,
        writable: rights.contains('w'),
        user: rights.contains('u'),
        executable: rights.contains('x'),
    })
}

#[test]
fn modes() {
    let modes = [OFF, BITS32, PAE_NX, LONG, LONG5].map(|paging| paging.mode());
    assert_eq!(modes, [Mode::Off, Mode::Bits32, Mode::Pae, Mode::Level4, Mode::Level5]);
    // PAE and LA57 are nothing without PG.
    assert_eq!(Paging { cr4: PAE | LA57 | PSE, ..OFF }.mode(), Mode::Off);
}

#[test]
fn paging_off_is_identity_of_32_bits() {
    let memory = Memory::new();
    assert_eq!(walk(OFF, &memory, 0x1_FFFF_FFF0), page(0xFFFF_FFF0, 4096, "wux"));
    assert!(OFF.translate(&memory, 5, Access::USER_WRITE).is_ok());
}

#[test]
fn bits32() {
    let memory = Memory::with32(&[
        (0x1000 + 4 * 0x301, 0x2007),
        (0x2000 + 4 * 0x123, 0x0ABC_D005),
        (0x1000 + 4 * 0x302, 0x00C0_0083),
        (0x1000 + 4 * 0x303, 0x2000),
        (0x1000 + 4 * 0x304, 0x00E0_0083),
    ]);
    assert_eq!(walk(BITS32, &memory, 0xC052_3456), page(0x0ABC_D456, 4096, "ux"));
    // The upper half of the register is no part of the address.
    assert_eq!(walk(BITS32, &memory, 0xFFFF_FFFF_C052_3456), page(0x0ABC_D456, 4096, "ux"));
    assert_eq!(walk(BITS32, &memory, 0xC0BC_DEF0), page(0x00FC_DEF0, 4 << 20, "wx"));
    assert_eq!(walk(BITS32, &memory, 0xC0C0_0000), Err(WalkError::NotPresent { level: 2 }));
    assert_eq!(walk(BITS32, &memory, 0xC052_2000), Err(WalkError::NotPresent { level: 1 }));
    // Without PSE bit 7 of a PDE means nothing: it leads to a table, here an empty one.
    let no_pse = Paging { cr4: 0, ..BITS32 };
    assert_eq!(walk(no_pse, &memory, 0xC080_0000), Err(WalkError::NotPresent { level: 1 }));
    let reserved = BITS32.translate(&memory, 0xC100_0000, Access::READ);
    assert_eq!(reserved, Err(WalkError::Reserved { level: 2 }));
}

#[test]
fn pse36_takes_address_bits_39_to_32_from_bits_20_to_13() {
    let memory = Memory::with32(&[(0x1000, 0x1240_0083 | 0xA5 << 13 | 1 << 12)]);
    assert_eq!(walk(BITS32, &memory, 0x0012_3456), page(0xA5_1252_3456, 4 << 20, "wx"));
}

#[test]
fn pae() {
    // CR3 bits 11:5 count: the four entries are at 1020h.
    let memory = Memory::with(&[
        (0x1020 + 8 * 3, 0x2001),
        (0x2000 + 8 * 5, 0x3007),
        (0x3000 + 8 * 6, NX | 0x12_3456_7003),
        (0x2000 + 8 * 6, 0x45_6780_0087),
        (0x1028, 0x2003),
        (0x1020 + 8 * 2, 0x80_0000_0000 << 8 | 1),
    ]);
    assert_eq!(walk(PAE_NX, &memory, 0xC0A0_6789), page(0x12_3456_7789, 4096, "w"));
    assert_eq!(walk(PAE_NX, &memory, 0xC0DA_BCDE), page(0x45_679A_BCDE, 2 << 20, "wux"));
    assert_eq!(walk(PAE_NX, &memory, 0), Err(WalkError::NotPresent { level: 3 }));
    assert_eq!(walk(PAE_NX, &memory, 0xC000_0000), Err(WalkError::NotPresent { level: 2 }));
    // R/W is reserved in a PDPTE; the debugger looks through it.
    let reserved = PAE_NX.translate(&memory, 0x40A0_6000, Access::READ);
    assert_eq!(reserved, Err(WalkError::Reserved { level: 3 }));
    assert_eq!(PAE_NX.lookup(&memory, 0x40A0_6000), page(0x12_3456_7000, 4096, "w"));
    let gpa = 0x8000_0000_0000;
    assert_eq!(walk(PAE_NX, &memory, 0x8000_0000), Err(WalkError::NotRam { gpa }));
}

/// PML4 at 1000h, PDPT at 2000h, PD at 3000h, PT at 4000h, all reached by index 0 but the PML4's
/// 1FFh; a page of each size at index 1.
fn long_tables() -> Vec<(u64, u64)> {
    vec![
        (0x1000 + 8 * 0x1FF, 0x2007),
        (0x2000, 0x3007),
        (0x2000 + 8, 0x40_4000_0087),
        (0x3000, 0x4007),
        (0x3000 + 8, 0x1A0_0083 | NX),
        (0x4000, 0x5005),
        (0x4000 + 8, 0x6007),
    ]
}

const HIGH: u64 = 0xFFFF_FF80_0000_0000;

#[test]
fn level4() {
    let memory = Memory::with(&long_tables());
    assert_eq!(walk(LONG, &memory, HIGH | 0x123), page(0x5123, 4096, "ux"));
    assert_eq!(walk(LONG, &memory, HIGH | 0x1FFF), page(0x6FFF, 4096, "wux"));
    assert_eq!(walk(LONG, &memory, HIGH | 0x21_2345), page(0x1A1_2345, 2 << 20, "w"));
    assert_eq!(walk(LONG, &memory, HIGH | 0x7654_3210), page(0x40_7654_3210, 1 << 30, "wux"));
    assert_eq!(walk(LONG, &memory, HIGH | 0x2000), Err(WalkError::NotPresent { level: 1 }));
    assert_eq!(walk(LONG, &memory, HIGH | 0x40_0000), Err(WalkError::NotPresent { level: 2 }));
    assert_eq!(walk(LONG, &memory, HIGH | 0x8000_0000), Err(WalkError::NotPresent { level: 3 }));
    assert_eq!(walk(LONG, &memory, 0), Err(WalkError::NotPresent { level: 4 }));
}

#[test]
fn canonical_addresses() {
    let memory = Memory::new();
    for linear in [0x8000_0000_0000, 0xFFFF_7FFF_FFFF_FFFF, 1 << 63, 0x7FFF_FFFF_FFFF_FFFF] {
        assert_eq!(walk(LONG, &memory, linear), Err(WalkError::NonCanonical), "{linear:#x}");
    }
    for linear in [0x7FFF_FFFF_FFFF, 0xFFFF_8000_0000_0000, u64::MAX] {
        let absent = Err(WalkError::NotPresent { level: 4 });
        assert_eq!(walk(LONG, &memory, linear), absent, "{linear:#x}");
    }
    for linear in [1 << 56, 0xFEFF_FFFF_FFFF_FFFF] {
        assert_eq!(walk(LONG5, &memory, linear), Err(WalkError::NonCanonical), "{linear:#x}");
    }
    for linear in [(1 << 56) - 1, 0xFF00_0000_0000_0000] {
        let absent = Err(WalkError::NotPresent { level: 5 });
        assert_eq!(walk(LONG5, &memory, linear), absent, "{linear:#x}");
    }
}

#[test]
fn level5() {
    let mut entries = long_tables();
    entries.push((0x9000 + 8 * 0x1AB, 0x1007));
    entries.push((0x9000 + 8 * 0x1AC, 0x1087));
    let memory = Memory::with(&entries);
    let paging = Paging { cr3: 0x9000, ..LONG5 };
    let linear = 0xFFAB_0000_0000_0000 | (HIGH & 0xFFFF_FFFF_FFFF);
    assert_eq!(walk(paging, &memory, linear | 0x123), page(0x5123, 4096, "ux"));
    assert_eq!(walk(paging, &memory, linear | 0x21_2345), page(0x1A1_2345, 2 << 20, "w"));
    let reserved = paging.translate(&memory, linear + (1 << 48), Access::READ);
    assert_eq!(reserved, Err(WalkError::Reserved { level: 5 }));
}

#[test]
fn a_table_outside_ram() {
    let memory = Memory { end: 0x4000, ..Memory::with(&long_tables()) };
    assert_eq!(walk(LONG, &memory, HIGH | 0x1000), Err(WalkError::NotRam { gpa: 0x4008 }));
    assert!(walk(LONG, &memory, HIGH | 0x20_0000).is_ok(), "where a page lies is the caller's");
}

#[test]
fn reserved_bits() {
    // Address of the entry, the bit set in it, the address walked, the level that reports it.
    let cases = [
        (0x1000 + 8 * 0x1FF, 7, 0, 4),
        (0x2008, 13, 0x4000_0000, 3),
        (0x2008, 29, 0x4000_0000, 3),
        (0x3008, 13, 0x20_0000, 2),
        (0x3008, 20, 0x20_0000, 2),
    ];
    for (at, bit, linear, level) in cases {
        let mut memory = Memory::with(&long_tables());
        *memory.words.get_mut(&at).unwrap() |= 1 << bit;
        let found = LONG.translate(&memory, HIGH | linear, Access::READ);
        assert_eq!(found, Err(WalkError::Reserved { level }), "bit {bit} of {at:#x}");
        assert!(LONG.lookup(&memory, HIGH | linear).is_ok());
    }
    // PAT in large pages, and software's bits 62:52 in long mode, are no reserved bits...
    for (at, bit, linear) in [(0x2008, 12, 1 << 30), (0x3008, 12, 1 << 21), (0x4008, 62, 0x1000)] {
        let mut memory = Memory::with(&long_tables());
        *memory.words.get_mut(&at).unwrap() |= 1 << bit;
        assert!(walk(LONG, &memory, HIGH | linear).is_ok(), "bit {bit} of {at:#x}");
    }
    // ...but the latter are in PAE.
    let memory = Memory::with(&[(0x1020, 0x2001), (0x2000, 1 << 52 | 0x83)]);
    let found = PAE_NX.translate(&memory, 0, Access::READ);
    assert_eq!(found, Err(WalkError::Reserved { level: 2 }));
}

#[test]
fn nx_counts_only_with_nxe() {
    let memory = Memory::with(&long_tables());
    let linear = HIGH | 0x20_0000;
    assert_eq!(LONG.translate(&memory, linear, Access::FETCH), Err(WalkError::Protection));
    assert!(LONG.translate(&memory, HIGH, Access::FETCH).is_ok());
    let no_nxe = Paging { efer: LMA, ..LONG };
    let reserved = Err(WalkError::Reserved { level: 2 });
    assert_eq!(no_nxe.translate(&memory, linear, Access::READ), reserved);
    assert!(no_nxe.lookup(&memory, linear).unwrap().executable);
    // NX at any level holds for all below.
    let mut memory = Memory::with(&long_tables());
    *memory.words.get_mut(&0x2000).unwrap() |= NX;
    assert!(!LONG.lookup(&memory, HIGH).unwrap().executable);
}
