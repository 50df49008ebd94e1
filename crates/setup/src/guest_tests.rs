//! How many CPUs there are, by who says so.

use super::*;
use std::vec::Vec;

const RSDT: usize = 0x2000;
const MADT: usize = 0x3000;
const MP_POINTER: usize = 0x9_fc00;
const MP_TABLE: usize = 0x4000;

struct Memory(Vec<u8>);

impl Phys for Memory {
    fn bytes(&self, at: u64, len: usize) -> Option<&[u8]> {
        self.0.get(at as usize..)?.get(..len)
    }
}

impl Memory {
    fn new() -> Self {
        Memory(std::vec![0; 0x10_0000])
    }

    /// Stores a table; the byte at `checksum` makes its sum 0.
    fn put(mut self, at: usize, mut table: Vec<u8>, checksum: usize) -> Self {
        let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        table[checksum] = table[checksum].wrapping_sub(sum);
        self.0[at..at + table.len()].copy_from_slice(&table);
        self
    }

    fn acpi(self, at: usize, name: &[u8; 4], body: &[u8]) -> Self {
        let mut table = std::vec![0; 36];
        table[..4].copy_from_slice(name);
        table[4] = (36 + body.len()) as u8;
        table.extend(body);
        self.put(at, table, 9)
    }

    /// A MADT of so many enabled CPUs.
    fn madt(self, cpus: u8) -> Self {
        let entries = (0..cpus).flat_map(|id| [0, 8, id, id, 1, 0, 0, 0]);
        let body: Vec<u8> = [0; 8].into_iter().chain(entries).collect();
        self.rsdt(MADT).acpi(MADT, b"APIC", &body)
    }

    fn rsdt(self, entry: usize) -> Self {
        self.acpi(RSDT, b"RSDT", &(entry as u32).to_le_bytes())
    }

    /// An MP table of so many enabled CPUs.
    fn mp(self, cpus: u8) -> Self {
        let mut table = std::vec![0; 44];
        table[..4].copy_from_slice(b"PCMP");
        for id in 0..cpus {
            table.extend([0, id, 0x14, 1].into_iter().chain([0; 16]));
        }
        table[4] = table.len() as u8;
        let mut pointer = std::vec![0; 16];
        pointer[..4].copy_from_slice(b"_MP_");
        pointer[4..8].copy_from_slice(&(MP_TABLE as u32).to_le_bytes());
        pointer[8] = 1;
        self.put(MP_TABLE, table, 7).put(MP_POINTER, pointer, 10)
    }
}

fn rsdp() -> Rsdp {
    Rsdp { revision: 0, rsdt: RSDT as u32, xsdt: 0 }
}

#[test]
fn the_madt_is_believed() {
    let memory = Memory::new().madt(3).mp(5);
    assert_eq!(count_cpus(&memory, Some(&rsdp()), 16), Ok(3));
    assert_eq!(count_cpus(&Memory::new().madt(1), Some(&rsdp()), 16), Ok(1));
}

#[test]
fn without_a_madt_the_larger_number_counts() {
    let none = Memory::new();
    let other = Memory::new().rsdt(MADT).acpi(MADT, b"FACP", &[0; 80]);
    for (memory, rsdp) in [(none, None), (other, Some(rsdp()))] {
        let memory = memory.mp(5);
        assert_eq!(count_cpus(&memory, rsdp.as_ref(), 2), Ok(5));
        assert_eq!(count_cpus(&memory, rsdp.as_ref(), 16), Ok(16));
    }
    assert_eq!(count_cpus(&Memory::new(), None, 1), Ok(1));
    assert_eq!(count_cpus(&Memory::new(), None, 4), Ok(4));
}

#[test]
fn an_mp_table_without_sense_counts_for_nothing() {
    let mut memory = Memory::new().mp(5);
    memory.0[MP_TABLE + 44] = 9;
    assert_eq!(count_cpus(&memory, None, 2), Ok(2));
}

#[test]
fn a_madt_without_sense_is_an_error() {
    let mut memory = Memory::new().madt(3).mp(5);
    memory.0[MADT + 44 + 1] = 0;
    let error = count_cpus(&memory, Some(&rsdp()), 2);
    assert!(matches!(error, Err(Error::Firmware(firmware::Error::Malformed { .. }))));
}

/// The IDs that can be started, of at most `room`.
fn listed(memory: &Memory, rsdp: Option<&Rsdp>, own: u8, room: usize) -> Vec<u32> {
    let mut room = std::vec![0; room];
    let mut ids = ApicIds::new(&mut room);
    apic_ids(memory, rsdp, own, &mut ids);
    ids.list().to_vec()
}

#[test]
fn this_cpu_is_the_first_that_is_listed() {
    let memory = Memory::new().madt(3).mp(5);
    assert_eq!(listed(&memory, Some(&rsdp()), 0, 8), [0, 1, 2]);
    assert_eq!(listed(&memory, Some(&rsdp()), 2, 8), [2, 0, 1]);
    assert_eq!(listed(&memory, None, 1, 8), [1, 0, 2, 3, 4]);
    assert_eq!(listed(&Memory::new(), None, 7, 8), [7], "nobody names another");
}

#[test]
fn there_is_room_for_so_many() {
    let memory = Memory::new().madt(9);
    assert_eq!(listed(&memory, Some(&rsdp()), 8, 4), [8, 0, 1, 2]);
}

#[test]
fn who_counts_lists() {
    let other = Memory::new().rsdt(MADT).acpi(MADT, b"FACP", &[0; 80]).mp(5);
    for memory in [Memory::new().madt(3), Memory::new().madt(1).mp(4), other] {
        let count = count_cpus(&memory, Some(&rsdp()), 1).unwrap() as usize;
        assert_eq!(listed(&memory, Some(&rsdp()), 0, 16).len(), count);
    }
}
