use crate::ram::Ram;
use firmware::e820::{Entry, Kind};
use firmware::multiboot::{Error, Info, MAX_MODULES, Protocol};
use proptest::prelude::*;

const ONE: u32 = 0x2bad_b002;
const TWO: u32 = 0x36d7_6289;
const AT: u32 = 0x1_0000;
const MAP: u32 = 0x2_0000;
const LINE: u32 = 0x3_0000;
const MODULES: u32 = 0x4_0000;

const RANGES: [(u64, u64, u32); 5] = [
    (0, 0x9_fc00, Kind::USABLE),
    (0xf_0000, 0x1_0000, Kind::RESERVED),
    (0x10_0000, 0x1fee_0000, Kind::USABLE),
    (0x1ffe_0000, 0x1_0000, Kind::ACPI),
    (0x1fff_0000, 0x1_0000, Kind::NVS),
];

fn words(list: &[u32]) -> Vec<u8> {
    list.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn range((base, len, kind): (u64, u64, u32)) -> Vec<u8> {
    [base.to_le_bytes().to_vec(), len.to_le_bytes().to_vec(), kind.to_le_bytes().to_vec()].concat()
}

fn expected() -> Vec<Entry> {
    RANGES.iter().map(|(base, len, kind)| Entry::new(*base, *len, *kind)).collect()
}

/// A map of multiboot 1; the first entry is longer than it need be.
fn map_one() -> Vec<u8> {
    let entry = |(index, r)| match index {
        0 => [words(&[24]), range(r), vec![0xff; 4]].concat(),
        _ => [words(&[20]), range(r)].concat(),
    };
    RANGES.into_iter().enumerate().flat_map(entry).collect()
}

fn info_one(flags: u32, modules: u32) -> Vec<u8> {
    let map_len = u32::try_from(map_one().len()).unwrap();
    let mut info = words(&[flags, 639, 0x1_fb80, 0x80ff_ffff, LINE, modules, MODULES]);
    info.extend([0; 16]);
    info.extend(words(&[map_len, MAP]));
    info.extend([0; 64]);
    info
}

fn memory_one(info: &[u8]) -> Ram {
    let module = |n: u32| words(&[0x10_0000 * n, 0x10_0000 * n + 0x1234, LINE + 0x100, 0]);
    let modules: Vec<u8> = (1..=6).flat_map(module).collect();
    let mut text = vec![0; 0x200];
    text[..16].copy_from_slice(b"/ramooflax wait\0");
    text[0x100..0x109].copy_from_slice(b"resident\0");
    Ram::default()
        .put(AT.into(), info)
        .put(MAP.into(), &map_one())
        .put(LINE.into(), &text)
        .put(MODULES.into(), &modules)
}

#[test]
fn all_of_multiboot_1() {
    let mem = memory_one(&info_one(0x4f, 6));
    let info = Info::parse(&mem, ONE, AT).unwrap();
    assert_eq!(info.protocol, Protocol::One);
    assert_eq!(info.command_line, b"/ramooflax wait");
    assert_eq!(info.boot_drive, Some(0x80));
    assert_eq!(info.map.entries(), expected());
    assert_eq!(info.acpi_rsdp, None);
    assert_eq!(info.modules().len(), MAX_MODULES);
    let last = info.modules()[3];
    assert_eq!((last.start, last.end, last.string), (0x40_0000, 0x40_1234, &b"resident"[..]));
}

#[test]
fn fields_without_their_flag_do_not_count() {
    let mem = memory_one(&info_one(1, 6));
    let info = Info::parse(&mem, ONE, AT).unwrap();
    assert_eq!((info.command_line, info.boot_drive, info.modules().len()), (&b""[..], None, 0));
    let sizes = [
        Entry::new(0, 639 << 10, Kind::USABLE),
        Entry::new(0x10_0000, 0x1_fb80 << 10, Kind::USABLE),
    ];
    assert_eq!(info.map.entries(), sizes);
    let mem = memory_one(&info_one(0, 0));
    assert_eq!(Info::parse(&mem, ONE, AT).unwrap_err(), Error::NoMemoryMap);
}

#[test]
fn what_multiboot_1_points_to_must_be_there() {
    let parse = |mem: &Ram| Info::parse(mem, ONE, AT).map(|_| ()).unwrap_err();
    let info = info_one(0x4f, 6);
    let at = |at, what| Error::Unreadable { what, at };
    assert_eq!(parse(&Ram::default()), at(AT, "information"));
    assert_eq!(parse(&Ram::default().put(AT.into(), &info)), at(LINE, "command line"));
    let endless = Ram::default().put(AT.into(), &info).put(LINE.into(), &[b'x'; 5000]);
    assert_eq!(parse(&endless), Error::Malformed { what: "command line", at: LINE });
    for size in [0u32, 19, 21, u32::MAX] {
        let mut map = map_one();
        let last = map.len() - 24;
        map[last..last + 4].copy_from_slice(&size.to_le_bytes());
        let mem = Ram::default().put(MAP.into(), &map).put(AT.into(), &info_one(0x40, 0));
        assert_eq!(parse(&mem), Error::Malformed { what: "memory map", at: MAP });
    }
}

#[test]
fn of_what_is_refused_the_beginning_is_kept() {
    let mut info = info_one(0x4f, 6);
    let at = 0xdead_0000;
    info[48..52].copy_from_slice(&u32::to_le_bytes(at));
    let mem = memory_one(&info);
    let what = "memory map";
    assert_eq!(Info::parse(&mem, ONE, AT).unwrap_err(), Error::Unreadable { what, at });
    let info = Info::at_least(&mem, ONE, AT);
    assert_eq!((info.command_line, info.boot_drive), (&b"/ramooflax wait"[..], Some(0x80)));
    let info = Info::at_least(&mem, 0, AT);
    assert_eq!((info.command_line, info.boot_drive), (&b""[..], None));
}

#[test]
fn another_loader_is_refused() {
    let error = Info::parse(&Ram::default(), 0x1234, 0).unwrap_err();
    assert_eq!(error, Error::Magic(0x1234));
    assert!(error.to_string().contains("expected 0x2badb002 or 0x36d76289"));
}

fn tag(kind: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 8).unwrap();
    let mut tag = [words(&[kind, size]), body.to_vec()].concat();
    tag.resize(tag.len().next_multiple_of(8), 0xee);
    tag
}

