use crate::ram::{Ram, fix, sum};
use firmware::ApicIds;
use firmware::acpi::fadt::{self, Fadt};
use firmware::acpi::madt::{apic_ids, count_cpus, disable_other_cpus, entries};
use firmware::acpi::spcr::{Spcr, hide_spcr};
use firmware::acpi::{Gas, Rsdp, Table, Tables, find_rsdp, table};
use firmware::{Disabled, Error, Phys};
use proptest::prelude::*;

const XSDT: u64 = 0x1000;
const RSDT: u64 = 0x2000;
const FIRST: u64 = 0x1_0000;
const STEP: u64 = 0x2000;

fn sdt(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 36];
    bytes[..4].copy_from_slice(signature);
    bytes.extend(body);
    let len = u32::try_from(bytes.len()).unwrap();
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    fix(&mut bytes, 9);
    bytes
}

fn at(index: usize) -> u64 {
    FIRST + STEP * index as u64
}

/// A machine with these tables in both roots.
fn machine(tables: &[Vec<u8>]) -> (Ram, Rsdp) {
    let places = || (0..tables.len()).map(at);
    let xsdt: Vec<u8> = places().flat_map(u64::to_le_bytes).collect();
    let rsdt: Vec<u8> = places().flat_map(|at| (at as u32).to_le_bytes()).collect();
    let roots = Ram::default().put(XSDT, &sdt(b"XSDT", &xsdt)).put(RSDT, &sdt(b"RSDT", &rsdt));
    let mem = tables.iter().zip(places()).fold(roots, |mem, (table, at)| mem.put(at, table));
    (mem, Rsdp { revision: 2, rsdt: RSDT as u32, xsdt: XSDT })
}

fn lapic(apic_id: u8, flags: u32) -> Vec<u8> {
    let [a, b, c, d] = flags.to_le_bytes();
    vec![0, 8, apic_id, apic_id, a, b, c, d]
}

fn x2apic(apic_id: u32, flags: u32) -> Vec<u8> {
    let words = [apic_id, flags, apic_id].map(u32::to_le_bytes);
    [vec![9, 16, 0, 0], words.concat()].concat()
}

fn madt(entries: &[Vec<u8>]) -> Vec<u8> {
    sdt(b"APIC", &[vec![0, 0, 0xe0, 0xfe, 1, 0, 0, 0], entries.concat()].concat())
}

fn io_apic() -> Vec<u8> {
    vec![1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]
}

fn gas(space: u8, address: u64) -> Vec<u8> {
    [vec![space, 8, 0, 1], address.to_le_bytes().to_vec()].concat()
}

fn spcr(port: u64) -> Vec<u8> {
    sdt(b"SPCR", &[vec![0, 0, 0, 0], gas(1, port), vec![0; 28]].concat())
}

fn dbg2(kind: u16, port: u64) -> Vec<u8> {
    let mut device = vec![0; 22];
    device[1] = 34;
    device[3] = 1;
    device[12..14].copy_from_slice(&kind.to_le_bytes());
    device[18] = 22;
    sdt(b"DBG2", &[vec![44, 0, 0, 0, 1, 0, 0, 0], device, gas(1, port)].concat())
}

fn assert_sums(mem: &Ram, places: &[u64]) {
    for at in places {
        let len = mem.u32(at + 4) as usize;
        assert_eq!(sum(mem.bytes(*at, len).unwrap()), 0, "table at {at:#x}");
    }
}

fn rsdp_bytes(revision: u8) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..8].copy_from_slice(b"RSD PTR ");
    bytes[15] = revision;
    bytes[16..20].copy_from_slice(&0x1ffe_1234u32.to_le_bytes());
    bytes[20] = 36;
    bytes[24..32].copy_from_slice(&0x1_ffff_0000u64.to_le_bytes());
    fix(&mut bytes[..20], 8);
    fix(&mut bytes, 32);
    bytes
}

