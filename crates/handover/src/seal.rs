//! What tells a resident image from any other file: an ELF note (System V gABI, "Note Section") with the version
//! of the hand-over it was built for, and a checksum of the file that is filled in when it is packed.

use crate::MAGIC;

/// The note, as the resident carries it.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug)]
pub struct Seal {
    name_len: u32,
    content_len: u32,
    kind: u32,
    name: [u8; 12],
    magic: [u8; 8],
    /// CRC-32 of the file with this field 0; 0 where it was not filled in.
    crc: [u8; 4],
    padding: [u8; 4],
}

/// Length of the note before its content: three words and the name.
const HEAD: usize = 24;
/// Offset of the checksum from the note's beginning.
const CRC: usize = HEAD + 8;

impl Seal {
    /// The note of a resident image of this build.
    pub const THIS: Self = Self {
        name_len: 10,
        content_len: 16,
        kind: 1,
        name: *b"Ramooflax\0\0\0",
        magic: MAGIC.to_le_bytes(),
        crc: [0; 4],
        padding: [0; 4],
    };
}

/// Why a file is not the resident image that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// No note: another file, or cut before it.
    NoNote,
    /// Of another build.
    Version,
    /// Its bytes are not those that were packed.
    Damaged,
}

/// Checks that `file` is a resident image for this version of the hand-over, undamaged.
///
/// # Errors
/// See [`Misfit`].
pub fn check(file: &[u8]) -> Result<(), Misfit> {
    let at = find(file).ok_or(Misfit::NoNote)?;
    let content = file.get(at.saturating_add(HEAD)..).unwrap_or_default();
    if content.first_chunk::<8>() != Some(&MAGIC.to_le_bytes()) {
        return Err(Misfit::Version);
    }
    let stated = content.get(8..).and_then(<[u8]>::first_chunk::<4>).ok_or(Misfit::NoNote)?;
    let stated = u32::from_le_bytes(*stated);
    if stated != 0 && stated != checksum(file, at) { Err(Misfit::Damaged) } else { Ok(()) }
}

/// Fills the checksum in; false if `file` is no resident image.
pub fn seal(file: &mut [u8]) -> bool {
    let Some(at) = find(file) else { return false };
    let sum = checksum(file, at).to_le_bytes();
    let field = file.get_mut(at.saturating_add(CRC)..).and_then(<[u8]>::first_chunk_mut::<4>);
    field.map(|field| *field = sum).is_some()
}

/// Where the note begins.
fn find(file: &[u8]) -> Option<usize> {
    let words = [10_u32, 16, 1].map(u32::to_le_bytes);
    let is_note = |part: &[u8]| {
        let (head, name) = part.split_at_checked(12).unwrap_or_default();
        name == Seal::THIS.name && head == words.as_flattened()
    };
    file.windows(HEAD).position(is_note)
}

/// CRC-32 as in ISO 3309 of `file` with the field of the note at `at` taken for 0; never 0.
fn checksum(file: &[u8], at: usize) -> u32 {
    let from = at.saturating_add(CRC);
    let field = from..from.saturating_add(4);
    let mut sum = u32::MAX;
    for (offset, byte) in file.iter().enumerate() {
        sum ^= if field.contains(&offset) { 0 } else { u32::from(*byte) };
        for _ in 0..8 {
            sum = sum >> 1 ^ if sum & 1 != 0 { 0xedb8_8320 } else { 0 };
        }
    }
    (!sum).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn file() -> Vec<u8> {
        let note = Seal::THIS;
        let words = [note.name_len, note.content_len, note.kind].map(u32::to_le_bytes);
        let mut file = std::vec![7; 100];
        file.extend(words.as_flattened());
        file.extend(note.name.into_iter().chain(note.magic).chain(note.crc).chain(note.padding));
        file.extend([9; 1000]);
        file
    }

    #[test]
    fn sealed_and_not() {
        let mut file = file();
        assert_eq!(check(&file), Ok(()));
        file[5] = 8;
        assert_eq!(check(&file), Ok(()), "nothing to compare with");
        assert!(seal(&mut file));
        assert_eq!(check(&file), Ok(()));
    }

    #[test]
    fn each_changed_bit_is_noticed() {
        let mut file = file();
        assert!(seal(&mut file));
        for at in (0..file.len()).filter(|at| !(100 + CRC..100 + CRC + 4).contains(at)) {
            file[at] ^= 0x10;
            let expected = match at {
                100..124 => Misfit::NoNote,
                124..132 => Misfit::Version,
                _ => Misfit::Damaged,
            };
            assert_eq!(check(&file), Err(expected), "byte {at}");
            file[at] ^= 0x10;
        }
        file.truncate(1000);
        assert_eq!(check(&file), Err(Misfit::Damaged));
        assert_eq!(check(&file[..130]), Err(Misfit::Version));
        assert_eq!(check(&[]), Err(Misfit::NoNote));
        assert!(!seal(&mut [0; 64]));
    }

    #[test]
    fn the_sum_is_the_usual_one() {
        assert_eq!(checksum(b"123456789", 100), 0xcbf4_3926);
    }
}
