//! Two levels of 32-bit entries, with PSE and PSE-36 (`AMD APM 2, 5.2.2`).

use super::{PhysRead, Translation, WalkError};
use crate::entry::{LARGE, PRESENT, USER, WRITE};

pub(super) fn walk<M: PhysRead + ?Sized>(
    mem: &M,
    linear: u64,
    cr3: u64,
    pse: bool,
    check: impl Fn(u64, u8) -> Result<(), WalkError>,
) -> Result<Translation, WalkError> {
    let pde = entry(mem, cr3, linear >> 22, 2, &check)?;
    if pse && pde & LARGE != 0 {
        // PSE-36: bits 20:13 are the address's bits 39:32.
        let base = (pde & 0xFFC0_0000) | ((pde & 0x1F_E000) << 19);
        return Ok(page(base, 1 << 22, linear, pde));
    }
    let pte = entry(mem, pde, linear >> 12, 1, &check)?;
    Ok(page(pte & 0xFFFF_F000, 1 << 12, linear, pde & pte))
}

fn entry<M: PhysRead + ?Sized>(
    mem: &M,
    table: u64,
    index: u64,
    level: u8,
    check: &impl Fn(u64, u8) -> Result<(), WalkError>,
) -> Result<u64, WalkError> {
    let gpa = (table & 0xFFFF_F000) | ((index & 0x3FF) << 2);
    let entry = u64::from(mem.read_u32(gpa).ok_or(WalkError::NotRam { gpa })?);
    if entry & PRESENT == 0 {
        return Err(WalkError::NotPresent { level });
    }
    check(entry, level)?;
    Ok(entry)
}

const fn page(base: u64, page_size: u64, linear: u64, rights: u64) -> Translation {
    Translation {
        gpa: base | (linear & page_size.wrapping_sub(1)),
        page_size,
        writable: rights & WRITE != 0,
        user: rights & USER != 0,
        executable: true,
    }
}

/// The bits that must be zero in `entry` of `level`: bit 21 of a 4 MiB leaf.
pub(super) const fn reserved(entry: u64, level: u8, pse: bool) -> u64 {
    if level == 2 && pse && entry & LARGE != 0 { 1 << 21 } else { 0 }
}