#[test]
fn the_rsdp_of_both_revisions() {
    let one = Rsdp { revision: 0, rsdt: 0x1ffe_1234, xsdt: 0 };
    assert_eq!(Rsdp::parse(&rsdp_bytes(0)[..20]), Some(one));
    let two = Rsdp { revision: 2, rsdt: 0x1ffe_1234, xsdt: 0x1_ffff_0000 };
    assert_eq!(Rsdp::parse(&rsdp_bytes(2)), Some(two));
    assert_eq!(Rsdp::parse(&rsdp_bytes(2)[..20]), None);
    for damaged in 0..36 {
        let mut bytes = rsdp_bytes(2);
        bytes[damaged] ^= 1;
        assert_eq!(Rsdp::parse(&bytes), None, "byte {damaged}");
    }
}

#[test]
fn the_rsdp_is_searched_where_firmware_puts_it() {
    let mut bda = vec![0; 0x100];
    bda[0xe..0x10].copy_from_slice(&0x9fc0u16.to_le_bytes());
    let mut ebda = vec![0; 0x400];
    ebda[0x3d0..0x3f4].copy_from_slice(&rsdp_bytes(2));
    let mut rom = vec![0; 0x2_0000];
    rom[0x5000..0x5008].copy_from_slice(b"RSD PTR "); // a wrong one goes first
    rom[0x6508..0x652c].copy_from_slice(&rsdp_bytes(2)); // off its boundary
    let bios = |rom: &[u8]| Ram::default().put(0x400, &bda).put(0xe_0000, rom);
    assert_eq!(find_rsdp(&bios(&rom)), None);
    let last = rom.len() - 32; // no room for the longer structure's 36 bytes
    rom[last..last + 20].copy_from_slice(&rsdp_bytes(0)[..20]);
    let bios = bios(&rom);
    assert_eq!(find_rsdp(&bios).map(|rsdp| rsdp.revision), Some(0));
    assert_eq!(find_rsdp(&bios.put(0x9_fc00, &ebda)).map(|rsdp| rsdp.revision), Some(2));
    assert_eq!(find_rsdp(&Ram::default()), None);
}

#[test]
fn tables_come_from_the_xsdt_unless_it_is_bad() {
    let (mem, rsdp) = machine(&[sdt(b"SSDT", &[1]), sdt(b"HPET", &[2]), sdt(b"SSDT", &[3])]);
    let names: Vec<_> = Tables::new(&mem, &rsdp).map(|table| table.signature()).collect();
    assert_eq!(names, [*b"SSDT", *b"HPET", *b"SSDT"]);
    let found = table(&mem, &rsdp, b"SSDT").unwrap();
    assert_eq!((found.at, found.bytes[36], found.checksum_ok()), (at(0), 1, true));
    assert!(table(&mem, &rsdp, b"APIC").is_none());

    let mut bad = sdt(b"XSDT", &at(0).to_le_bytes());
    bad[9] ^= 1;
    let only_hpet = sdt(b"RSDT", &(at(1) as u32).to_le_bytes());
    let mem = Ram::default().put(XSDT, &bad).put(RSDT, &only_hpet).put(at(1), &sdt(b"HPET", &[]));
    let names: Vec<_> = Tables::new(&mem, &rsdp).map(|table| table.signature()).collect();
    assert_eq!(names, [*b"HPET"]);
}

#[test]
fn null_and_unreadable_pointers_are_passed_over() {
    let body: Vec<u8> = [0, 0xffff_f000, at(0)].iter().flat_map(|at| at.to_le_bytes()).collect();
    let mem = Ram::default().put(XSDT, &sdt(b"XSDT", &body)).put(at(0), &sdt(b"HPET", &[]));
    let rsdp = Rsdp { revision: 2, rsdt: 0, xsdt: XSDT };
    assert_eq!(Tables::new(&mem, &rsdp).count(), 1);
    // A table that cannot be looked at may list CPUs.
    let error = Err(Error::Unreadable { at: 0xffff_f000 });
    assert_eq!(count_cpus(&mem, &rsdp), error);
}

