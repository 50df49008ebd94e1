//! Tables of 64-bit entries: long mode and PAE (`AMD APM 2, 5.2.3` and `5.3`).

use super::{PhysRead, WalkError};
use crate::entry::{ADDR, LARGE, NX, PRESENT, slot, span};

/// A leaf, and what all entries on the way to it agree upon.
pub(super) struct Leaf {
    pub(super) gpa: u64,
    pub(super) page_size: u64,
    /// The AND of all entries with NX inverted: a bit is set where every level grants the right.
    pub(super) rights: u64,
}

/// Walks `levels` levels, 2 to 5, down from the table at `root`.
///
/// This is on a hot exit. Written without a loop, and inlined with constant `levels`, every shift
/// and mask is a constant, and what the caller does not use of the result costs nothing.
#[inline(always)]
pub(super) fn walk<M: PhysRead + ?Sized>(
    mem: &M,
    linear: u64,
    root: u64,
    levels: u8,
    check: impl Fn(u64, u8) -> Result<(), WalkError>,
) -> Result<Leaf, WalkError> {
    let mut step = Step { entry: root, rights: u64::MAX };
    // PS is a reserved bit above level 3: it never makes a leaf there.
    if levels >= 5 {
        step = down(mem, linear, step, 5, &check)?;
    }
    if levels >= 4 {
        step = down(mem, linear, step, 4, &check)?;
    }
    if levels >= 3 {
        step = down(mem, linear, step, 3, &check)?;
        if step.entry & LARGE != 0 {
            return Ok(leaf(linear, step, 3));
        }
    }
    step = down(mem, linear, step, 2, &check)?;
    if step.entry & LARGE != 0 {
        return Ok(leaf(linear, step, 2));
    }
    step = down(mem, linear, step, 1, &check)?;
    Ok(leaf(linear, step, 1))
}

/// An entry, and the rights of all entries so far.
#[derive(Clone, Copy)]
struct Step {
    entry: u64,
    rights: u64,
}

/// One level down: the present entry for `linear` in the table `above` leads to.
#[inline(always)]
fn down<M: PhysRead + ?Sized>(
    mem: &M,
    linear: u64,
    above: Step,
    level: u8,
    check: &impl Fn(u64, u8) -> Result<(), WalkError>,
) -> Result<Step, WalkError> {
    let gpa = slot(above.entry & ADDR, linear, level);
    let entry = mem.read_u64(gpa).ok_or(WalkError::NotRam { gpa })?;
    if entry & PRESENT == 0 {
        return Err(WalkError::NotPresent { level });
    }
    check(entry, level)?;
    Ok(Step { entry, rights: above.rights & (entry ^ NX) })
}

#[inline(always)]
const fn leaf(linear: u64, Step { entry, rights }: Step, level: u8) -> Leaf {
    let page_size = span(level);
    let offset = page_size.wrapping_sub(1);
    Leaf { gpa: (entry & ADDR & !offset) | (linear & offset), page_size, rights }
}

/// Walks PAE tables: four entries at CR3 bits 31:5, which hold no rights, then two levels as in
/// long mode.
pub(super) fn walk_pae<M: PhysRead + ?Sized>(
    mem: &M,
    linear: u64,
    cr3: u64,
    check: impl Fn(u64, u8) -> Result<(), WalkError>,
) -> Result<Leaf, WalkError> {
    let gpa = (cr3 & 0xFFFF_FFE0) | ((linear >> 27) & 0x18);
    let pdpte = mem.read_u64(gpa).ok_or(WalkError::NotRam { gpa })?;
    if pdpte & PRESENT == 0 {
        return Err(WalkError::NotPresent { level: 3 });
    }
    check(pdpte, 3)?;
    walk(mem, linear, pdpte, 2, check)
}

/// The bits that must be zero in `entry` of `level`.
pub(super) const fn reserved(entry: u64, level: u8, pae: bool, nxe: bool) -> u64 {
    /// Software may use them in long mode, not in PAE.
    const BITS_62_52: u64 = 0x7FF << 52;
    let nx = if nxe { 0 } else { NX };
    if pae && level == 3 {
        // A PDPTE knows but P, PWT, PCD and software's bits 11:9.
        return NX | BITS_62_52 | 0x1E6;
    }
    let high = if pae { nx | BITS_62_52 } else { nx };
    let low = match level {
        1 => 0,
        // From bit 13: bit 12 is PAT.
        2 | 3 if entry & LARGE != 0 => span(level).wrapping_sub(1) & !0x1FFF,
        2 | 3 => 0,
        _ => LARGE,
    };
    high | low
}
