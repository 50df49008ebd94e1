//! Little-endian fields of byte slices, checksums, and writes that are looked at afterwards.
use crate::{Error, Phys, PhysMut};

pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// A 16-bit field of physical memory.
pub(crate) fn mem_u16<P: Phys + ?Sized>(mem: &P, at: u64) -> Option<u16> {
    u16_at(mem.bytes(at, 2)?, 0)
}

/// The sum of all bytes; firmware tables are built so that theirs is 0.
pub(crate) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Writes what differs and reads it back: firmware likes to keep its tables in write-protected
/// shadow RAM, where a store vanishes without a fault.
pub(crate) fn patch<P: PhysMut + ?Sized>(mem: &mut P, at: u64, new: &[u8]) -> Result<(), Error> {
    let old = mem.bytes(at, new.len()).ok_or(Error::Unreadable { at })?;
    if old == new || (mem.write(at, new) && mem.bytes(at, new.len()) == Some(new)) {
        Ok(())
    } else {
        Err(Error::ReadOnly { at })
    }
}

/// Sets the checksum byte at `offset` so that all `len` bytes at `at` sum to 0.
pub(crate) fn fix_checksum<P: PhysMut + ?Sized>(
    mem: &mut P,
    at: u64,
    len: usize,
    offset: usize,
) -> Result<(), Error> {
    let bytes = mem.bytes(at, len).ok_or(Error::Unreadable { at })?;
    let old = bytes.get(offset).copied().unwrap_or(0);
    let new = old.wrapping_sub(sum(bytes));
    patch(mem, at.wrapping_add(offset as u64), &[new])
}
