use crate::ram::{Ram, fix, sum};
use firmware::ApicIds;
use firmware::mp_table::{apic_ids, count_cpus, disable_other_cpus};
use firmware::{Disabled, Error, Phys};
use proptest::prelude::*;

const TABLE: u64 = 0xf_5000;
const POINTER: usize = 0x4a0;

/// `(APIC ID, flags)` of each processor; a bus, an I/O APIC and an interrupt follow.
fn config(cpus: &[(u8, u8)]) -> Vec<u8> {
    let mut table = vec![0; 44];
    for (apic_id, flags) in cpus {
        let mut entry = [0; 20];
        entry[1..4].copy_from_slice(&[*apic_id, 0x14, *flags]);
        table.extend(entry);
    }
    table.extend([1, 0, b'I', b'S', b'A', b' ', b' ', b' ', 2, 0, 0x11, 1, 0, 0, 0xc0, 0xfe]);
    table.extend([3, 0, 0, 0, 0, 1, 0x11, 2]);
    table[..4].copy_from_slice(b"PCMP");
    let len = u16::try_from(table.len()).unwrap();
    table[4..6].copy_from_slice(&len.to_le_bytes());
    table[6] = 4;
    fix(&mut table, 7);
    table
}

fn segment(config: &[u8], feature: u8) -> Vec<u8> {
    let mut rom = vec![0; 0x1_0000];
    let mut pointer = [0; 16];
    pointer[..4].copy_from_slice(b"_MP_");
    pointer[4..8].copy_from_slice(&(TABLE as u32).to_le_bytes());
    pointer[8..12].copy_from_slice(&[1, 4, 0, feature]);
    fix(&mut pointer, 10);
    rom[POINTER..POINTER + 16].copy_from_slice(&pointer);
    rom[0x5000..0x5000 + config.len()].copy_from_slice(config);
    rom
}

fn machine(config: &[u8], feature: u8) -> Ram {
    Ram::default().put(0xf_0000, &segment(config, feature))
}

fn ids(mem: &Ram) -> Vec<u32> {
    let mut room = [0; 8];
    let mut ids = ApicIds::new(&mut room);
    apic_ids(mem, &mut ids).unwrap();
    ids.list().to_vec()
}

fn flags(mem: &Ram, index: u64) -> u8 {
    mem.u8(TABLE + 44 + 20 * index + 3)
}

#[test]
fn only_the_boot_cpu_stays() {
    let config = config(&[(0, 3), (1, 1), (2, 0), (3, 1)]);
    let mut mem = machine(&config, 0);
    assert_eq!(count_cpus(&mem), Ok(3));
    assert_eq!(ids(&mem), [0, 1, 3]);
    let done = disable_other_cpus(&mut mem, 0).unwrap();
    assert_eq!(done, Some(Disabled { enabled_total: 3, disabled: 2 }));
    assert_eq!(count_cpus(&mem), Ok(1));
    assert_eq!([0, 1, 2, 3].map(|index| flags(&mem, index)), [3, 0, 0, 0]);
    assert_eq!(sum(mem.bytes(TABLE, config.len()).unwrap()), 0);
    assert_eq!(mem.stored, 3, "two flags and the checksum");
}

#[test]
fn a_default_configuration_is_struck_out() {
    let mut mem = machine(&[], 5);
    assert_eq!(count_cpus(&mem), Ok(2));
    assert_eq!(ids(&mem), [0, 1]);
    let done = disable_other_cpus(&mut mem, 0).unwrap();
    assert_eq!(done, Some(Disabled { enabled_total: 2, disabled: 1 }));
    assert_eq!(mem.u32(0xf_0000 + POINTER as u64), 0);
    assert_eq!(disable_other_cpus(&mut mem, 0), Ok(None));
}

