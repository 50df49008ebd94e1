//! The stores that systems write device registers with: MOV of 32 bits to memory (APM 3, MOV; 1.4 for what follows an opcode).
//! Where they go the CPU says.
use crate::{CodeSize, MAX_LEN, Prefixes};

/// Where the value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The general register with this encoding.
    Register(u8),
    /// The instruction.
    Immediate(u32),
}

/// A store of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// What is stored.
    pub source: Source,
    /// Bytes of the instruction, prefixes included.
    pub len: u8,
}

/// Recognise the store that `bytes` begin with; `None` for everything else.
#[must_use]
pub fn store(bytes: &[u8], code: CodeSize) -> Option<Store> {
    let mut rest = bytes.get(..MAX_LEN.min(bytes.len()))?.iter().copied();
    let (opcode, prefixes) = Prefixes::take(&mut rest, code)?;
    if prefixes.operand_size(code) != 4 {
        return None;
    }
    let address_size = prefixes.address_size(code);
    let source = match opcode {
        0x89 => {
            let register = memory(&mut rest, address_size)?;
            Source::Register(register | (prefixes.rex & 4) << 1)
        }
        // The other members of the group are none.
        0xc7 if memory(&mut rest, address_size)? == 0 => {
            let immediate = [rest.next()?, rest.next()?, rest.next()?, rest.next()?];
            Source::Immediate(u32::from_le_bytes(immediate))
        }
        0xa3 => {
            pass(&mut rest, address_size)?;
            Source::Register(0)
        }
        _ => return None,
    };
    let used = bytes.len().min(MAX_LEN).checked_sub(rest.len())?;
    Some(Store { source, len: u8::try_from(used).ok()? })
}

fn pass(rest: &mut impl Iterator<Item = u8>, count: u8) -> Option<()> {
    (0..count).try_for_each(|_| rest.next().map(drop))
}

/// Passes over ModRM, SIB and displacement of an operand in memory; gives ModRM's register field.
fn memory(rest: &mut impl Iterator<Item = u8>, address_size: u8) -> Option<u8> {
    let modrm = rest.next()?;
    let (mode, low) = (modrm >> 6, modrm & 7);
    let displacement = match (address_size, mode) {
        (_, 3) => return None,
        (_, 1) if address_size == 2 || low != 4 => 1,
        (2, 0) if low != 6 => 0,
        (2, _) => 2,
        _ => {
            let sib = if low == 4 { Some(rest.next()?) } else { None };
            // No base: 32 bits in its place; so is what is relative to RIP.
            let bare = sib.map_or(low, |sib| sib & 7) == 5;
            match mode {
                0 if bare => 4,
                0 => 0,
                1 => 1,
                _ => 4,
            }
        }
    };
    pass(rest, displacement)?;
    Some(modrm >> 3 & 7)
}
