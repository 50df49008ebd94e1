//! The hole's free memory, handed out once at the start. Nothing is allocated later.
use core::mem::{align_of, size_of};
use handover::{HandOver, Span, VMM_BASE};

/// What is left of the free memory.
pub(crate) struct Carve {
    next: u64,
    end: u64,
    hole: Span,
}

/// There is less free memory than the image needs: setup and resident are of different sources.
#[derive(Debug)]
pub(crate) struct Exhausted;

impl Carve {
    /// # Safety
    /// `handover.free` is mapped, zeroed and used by nothing else; this is called once.
    pub(crate) unsafe fn new(handover: &HandOver) -> Self {
        let Span { base, .. } = handover.free;
        Self { next: base, end: handover.free.end(), hole: handover.hole }
    }

    /// `len` zeroed bytes at a multiple of `align`: their physical address.
    pub(crate) fn bytes(&mut self, len: u64, align: u64) -> Result<u64, Exhausted> {
        let at = self.next.checked_next_multiple_of(align).ok_or(Exhausted)?;
        let next = at.checked_add(len).filter(|next| *next <= self.end).ok_or(Exhausted)?;
        self.next = next;
        Ok(at)
    }

    /// `len` bytes, whole pages, to be handed out apart.
    pub(crate) fn part(&mut self, len: u64) -> Result<Self, Exhausted> {
        let next = self.bytes(len, 4096)?;
        Ok(Self { next, end: next.saturating_add(len), hole: self.hole })
    }

    /// Room for a `T`, initialised with `value`.
    pub(crate) fn put<T>(&mut self, value: T) -> Result<&'static mut T, Exhausted> {
        let place = self.place::<T>()?;
        // SAFETY: the bytes are mapped, aligned, of the right size, and nobody else's.
        unsafe {
            place.write(value);
            Ok(&mut *place)
        }
    }

    /// Room for a `T`, zeroed and aligned, nobody else's.
    pub(crate) fn place<T>(&mut self) -> Result<*mut T, Exhausted> {
        let hpa = self.bytes(size_of::<T>() as u64, align_of::<T>() as u64)?;
        Ok(self.pointer(hpa).cast())
    }

    /// Zeroed memory of a type for which zeroes are a value.
    ///
    /// # Safety
    /// All-zero bytes are a valid `T`.
    pub(crate) unsafe fn zeroed<T>(&mut self) -> Result<(&'static mut T, u64), Exhausted> {
        let hpa = self.bytes(size_of::<T>() as u64, align_of::<T>().max(4096) as u64)?;
        // SAFETY: as in `put`; the zeroes are a value by contract.
        Ok((unsafe { &mut *self.pointer(hpa).cast::<T>() }, hpa))
    }

    /// Where the VMM sees a physical address of the hole.
    pub(crate) fn pointer(&self, hpa: u64) -> *mut u8 {
        VMM_BASE.wrapping_add(hpa.wrapping_sub(self.hole.base)) as *mut u8
    }
}
