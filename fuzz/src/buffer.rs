//! The stub keeps its buffers for ever; a fuzzer makes millions of stubs.
#![expect(unsafe_code, reason = "memory that is lent as 'static has to be given back")]

use stub::PACKET;

/// A buffer of one packet, given back when this is dropped: after the stub that has it.
pub(crate) struct Buffer(*mut [u8; PACKET]);

impl Buffer {
    pub(crate) fn new() -> Self {
        Self(Box::into_raw(Box::new([0; PACKET])))
    }

    /// The buffer, for one stub.
    pub(crate) fn lend(&mut self) -> &'static mut [u8; PACKET] {
        // SAFETY: it lives until this is dropped, and a session lends it once and drops its stub first.
        unsafe { &mut *self.0 }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: it came from a box, and who borrowed it is gone.
        drop(unsafe { Box::from_raw(self.0) });
    }
}
