//! Low memory before and after.

use super::*;
use firmware::e820::Entry;
use std::vec::Vec;

const OLD: [u8; 4] = [0x59, 0xf8, 0x00, 0xf0];

struct Memory(Vec<u8>);

impl Phys for Memory {
    fn bytes(&self, at: u64, len: usize) -> Option<&[u8]> {
        self.0.get(at as usize..)?.get(..len)
    }
}

impl PhysMut for Memory {
    fn write(&mut self, at: u64, bytes: &[u8]) -> bool {
        let slot = self.0.get_mut(at as usize..).and_then(|rest| rest.get_mut(..bytes.len()));
        slot.map(|slot| slot.copy_from_slice(bytes)).is_some()
    }
}

fn machine(kib: u16) -> (Memory, Map) {
    let mut memory = Memory(std::vec![0; 0xa_0000]);
    memory.write(VECTOR_15, &OLD);
    memory.write(0x413, &kib.to_le_bytes());
    let mut map = Map::new();
    for (base, len, kind) in [
        (0, 0x9_fc00, Kind::USABLE),
        (0x9_fc00, 0x400, Kind::RESERVED),
        (0x10_0000, 0x1ef0_0000, Kind::USABLE),
        (0x1f00_0000, 0x10_0000, Kind::RESERVED),
    ] {
        map.push(Entry::new(base, len, kind)).unwrap();
    }
    map.normalise();
    (memory, map)
}

fn word(memory: &Memory, at: u64) -> u16 {
    u16::from_le_bytes(*memory.bytes(at, 2).unwrap().first_chunk().unwrap())
}

#[test]
fn the_page_goes_to_the_end_of_conventional_memory() {
    let (memory, mut map) = machine(639);
    assert_eq!(reserve(&memory, &mut map), Ok(0x9_e000));
    assert_eq!(map.entries()[0], Entry::new(0, 0x9_e000, Kind::USABLE));
    assert_eq!(map.entries()[1], Entry::new(0x9_e000, 0x2000, Kind::RESERVED));
}

#[test]
fn no_page_no_start() {
    for kib in [0, 3, 64, 641, u16::MAX] {
        let (memory, mut map) = machine(kib);
        assert_eq!(reserve(&memory, &mut map), Err(Error::NoLowMemory(kib)));
    }
    let (memory, mut map) = machine(639);
    map.reserve(0x9_e800, 16).unwrap();
    assert_eq!(reserve(&memory, &mut map), Err(Error::NoLowMemory(639)));
}

#[test]
fn the_guest_finds_the_services_and_its_first_instruction() {
    let (mut memory, mut map) = machine(639);
    let page = reserve(&memory, &mut map).unwrap();
    let begin = install(&mut memory, page, &map, BootFrom::Int19, Some(0x80)).unwrap();
    let start = begin.start;
    assert_eq!((start.cs, start.ss, start.sp, start.dl), (0x9e00, 0, 0x7c00, 0x80));
    let ip = u64::from(start.cs) << 4 | u64::from(start.ip);
    // int 0x19; cli; hlt; jmp back to cli
    assert_eq!(memory.bytes(ip, 6).unwrap(), [0xcd, 0x19, 0xfa, 0xf4, 0xeb, 0xfc]);
    assert_eq!(word(&memory, 0x413), 632);
    assert_eq!(word(&memory, VECTOR_15 + 2), 0x9e00);
    let handler = page + u64::from(word(&memory, VECTOR_15));
    // cmp ax, E820h
    assert_eq!(memory.bytes(handler, 3).unwrap(), [0x3d, 0x20, 0xe8]);
    assert_eq!(memory.bytes(page, 4).unwrap(), OLD);
}

#[test]
fn a_disk_that_was_asked_for_is_started_at_once() {
    for (boot, drive, disk) in [
        (BootFrom::Next, Some(0x80), 0x81),
        (BootFrom::Next, Some(0x81), 0x80),
        (BootFrom::Next, None, 0x80),
        (BootFrom::Disk(0x82), Some(0x80), 0x82),
    ] {
        let (mut memory, mut map) = machine(639);
        let page = reserve(&memory, &mut map).unwrap();
        let Begin { start, next_disk } = install(&mut memory, page, &map, boot, drive).unwrap();
        assert_eq!((start.cs, start.ip, start.dl), (0x9ea0, next::ENTRY, disk));
        assert_eq!(next_disk, u32::from(start.cs) << 16 | u32::from(start.ip));
        let code = memory.bytes(u64::from(start.cs) << 4, next::code().len()).unwrap();
        assert_eq!(code, next::code());
    }
}

/// In the low page, and where no VMM runs in one KiB.
#[test]
fn there_is_room_for_the_code() {
    assert!(next::code().len() <= 1024);
    assert!(usize::from(int15::NEXT) + next::code().len() <= PAGE as usize);
}

#[test]
fn the_tables_agree() {
    let (mut memory, mut map) = machine(639);
    let page = reserve(&memory, &mut map).unwrap();
    install(&mut memory, page, &map, BootFrom::Int19, None).unwrap();
    assert_eq!([word(&memory, page + 4), word(&memory, page + 6)], [0x3c00, 0x1e00]);
    assert_eq!(word(&memory, page + 8), 0xfc00);
    assert_eq!(usize::from(word(&memory, page + 12)), map.entries().len());
    for (index, entry) in map.entries().iter().enumerate() {
        let at = page + 256 + 24 * index as u64;
        assert_eq!(memory.bytes(at, 24).unwrap(), entry.to_bytes());
    }
}

#[test]
fn memory_that_takes_no_writes_is_an_error() {
    let (mut memory, mut map) = machine(639);
    let page = reserve(&memory, &mut map).unwrap();
    memory.0.truncate(page as usize);
    assert_eq!(install(&mut memory, page, &map, BootFrom::Int19, None), Err(Error::BiosData));
}