fn map_two() -> Vec<u8> {
    let entries = RANGES.into_iter().flat_map(|r| [range(r), vec![0; 4]].concat());
    tag(6, &words(&[24, 0]).into_iter().chain(entries).collect::<Vec<u8>>())
}

fn module_two(n: u32) -> Vec<u8> {
    tag(3, &[words(&[0x10_0000 * n, 0x10_0000 * n + 9]), b"resident\0".to_vec()].concat())
}

fn info_two(tags: &[Vec<u8>]) -> Vec<u8> {
    let tags = [tags.concat(), tag(0, &[])].concat();
    [words(&[u32::try_from(tags.len() + 8).unwrap(), 0]), tags].concat()
}

fn all_two() -> Vec<u8> {
    let mut tags = vec![
        tag(1, b"wait\0"),
        tag(2, b"GRUB 2.06\0"),
        tag(5, &words(&[0x81, 0, u32::MAX])),
        tag(4, &words(&[639, 0x1_fb80])),
        map_two(),
        tag(15, b"new"),
        tag(14, b"old"),
    ];
    tags.extend((1..=6).map(module_two));
    info_two(&tags)
}

#[test]
fn all_of_multiboot_2() {
    let mem = Ram::default().put(AT.into(), &all_two());
    let info = Info::parse(&mem, TWO, AT).unwrap();
    assert_eq!(info.protocol, Protocol::Two);
    assert_eq!(info.command_line, b"wait");
    assert_eq!(info.boot_drive, Some(0x81));
    assert_eq!(info.map.entries(), expected());
    assert_eq!(info.acpi_rsdp, Some(&b"new"[..]));
    assert_eq!(info.modules().len(), MAX_MODULES);
    let last = info.modules()[3];
    assert_eq!((last.start, last.end, last.string), (0x40_0000, 0x40_0009, &b"resident"[..]));
}

