//! A small static PIE, built byte by byte, and every way it can be damaged.

use super::*;
use std::vec::Vec;

/// Offsets in the file; text is at the same address, data one page further.
const HEADERS: usize = 64;
const RELR: usize = 0x200;
const TEXT: usize = 0x1000;
const DATA: usize = 0x2000;
const DYNAMIC: usize = DATA + 0x40;
const FILE: usize = DATA + 0x100;

fn put(file: &mut [u8], at: usize, words: &[u64]) {
    for (index, word) in words.iter().enumerate() {
        file[at + 8 * index..][..8].copy_from_slice(&word.to_le_bytes());
    }
}

/// One program header: type, flags, offset, address, bytes in the file and in memory.
fn header(file: &mut [u8], index: usize, kind: u32, flags: u32, numbers: [usize; 4]) {
    let [offset, address, len, memory] = numbers.map(|number| number as u64);
    let first = u64::from(kind) | u64::from(flags) << 32;
    let words = [first, offset, address, address, len, memory, 0x1000];
    put(file, HEADERS + 56 * index, &words);
}

/// Headers and relocations in a read-only segment, text, data with 0x1000 bytes of zeroes after it.
fn file() -> Vec<u8> {
    let mut file = std::vec![0; FILE];
    file[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    put(&mut file, 16, &[3 | 62 << 16 | 1 << 32, TEXT as u64 + 4, HEADERS as u64, 0]);
    put(&mut file, 48, &[64 << 32 | 56 << 48, 4 | 64 << 16]);
    header(&mut file, 0, abi::PT_LOAD, abi::PF_R, [0, 0, 0x400, 0x400]);
    header(&mut file, 1, abi::PT_LOAD, abi::PF_R | abi::PF_X, [TEXT, TEXT, 0x10, 0x10]);
    let write = abi::PF_R | abi::PF_W;
    header(&mut file, 2, abi::PT_LOAD, write, [DATA, DATA, 0x100, 0x1100]);
    header(&mut file, 3, abi::PT_DYNAMIC, write, [DYNAMIC, DYNAMIC, 0x40, 0x40]);
    // The first word of the data, and the next.
    put(&mut file, RELR, &[DATA as u64, 0b11]);
    put(&mut file, DATA, &[TEXT as u64, DATA as u64]);
    put(&mut file, DYNAMIC, &[36, RELR as u64, 35, 16, 37, 8, 0, 0]);
    file[TEXT..][..4].copy_from_slice(b"code");
    file
}

fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Error {
    let mut file = file();
    change(&mut file);
    Image::parse(&file).unwrap_err()
}

#[test]
fn segments_are_found_with_their_rights() {
    let file = file();
    let image = Image::parse(&file).unwrap();
    let rights: Vec<_> = image.segments().iter().map(|s| (s.write, s.execute)).collect();
    assert_eq!(rights, [(false, false), (false, true), (true, false)]);
    assert_eq!((image.memory_len(), image.entry()), (0x4000, TEXT as u64 + 4));
}

#[test]
fn the_image_is_laid_out_and_relocated() {
    let file = file();
    let image = Image::parse(&file).unwrap();
    let mut memory = std::vec![0xaa; 0x4000];
    image.load(&mut memory, 0xffff_8000_0000_0000).unwrap();
    assert_eq!(&memory[TEXT..][..4], b"code");
    assert_eq!(&memory[DATA..][..8], &0xffff_8000_0000_1000_u64.to_le_bytes());
    assert_eq!(&memory[DATA + 8..][..8], &0xffff_8000_0000_2000_u64.to_le_bytes());
    assert!(memory[DATA + 0x100..].iter().all(|byte| *byte == 0));
    assert!(memory[0x400..TEXT].iter().all(|byte| *byte == 0));
}

#[test]
fn memory_of_another_size_is_refused() {
    let file = file();
    let image = Image::parse(&file).unwrap();
    assert_eq!(image.load(&mut [0; 0x3000], 0), Err(Error::BadLayout));
}

#[test]
fn other_files_are_refused() {
    assert_eq!(Image::parse(b"\x1f\x8bcompressed").unwrap_err(), Error::NotElf);
    assert_eq!(Image::parse(&[]).unwrap_err(), Error::NotElf);
    assert_eq!(changed(|file| file[4] = 1), Error::NotElf);
    assert_eq!(changed(|file| file[5] = 2), Error::NotElf);
    assert_eq!(changed(|file| file[16] = 2), Error::NotStaticPie);
    assert_eq!(changed(|file| file[18] = 3), Error::NotStaticPie);
}

#[test]
fn a_truncated_file_is_refused_at_any_length() {
    let file = file();
    for len in 0..file.len() {
        assert!(Image::parse(&file[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn segments_out_of_bounds_are_refused() {
    let second = HEADERS + 56;
    // Offset, bytes in the file, bytes in memory: each far outside.
    for field in [8, 32, 40] {
        for value in [u64::MAX, 1 << 40] {
            assert_eq!(changed(|f| put(f, second + field, &[value])), Error::BadLayout);
        }
    }
    // An address inside the page of the segment before; descending; beyond any image.
    for address in [0x300, 0xfff, 1 << 30, u64::MAX - 4] {
        assert_eq!(changed(|f| put(f, second + 16, &[address])), Error::BadLayout);
    }
    let none = |f: &mut Vec<u8>| (0..3).for_each(|index| f[HEADERS + 56 * index] = 4);
    assert_eq!(changed(none), Error::BadLayout);
}

#[test]
fn rights_are_never_both() {
    assert_eq!(changed(|file| file[HEADERS + 56 + 4] = 7), Error::WriteAndExecute);
}

#[test]
fn what_needs_a_linker_is_refused() {
    assert_eq!(changed(|file| file[HEADERS + 56 * 3] = 3), Error::NeedsLinker);
    assert_eq!(changed(|file| file[HEADERS + 56 * 3] = 7), Error::NeedsLinker);
    for tag in [1, 2, 8, 18] {
        assert_eq!(changed(|file| put(file, DYNAMIC + 48, &[tag, 24])), Error::NeedsLinker);
    }
}

#[test]
fn relocations_stay_inside() {
    for at in [0x30fa, 0x5000, u64::MAX - 1] {
        assert_eq!(changed(|file| put(file, RELR, &[at])), Error::RelocationTarget(at));
    }
    // The last of the 63 words behind, and none to be behind of.
    let last = DATA as u64 + 0x10fa;
    assert_eq!(changed(|f| put(f, RELR, &[0x30f0, 0b101])), Error::RelocationTarget(last + 6));
    assert_eq!(changed(|f| put(f, RELR, &[0b11])), Error::BadLayout);
}

#[test]
fn relocation_tables_out_of_bounds_are_refused() {
    // Address; address in zeroed memory; bytes; bytes of one entry.
    for (at, value) in [(8, 0x3f8), (8, u64::MAX), (8, 0x2800), (24, 15), (24, 8 << 40), (40, 16)] {
        assert_eq!(changed(|file| put(file, DYNAMIC + at, &[value])), Error::BadLayout);
    }
}

#[test]
fn the_entry_must_be_code() {
    for entry in [0, TEXT as u64 + 0x10, DATA as u64, u64::MAX] {
        assert_eq!(changed(|file| put(file, 24, &[entry])), Error::BadEntry);
    }
}

/// Damage anywhere in the headers gives an error or an image, nothing else.
#[test]
fn no_damaged_byte_panics() {
    let original = file();
    let mut file = original.clone();
    let parts = (0..HEADERS + 56 * 4).chain(RELR..RELR + 16).chain(DYNAMIC..DYNAMIC + 64);
    let mut memory = std::vec![0; 0x4000];
    let mut refused = 0;
    for at in parts {
        for value in [0, 1, 7, 0x7f, 0x80, 0xff] {
            file[at] = value;
            match Image::parse(&file) {
                Ok(image) if image.memory_len() == 0x4000 => {
                    image.load(&mut memory, 1 << 21).unwrap()
                }
                Ok(_) => {}
                Err(_) => refused += 1,
            }
        }
        file[at] = original[at];
    }
    assert!(refused > 100);
}
