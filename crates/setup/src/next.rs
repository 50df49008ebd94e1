//! 16-bit code that starts a disk as disk 80h: in the low page for the guest, and for a loader that
//! starts no VMM.

use core::arch::global_asm;
use core::ptr;
use core::slice;

use firmware::options::{BootFrom, next_disk};
use handover::NO_DISK;

/// Offset of the entry in real mode: see the source.
pub const ENTRY: u16 = 0;
/// Offset of the entry in 16-bit protected mode.
pub const PROTECTED: u16 = 4;
/// Offset of its data.
const DATA: usize = 8;

global_asm!(
    include_str!("next.S"),
    ENTRY = const ENTRY,
    PROTECTED = const PROTECTED,
    OLD = const DATA,
    DIFFER = const DATA + 4,
    HOOKED = const DATA + 5,
    ASKED = const DATA + 6,
    UART = const DATA + 8,
    VECTORS = const DATA + 10,
    NO_DISK = const NO_DISK,
    options(att_syntax)
);

/// The code, position-independent but for its segment, in which it lies at offset 0.
#[must_use]
pub fn code() -> &'static [u8] {
    unsafe extern "C" {
        static next_begin: u8;
        static next_end: u8;
    }
    let (begin, end) = (ptr::addr_of!(next_begin), ptr::addr_of!(next_end));
    // SAFETY: the two labels enclose read-only bytes of this program, assembled as one piece.
    unsafe { slice::from_raw_parts(begin, end.addr() - begin.addr()) }
}

/// The disk that `boot` names, for a machine that was started from `drive`; `None` where the firmware's
/// boot order decides.
#[must_use]
pub fn disk(boot: BootFrom, drive: Option<u8>) -> Option<u8> {
    match boot {
        BootFrom::Int19 => None,
        BootFrom::Next => Some(next_disk(drive)),
        BootFrom::Disk(disk) => Some(disk),
    }
}