#[test]
fn multiboot_2_without_a_map() {
    let parse = |tags: &[Vec<u8>]| {
        let mem = Ram::default().put(AT.into(), &info_two(tags));
        Info::parse(&mem, TWO, AT).map(|info| info.map.usable_bytes())
    };
    assert_eq!(parse(&[tag(4, &words(&[640, 1024]))]), Ok(1664 << 10));
    assert_eq!(parse(&[]), Err(Error::NoMemoryMap));
}

#[test]
fn multiboot_2_that_makes_no_sense() {
    let first = AT + 8;
    let malformed = |what, at| Error::Malformed { what, at };
    let cases = [
        (tag(1, b"no end"), malformed("command line", first)),
        (tag(3, &words(&[2, 1, 0])), malformed("module", first)),
        (tag(3, &words(&[1])), malformed("module", first)),
        (tag(6, &words(&[0, 0])), malformed("memory map", first)),
        (tag(6, &words(&[19, 0])), malformed("memory map", first)),
        (words(&[1, 7]), malformed("tag", first)),
        (words(&[1, 0]), malformed("tag", first)),
        (words(&[1, u32::MAX]), malformed("tag", first)),
    ];
    for (tag, error) in cases {
        let mem = Ram::default().put(AT.into(), &info_two(&[tag]));
        assert_eq!(Info::parse(&mem, TWO, AT).unwrap_err(), error);
    }
    for total in [0, 7, u32::MAX] {
        let mem = Ram::default().put(AT.into(), &words(&[total, 0]));
        assert_eq!(Info::parse(&mem, TWO, AT).unwrap_err(), malformed("information", AT));
    }
}

#[test]
fn a_map_in_many_pieces_is_merged_a_longer_one_refused() {
    let info = |step: u64| {
        let entries = (0..200).flat_map(|n| [range((n * step, 0x1000, 1)), vec![0; 4]].concat());
        info_two(&[tag(6, &words(&[24, 0]).into_iter().chain(entries).collect::<Vec<u8>>())])
    };
    let mem = Ram::default().put(AT.into(), &info(0x1000));
    let map = Info::parse(&mem, TWO, AT).unwrap().map;
    assert_eq!(map.entries(), [Entry::new(0, 200 * 0x1000, Kind::USABLE)]);
    let mem = Ram::default().put(AT.into(), &info(0x2000));
    assert_eq!(Info::parse(&mem, TWO, AT).unwrap_err(), Error::MapFull);
}

fn damaged(mut bytes: Vec<u8>, damage: &[(usize, u8)]) -> Vec<u8> {
    for (at, byte) in damage {
        let at = at % bytes.len();
        bytes[at] = *byte;
    }
    bytes
}

proptest! {
    #[test]
    fn damaged_information_is_survived(damage in prop::collection::vec(any::<(usize, u8)>(), 1..10)) {
        let mem = Ram::default().put(AT.into(), &damaged(all_two(), &damage));
        let _ = Info::parse(&mem, TWO, AT);
        let mem = memory_one(&damaged(info_one(0x4f, 6), &damage));
        let _ = Info::parse(&mem, ONE, AT);
        let map = damaged(map_one(), &damage);
        let mem = Ram::default().put(MAP.into(), &map).put(AT.into(), &info_one(0x40, 0));
        let _ = Info::parse(&mem, ONE, AT);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600), two: bool, at: u32) {
        let mem = Ram::default().put(at.into(), &bytes);
        let magic = if two { TWO } else { ONE };
        if let Err(error) = Info::parse(&mem, magic, at) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
