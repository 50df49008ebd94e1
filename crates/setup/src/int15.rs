//! The page of conventional memory the guest begins in: `int 0x19`, an `int 15h` handler that tells the
//! memory map without the VMM's hole, the code that starts a disk as disk 80h.

use core::arch::global_asm;
use core::ptr;
use core::slice;

use firmware::e820::{MAX_ENTRIES, Map};

use crate::layout::PAGE;
use crate::next;

/// Offset of the firmware's vector: offset, then segment.
const OLD: usize = 0;
/// Offset of AX and BX as E801h returns them.
const E801: usize = 4;
/// Offset of AX as 88h returns it.
const EXT88: usize = 8;
/// Offset of the number of E820h entries, 32 bits.
const COUNT: usize = 12;
/// Offset of the first instruction of the guest.
pub(crate) const START: u16 = 16;
/// Offset of the `int 15h` handler.
pub(crate) const HANDLER: u16 = 24;
/// Offset of the E820h entries; the handler ends before.
const TABLE: usize = 256;

/// Offset of the code that starts a disk ([`crate::next`]), a multiple of 16.
pub(crate) const NEXT: u16 = (TABLE + 24 * MAX_ENTRIES) as u16;

const _: () = assert!(NEXT.is_multiple_of(16) && (NEXT as usize) < PAGE as usize);

global_asm!(
    include_str!("int15.S"),
    OLD = const OLD,
    E801 = const E801,
    EXT88 = const EXT88,
    COUNT = const COUNT,
    START = const START,
    HANDLER = const HANDLER,
    TABLE = const TABLE,
    options(att_syntax)
);

/// The page's code, with room for the data before it.
fn code() -> &'static [u8] {
    unsafe extern "C" {
        static int15_begin: u8;
        static int15_end: u8;
    }
    let (begin, end) = (ptr::addr_of!(int15_begin), ptr::addr_of!(int15_end));
    // SAFETY: the two labels enclose read-only bytes of this program, assembled as one piece.
    unsafe { slice::from_raw_parts(begin, end.addr() - begin.addr()) }
}

/// The page's contents. `old` is the firmware's vector (offset, segment) that other services go to.
pub(crate) fn page(map: &Map, old: [u8; 4]) -> [u8; PAGE as usize] {
    let mut page = [0; PAGE as usize];
    let entries = map.entries();
    let (ax, bx) = map.e801();
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, code());
    put(NEXT.into(), next::code());
    put(OLD, &old);
    put(E801, &ax.to_le_bytes());
    put(E801 + 2, &bx.to_le_bytes());
    put(EXT88, &map.ext88().to_le_bytes());
    put(COUNT, &(entries.len() as u32).to_le_bytes());
    for (index, entry) in entries.iter().enumerate() {
        put(TABLE + 24 * index, &entry.to_bytes());
    }
    page
}