fn ids(mem: &Ram, rsdp: &Rsdp) -> Vec<u32> {
    let mut room = [0; 1024];
    let mut ids = ApicIds::new(&mut room);
    apic_ids(mem, rsdp, &mut ids).unwrap();
    ids.list().to_vec()
}

#[test]
fn only_this_cpu_stays_in_the_madt() {
    let list = [
        lapic(0, 1),
        lapic(1, 1),
        io_apic(),
        lapic(2, 2),
        lapic(3, 0),
        x2apic(256, 1),
        x2apic(1, 1),
    ];
    let (mut mem, rsdp) = machine(&[sdt(b"HPET", &[]), madt(&list)]);
    assert_eq!(count_cpus(&mem, &rsdp), Ok(3));
    assert_eq!(ids(&mem, &rsdp), [0, 1, 256]);
    let done = disable_other_cpus(&mut mem, &rsdp, 0);
    assert_eq!(done, Ok(Disabled { enabled_total: 3, disabled: 4 }));
    assert_eq!(mem.stored, 5, "four flags and the checksum");
    let want = [
        lapic(0, 1),
        lapic(1, 0),
        io_apic(),
        lapic(2, 0),
        lapic(3, 0),
        x2apic(256, 0),
        x2apic(1, 0),
    ];
    let left = mem.bytes(at(1) + 44, list.concat().len()).unwrap();
    assert_eq!(left, want.concat());
    assert_sums(&mem, &[at(1)]);
    assert_eq!(count_cpus(&mem, &rsdp), Ok(1));
}

#[test]
fn a_cpu_known_by_its_x2apic_id_only() {
    let (mut mem, rsdp) = machine(&[madt(&[x2apic(256, 1), x2apic(300, 3), lapic(0, 1)])]);
    let done = disable_other_cpus(&mut mem, &rsdp, 300);
    assert_eq!(done, Ok(Disabled { enabled_total: 3, disabled: 2 }));
    assert_eq!([52, 68, 80].map(|offset| mem.u8(at(0) + offset)), [0, 3, 0]);
}

#[test]
fn both_roots_and_every_copy_are_served() {
    let two = madt(&[lapic(0, 1), lapic(1, 1)]);
    let xsdt = sdt(b"XSDT", &at(0).to_le_bytes());
    let rsdt = sdt(b"RSDT", &(at(1) as u32).to_le_bytes());
    let mut mem =
        Ram::default().put(XSDT, &xsdt).put(RSDT, &rsdt).put(at(0), &two).put(at(1), &two);
    let rsdp = Rsdp { revision: 2, rsdt: RSDT as u32, xsdt: XSDT };
    let done = disable_other_cpus(&mut mem, &rsdp, 1);
    assert_eq!(done, Ok(Disabled { enabled_total: 2, disabled: 2 }));
    assert_eq!([at(0), at(1)].map(|at| (mem.u8(at + 48), mem.u8(at + 56))), [(0, 1); 2]);

    let (mut mem, rsdp) = machine(&vec![two; 5]);
    let error = disable_other_cpus(&mut mem, &rsdp, 1);
    assert_eq!(error, Err(Error::TooMany { table: "APIC" }));
}

#[test]
fn a_madt_that_makes_no_sense_is_left_alone() {
    let cut = Error::Malformed { table: "APIC", at: at(0) + 52 };
    let cases = [
        (vec![lapic(0, 1), vec![0, 0, 9, 9]], 0, cut), // endless
        (vec![lapic(0, 1), vec![0, 8, 9, 9]], 0, cut), // past the end
        (vec![lapic(0, 1), vec![0, 4, 9, 9]], 0, cut), // too short for a CPU
        (vec![lapic(0, 1), lapic(1, 1)], 7, Error::NotListed { apic_id: 7 }),
        (vec![lapic(0, 1), lapic(1, 0)], 1, Error::NotListed { apic_id: 1 }),
    ];
    for (entries, keep, error) in cases {
        let (mut mem, rsdp) = machine(&[madt(&entries)]);
        assert_eq!(disable_other_cpus(&mut mem, &rsdp, keep), Err(error));
        assert_eq!(mem.stored, 0);
    }
    let (mut mem, rsdp) = machine(&[madt(&[lapic(0, 1), lapic(1, 1)])]);
    mem = mem.rom(at(0)..at(1));
    let error = disable_other_cpus(&mut mem, &rsdp, 0);
    assert_eq!(error, Err(Error::ReadOnly { at: at(0) + 56 }));
    let (mut mem, rsdp) = machine(&[]);
    assert_eq!(disable_other_cpus(&mut mem, &rsdp, 0), Ok(Disabled::default()));
}