#[test]
fn found_in_the_ebda_and_at_the_end_of_base_memory() {
    let config = config(&[(0, 3), (1, 1)]);
    let rom = segment(&config, 0);
    let mut bda = vec![0; 0x100];
    bda[0xe..0x10].copy_from_slice(&0x9d00u16.to_le_bytes());
    bda[0x13..0x15].copy_from_slice(&512u16.to_le_bytes());
    for place in [0x9_d000, 0x7_fc00, 0x9_fc00, 0] {
        let mut area = vec![0; 0x400];
        area[0x20..0x30].copy_from_slice(&rom[POINTER..POINTER + 16]);
        let mut mem = Ram::default().put(TABLE, &config).put(0x400, &bda).put(place, &area);
        assert_eq!(count_cpus(&mem), Ok(2), "{place:#x}");
        let done = disable_other_cpus(&mut mem, 0).unwrap();
        assert_eq!(done, Some(Disabled { enabled_total: 2, disabled: 1 }), "{place:#x}");
    }
}

#[test]
fn rom_is_noticed() {
    let mut mem = machine(&config(&[(0, 3), (1, 1)]), 0).rom(0xf_0000..0x10_0000);
    let error = disable_other_cpus(&mut mem, 0).unwrap_err();
    assert_eq!(error, Error::ReadOnly { at: TABLE + 44 + 20 + 3 });
    let mut one = machine(&config(&[(0, 3)]), 0).rom(0xf_0000..0x10_0000);
    let done = disable_other_cpus(&mut one, 0);
    assert_eq!(done, Ok(Some(Disabled { enabled_total: 1, disabled: 0 })));
}

#[test]
fn cpus_are_found_behind_other_entries() {
    let mut table = config(&[(0, 3)]);
    let cpu = [0, 1, 0x14, 1].into_iter().chain([0; 16]);
    table.extend(cpu);
    let len = u16::try_from(table.len()).unwrap();
    table[4..6].copy_from_slice(&len.to_le_bytes());
    let mut mem = machine(&table, 0);
    let done = disable_other_cpus(&mut mem, 0);
    assert_eq!(done, Ok(Some(Disabled { enabled_total: 2, disabled: 1 })));
    assert_eq!(mem.u8(TABLE + 44 + 20 + 24 + 3), 0);
}

#[test]
fn a_pointer_with_a_wrong_sum_is_none() {
    let mut rom = segment(&config(&[(0, 3), (1, 1)]), 0);
    rom[POINTER + 10] ^= 1;
    let mut mem = Ram::default().put(0xf_0000, &rom);
    assert_eq!(disable_other_cpus(&mut mem, 0), Ok(None));
}

#[test]
fn nonsense_is_an_error() {
    let mut unknown = config(&[(0, 3), (1, 1)]);
    unknown[44 + 20] = 9;
    let at = TABLE + 44 + 20;
    let error = disable_other_cpus(&mut machine(&unknown, 0), 0);
    assert_eq!(error, Err(Error::Malformed { table: "MP", at }));
    assert_eq!(count_cpus(&machine(&unknown, 0)), Err(Error::Malformed { table: "MP", at }));
    assert_eq!(count_cpus(&Ram::default()), Ok(0));
    assert_eq!(disable_other_cpus(&mut Ram::default(), 0), Ok(None));
}

proptest! {
    #[test]
    fn a_damaged_table_is_survived(
        cpus in prop::collection::vec(any::<(u8, u8)>(), 0..20),
        damage in prop::collection::vec((0..480usize, any::<u8>()), 0..8)
    ) {
        let mut table = config(&cpus);
        for (at, byte) in damage {
            if let Some(slot) = table.get_mut(at) {
                *slot = byte;
            }
        }
        let mut mem = machine(&table, 0);
        if disable_other_cpus(&mut mem, 0).is_ok_and(|done| done.is_some_and(|d| d.disabled != 0)) {
            let len = usize::from(mem.u16(TABLE + 4));
            prop_assert_eq!(sum(mem.bytes(TABLE, len).unwrap()), 0);
        }
    }
}
