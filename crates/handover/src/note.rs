//! A word from one life of the VMM to the next. A warm reset leaves the contents of memory alone on most PCs
//! (and under QEMU), and only what the firmware and the boot loader need of it is written before setup runs
//! again. So the dying VMM fills what it can of its hole with copies, and setup looks for one that came through.

/// Bytes of a note, and their alignment.
const LEN: usize = 32;
const MAGIC: u64 = 0x7f4c_4146_4f4f_4d52;

/// What is to be done after the reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// As if `wait` stood on the command line.
    pub wait: bool,
}

impl Note {
    /// The note as words of memory: all of them say what they are, so that no other contents are taken for it.
    #[must_use]
    pub const fn words(self) -> [u64; LEN / 8] {
        let what = self.wait as u64;
        [MAGIC, what, !what, MAGIC.rotate_left(17) ^ what]
    }

    /// The note in `memory`, if a whole copy is left. `memory` begins where the dead VMM's did.
    #[must_use]
    pub fn find(memory: &[u8]) -> Option<Self> {
        let known = [Note { wait: false }, Note { wait: true }];
        let is = |chunk: &&[u8], note: &Note| {
            let words = chunk.chunks_exact(8).zip(note.words());
            words.into_iter().all(|(bytes, word)| bytes == word.to_le_bytes())
        };
        memory
            .chunks_exact(LEN)
            .find_map(|chunk| known.iter().find(|note| is(&chunk, note)).copied())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn bytes(note: Note) -> Vec<u8> {
        note.words().iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn one_copy_in_a_lot_of_rubbish_is_enough() {
        for wait in [false, true] {
            let note = Note { wait };
            let mut memory: Vec<u8> = (0..0x4000_u32).map(|n| (n * 7) as u8).collect();
            memory[0x3fc0..0x3fe0].copy_from_slice(&bytes(note));
            assert_eq!(Note::find(&memory), Some(note));
        }
    }

    #[test]
    fn a_damaged_copy_is_none() {
        let whole = bytes(Note { wait: true });
        for bit in 0..LEN * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Note::find(&damaged), None, "bit {bit}");
        }
        assert_eq!(Note::find(&whole[1..]), None);
        assert_eq!(Note::find(&[0; 4096]), None);
        assert_eq!(Note::find(&[]), None);
    }
}
