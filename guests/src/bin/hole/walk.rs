//! Page walks through the hole, and the hole from other modes.

use crate::{BUFFER, DIRECTORY, Hole, Page, TABLE};
use guests::cpu::Racy;
use guests::exception::{self, Frame, PF};
use guests::report::{fact, info};
use guests::{cpu, cpu_asm, low, start};

guests::labels!(hole_unreal, hole_paging32);

/// A table in the hole is full of entries with every reserved bit set: #PF, present and reserved
/// (AMD APM 2, 8.4.2).
pub(crate) fn long(hole: Hole) {
    const TERABYTE_HALF: u64 = 1 << 39;
    const RSVD: u64 = 8;
    // A reserved bit is a fault of a present page; TCG (7.2) leaves P clear, so P is not judged.
    const P: u64 = 1;
    let flush = || cpu::set_cr3(cpu::cr3());
    let slot = start::boot_pml4() + 8;
    let read = || {
        exception::catch(|| _ = cpu::read64(TERABYTE_HALF + 0x1000))
            .map(|f| (f.vector, f.error & !P, f.cr2))
    };
    let expected = Some((PF, RSVD, TERABYTE_HALF + 0x1000));

    cpu::write64(slot, hole.base | 7);
    flush();
    fact("hole.walk-pdpt", read(), expected);
    let write =
        exception::catch(|| cpu::write64(TERABYTE_HALF, 1)).map(|f| (f.vector, f.error & !P));
    fact("hole.walk-pdpt-write", write, Some((PF, RSVD | 2)));

    let (pdpt, pd) = (BUFFER.address(), DIRECTORY.address());
    BUFFER.set(Page([0; 512]));
    DIRECTORY.set(Page([0; 512]));
    cpu::write64(pdpt, (hole.base + 0x1000) | 7);
    cpu::write64(slot, pdpt | 7);
    flush();
    fact("hole.walk-pd", read(), expected);
    cpu::write64(pdpt, pd | 7);
    cpu::write64(pd, (hole.base + 0x2000) | 7);
    flush();
    fact("hole.walk-pt", read(), expected);

    // A page that maps the hole by another address, accessed and dirty bits set by the CPU.
    cpu::write64(pd, hole.base | 0x87);
    flush();
    cpu::write64(TERABYTE_HALF + 0x1000, 1);
    fact("hole.alias", cpu::read64(TERABYTE_HALF + 0x1000), u64::MAX);
    fact("hole.alias-dirty", cpu::read64(pd) & 0x60, 0x60);
    // The same by small pages, of which the last two are the hole's.
    TABLE.set(Page([0; 512]));
    for n in 510..512 {
        cpu::write64(TABLE.address() + 8 * n, (hole.base + 0x1000 * (n - 507)) | 7);
    }
    cpu::write64(pd, TABLE.address() | 7);
    flush();
    ends(TERABYTE_HALF + (2 << 20));
    cpu::write64(slot, 0);
    flush();
}

/// The mapping of the hole ends at `end`: a copy faults there, on the first element that reads or writes behind it, and the
/// registers say so.
fn ends(end: u64) {
    static FAULTED: Racy<(u64, u64, u64, u64)> = Racy::new((0, 0, 0, 0));
    fn note(frame: &mut Frame) {
        FAULTED.set((frame.error, frame.rcx, frame.rsi, frame.rdi));
        // Behind the REP MOVSQ.
        frame.rip += 3;
    }
    let inside = end - 0x1800;
    for (name, from, to, error) in [("read", end - 64, inside, 0), ("write", inside, end - 64, 2)] {
        FAULTED.set((0, 0, 0, 0));
        exception::hook(PF, Some(note));
        cpu_asm!("rep movsq", inout("rsi") from => _, inout("rdi") to => _, inout("rcx") 600_u64 => _,
            options(nostack));
        exception::hook(PF, None);
        let faulted = FAULTED.get();
        fact(format_args!("hole.copy-{name}"), faulted == (error, 592, from + 64, to + 64), true);
    }
}

/// Real mode with 4 GiB segments.
pub(crate) fn unreal(hole: Hole) {
    low::set_arg(0, hole.base as u32 + 0xd000);
    low::set_arg(1, BUFFER.address() as u32);
    low::real(hole_unreal());
    let names =
        ["read", "write32", "write8", "movsb-out", "movsb-out-end", "movsd-in", "lock-inc", "end"];
    for (n, name) in names.into_iter().enumerate() {
        let expected = if name == "lock-inc" { 1 } else { u32::MAX };
        fact(format_args!("hole.unreal-{name}"), low::result(n as u64), expected);
    }
}

/// 32-bit paging with 4 MiB pages. An entry of FFFF_FFFFh has no reserved bit there: a page table in
/// the hole maps everything to the last page below 4 GiB.
pub(crate) fn paging32(hole: Hole) {
    let pd = DIRECTORY.address();
    for n in 0..1024 {
        cpu::write32(pd + 4 * n, (n as u32) << 22 | 0x87);
    }
    const THROUGH: u32 = 0x8000_0000;
    cpu::write32(pd + 4 * u64::from(THROUGH >> 22), hole.base as u32 | 7);
    low::set_arg(0, hole.base as u32 + 0xe000);
    low::set_arg(1, THROUGH);
    low::set_arg(2, pd as u32);
    low::protected(hole_paging32());
    fact("hole.paging32-read", low::result(0), u32::MAX);
    fact("hole.paging32-write", low::result(1), u32::MAX);
    fact("hole.paging32-walk", low::result(2), low::result(3));
    info(format_args!("hole.paging32-walk {:x}", low::result(2)));
}