#[test]
fn the_entries_of_a_madt() {
    let bytes = madt(&[lapic(4, 1), io_apic()]);
    let list: Vec<_> = entries(Table { at: 0, bytes: &bytes }).map(Result::unwrap).collect();
    assert_eq!([list[0].kind, list[1].kind], [0, 1]);
    assert_eq!([list[0].offset, list[1].offset, list.len()], [44, 52, 2]);
}

#[test]
fn an_spcr_for_the_link_leaves_both_roots() {
    let tables = [sdt(b"HPET", &[]), spcr(0x3f8), sdt(b"SSDT", &[]), dbg2(0x8000, 0x3f8)];
    let (mut mem, rsdp) = machine(&tables);
    assert_eq!(hide_spcr(&mut mem, &rsdp, 0x3f8), Ok(true));
    assert_eq!([mem.u32(XSDT + 4), mem.u32(RSDT + 4)], [36 + 2 * 8, 36 + 2 * 4]);
    assert_sums(&mem, &[XSDT, RSDT]);
    assert_eq!([mem.u32(RSDT + 36), mem.u32(RSDT + 40)].map(u64::from), [at(0), at(2)]);
    assert_eq!([mem.u32(RSDT + 44), mem.u32(RSDT + 48)], [0, 0]);
    let names: Vec<_> = Tables::new(&mem, &rsdp).map(|table| table.signature()).collect();
    assert_eq!(names, [*b"HPET", *b"SSDT"]);
    assert_eq!(hide_spcr(&mut mem, &rsdp, 0x3f8), Ok(false));
}

#[test]
fn other_console_tables_stay() {
    let mapped = sdt(b"SPCR", &[vec![0, 0, 0, 0], gas(0, 0x3f8), vec![0; 28]].concat());
    let (mut mem, rsdp) =
        machine(&[spcr(0x2f8), mapped, dbg2(0x8001, 0x3f8), dbg2(0x8000, 0x2f8), spcr(0x103f8)]);
    assert_eq!(hide_spcr(&mut mem, &rsdp, 0x3f8), Ok(false));
    assert_eq!(mem.stored, 0);
    let bytes = spcr(0x2f8);
    let base = Gas { space: 1, address: 0x2f8 };
    assert_eq!(Spcr::parse(&bytes), Some(Spcr { interface_type: 0, base }));
    assert_eq!(Spcr::parse(&bytes[..51]), None);

    let (mem, rsdp) = machine(&[spcr(0x3f8)]);
    let error = hide_spcr(&mut mem.rom(0..0x2000), &rsdp, 0x3f8);
    assert_eq!(error, Err(Error::ReadOnly { at: XSDT + 36 }));
}

fn fadt_bytes(len: usize) -> Vec<u8> {
    let mut body = vec![0; len - 36];
    let mut set = |at: usize, bytes: &[u8]| {
        body.iter_mut().skip(at - 36).zip(bytes).for_each(|(slot, byte)| *slot = *byte);
    };
    set(36, &0x1ffe_0000u32.to_le_bytes());
    set(64, &0x604u32.to_le_bytes());
    set(112, &(1u32 << 10).to_le_bytes());
    set(116, &gas(1, 0xcf9));
    set(128, &[0xf]);
    set(132, &0x1_2340_0000u64.to_le_bytes());
    set(172, &gas(1, 0x804));
    sdt(b"FACP", &body)
}

