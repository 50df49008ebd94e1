//! The machine's memory, mapped at its own address.

use core::ptr;
use core::slice;

use firmware::{Phys, PhysMut};
use handover::Span;

use crate::layout::FOUR_GIB;

/// The first 4 GiB of physical memory without what is the loader's own. Neither of its borrows
/// reaches an object of the loader, so that Rust's rules hold inside the loader's memory, and
/// those of this type hold everywhere else.
pub struct Identity {
    own: Span,
    module: Span,
    changed: bool,
}

impl Identity {
    /// # Safety
    /// For the rest of the program: addresses below 4 GiB are mapped to themselves, writable;
    /// `own` holds everything the program itself lies in (code, data, stack); nobody but
    /// this value, of which there is one, touches other memory.
    #[must_use]
    pub unsafe fn new(own: Span) -> Self {
        Self { own, module: Span::default(), changed: false }
    }

    /// The bytes of the boot module at `span`, which are never written from now on. `None` if it
    /// is outside the memory reached here or a module was taken before.
    pub fn take_module(&mut self, span: Span) -> Option<&'static [u8]> {
        if self.module.len != 0 || !self.reaches(span.base, span.len) {
            return None;
        }
        self.module = span;
        let len = usize::try_from(span.len).ok()?;
        // SAFETY: mapped and outside the program's own objects (`new`, `reaches`); never written
        // again, for `bytes_mut` refuses `self.module` and it is set once.
        Some(unsafe {
            slice::from_raw_parts(ptr::with_exposed_provenance(span.base as usize), len)
        })
    }

    /// Whether a byte of what the firmware or the guest looks at is another than before. The hole,
    /// free memory until the VMM runs, does not count.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// What the VMM must not be placed on while setup runs.
    pub(crate) fn occupied(&self) -> [Span; 2] {
        [self.own, self.module]
    }

    /// Memory to be written. `None` where [`Phys::bytes`] gives none, and on the module.
    pub(crate) fn bytes_mut(&mut self, at: u64, len: usize) -> Option<&mut [u8]> {
        if !self.reaches(at, len as u64) || self.module.overlaps(at, len as u64) {
            return None;
        }
        // SAFETY: mapped, writable and outside the program's own objects (`new`, `reaches`) and
        // the module lent by `take_module`; the borrow of `self` keeps every other slice away.
        Some(unsafe {
            slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(at as usize), len)
        })
    }

    /// Address 0 is left out: no slice may begin there.
    fn reaches(&self, at: u64, len: u64) -> bool {
        at != 0
            && at.checked_add(len).is_some_and(|end| end <= FOUR_GIB)
            && !self.own.overlaps(at, len)
    }
}

impl Phys for Identity {
    fn bytes(&self, at: u64, len: usize) -> Option<&[u8]> {
        if !self.reaches(at, len as u64) {
            return None;
        }
        // SAFETY: mapped and outside the program's own objects (`new`, `reaches`); the borrow of
        // `self` keeps `bytes_mut` away.
        Some(unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(at as usize), len) })
    }
}

impl PhysMut for Identity {
    /// False also if the memory does not take the bytes: firmware tables may lie in write-protected
    /// shadow RAM.
    fn write(&mut self, at: u64, bytes: &[u8]) -> bool {
        let Some(memory) = self.bytes_mut(at, bytes.len()) else { return false };
        let (mut stuck, mut changed) = (true, false);
        for (slot, byte) in memory.iter_mut().zip(bytes) {
            let before = *slot;
            // SAFETY: one byte that `slot` borrows. Volatile, for only the hardware knows
            // whether what was written can be read back.
            let after = unsafe {
                ptr::write_volatile(slot, *byte);
                ptr::read_volatile(slot)
            };
            stuck &= after == *byte;
            changed |= after != before;
        }
        self.changed |= changed;
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_program_or_the_module_is_lent() {
        const OWN: Span = Span { base: 0x20_0000, len: 0x3_0000 };
        // SAFETY: only ranges are asked for that are refused, so no memory is reached.
        let mut memory = unsafe { Identity::new(OWN) };
        let refused = [
            (0, 1),
            (OWN.base, 1),
            (OWN.end() - 1, 2),
            (OWN.base - 1, 2),
            (OWN.base - 0x1000, 0x10_0000),
            (FOUR_GIB - 1, 2),
            (u64::MAX, 2),
        ];
        for (at, len) in refused {
            assert!(memory.bytes(at, len).is_none(), "{at:#x}");
            assert!(memory.bytes_mut(at, len).is_none(), "{at:#x}");
            assert!(memory.take_module(Span { base: at, len: len as u64 }).is_none());
        }
        memory.module = Span { base: 0x30_0000, len: 0x1000 };
        assert!(memory.bytes_mut(0x2f_f000, 0x1001).is_none());
        assert!(memory.take_module(Span { base: 0x40_0000, len: 0x1000 }).is_none());
    }
}