#[test]
fn the_fadt_of_each_revision() {
    let full = Fadt { reset: Some((0xcf9, 0xf)), pm1a_cnt: 0x804, facs: 0x1_2340_0000 };
    let (mem, rsdp) = machine(&[fadt_bytes(244)]);
    assert_eq!(fadt::find(&mem, &rsdp), Some(full));
    let old = Fadt { reset: None, pm1a_cnt: 0x604, facs: 0x1ffe_0000 };
    assert_eq!(Fadt::parse(&fadt_bytes(116)), old);
    let reset_only = Fadt { reset: Some((0xcf9, 0xf)), ..old };
    assert_eq!(Fadt::parse(&fadt_bytes(129)), reset_only);
    assert_eq!(Fadt::parse(&[]), Fadt::default());

    let mut bytes = fadt_bytes(244);
    bytes[113] = 0; // RESET_REG_SUP
    bytes[172] = 0; // X_PM1a_CNT in memory
    bytes[132..140].fill(0);
    assert_eq!(Fadt::parse(&bytes), old);
    let mut bytes = fadt_bytes(244);
    bytes[116] = 2; // PCI configuration space
    assert_eq!(Fadt::parse(&bytes).reset, None);
}

fn cpu() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<(u8, u32)>().prop_map(|(id, flags)| lapic(id, flags)),
        (0..600u32, any::<u32>()).prop_map(|(id, flags)| x2apic(id, flags)),
        Just(io_apic()),
    ]
}

proptest! {
    #[test]
    fn one_cpu_is_left_and_the_sum_is_0(list in prop::collection::vec(cpu(), 0..64), wrong_sum: u8) {
        let mut bytes = madt(&[vec![lapic(7, 1)], list].concat());
        bytes[9] = bytes[9].wrapping_add(wrong_sum);
        let (mut mem, rsdp) = machine(&[bytes.clone()]);
        let before = count_cpus(&mem, &rsdp).unwrap();
        let listed = ids(&mem, &rsdp);
        prop_assert!(listed.len() <= before as usize, "each once");
        prop_assert!((0..listed.len()).all(|n| !listed[..n].contains(&listed[n])));
        let done = disable_other_cpus(&mut mem, &rsdp, 7).unwrap();
        prop_assert_eq!(done.enabled_total, before);
        prop_assert_eq!(count_cpus(&mem, &rsdp), Ok(1));
        let after = mem.bytes(at(0), bytes.len()).unwrap();
        if done.disabled != 0 {
            prop_assert_eq!(sum(after), 0);
        }
        let changed = after.iter().zip(&bytes).filter(|(a, b)| a != b).count();
        prop_assert!(changed <= done.disabled as usize + 1);
        prop_assert_eq!(disable_other_cpus(&mut mem, &rsdp, 7).unwrap().disabled, 0);
    }

    #[test]
    fn damaged_tables_are_survived(
        damage in prop::collection::vec((0..6usize, 0..120u64, any::<u8>()), 1..12)
    ) {
        let tables =
            [madt(&[lapic(0, 1), x2apic(1, 1)]), spcr(0x3f8), dbg2(0x8000, 0x3f8), fadt_bytes(244)];
        let (mut mem, rsdp) = machine(&tables);
        for (place, offset, byte) in damage {
            let base = [XSDT, RSDT, at(0), at(1), at(2), at(3)][place];
            let _ = firmware::PhysMut::write(&mut mem, base + offset, &[byte]);
        }
        let _ = apic_ids(&mem, &rsdp, &mut ApicIds::new(&mut [0; 2]));
        let _ = (count_cpus(&mem, &rsdp), fadt::find(&mem, &rsdp), find_rsdp(&mem));
        let _ = disable_other_cpus(&mut mem, &rsdp, 0);
        let _ = hide_spcr(&mut mem, &rsdp, 0x3f8);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = (Rsdp::parse(&bytes), Spcr::parse(&bytes), Fadt::parse(&bytes));
        let table = Table { at: u64::MAX - 8, bytes: &bytes };
        prop_assert!(entries(table).count() <= bytes.len() / 2 + 1);
        let _ = (table.signature(), table.checksum_ok());
    }
}
