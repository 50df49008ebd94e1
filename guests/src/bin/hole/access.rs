//! Single instructions on the hole and across its borders.

use crate::{BUFFER, Hole};
use guests::cpu::{self, Racy};
use guests::exception::{self, Frame};
use guests::{cpu_asm, report};
use report::{fact, holds};

/// 8, 16, 32 and 64 bits, aligned, unaligned, across a page border.
pub(crate) fn moves(hole: Hole) {
    for offset in [0, 3, 0xffd, 0x1000, hole.size / 2 + 1, hole.size - 8] {
        let at = hole.base + offset;
        cpu::write8(at, 0x12);
        cpu::write16(at, 0x1234);
        cpu::write32(at, 0x1234_5678);
        cpu::write64(at, 0x1234_5678_9abc_def0);
        fact(format_args!("hole.move8+{offset:x}"), cpu::read8(at), 0xff);
        fact(format_args!("hole.move16+{offset:x}"), cpu::read16(at), 0xffff);
        fact(format_args!("hole.move32+{offset:x}"), cpu::read32(at), u32::MAX);
        fact(format_args!("hole.move64+{offset:x}"), cpu::read64(at), u64::MAX);
    }
    let (extended, immediate): (u64, u64);
    cpu_asm!("movzx {e}, byte ptr [{b}]", "mov dword ptr [{b}], 0x11223344", "movsxd {i}, dword ptr [{b}]",
        b = in(reg) hole.base, e = out(reg) extended, i = out(reg) immediate, options(nostack));
    fact("hole.movzx", extended, 0xff);
    fact("hole.movsxd", immediate, u64::MAX);
}

const PATTERN: u64 = 0x1122_3344_5566_7788;

/// An access half in RAM: RAM's half is read and written, and its neighbours stay.
pub(crate) fn borders(hole: Hole) {
    let below = hole.base - 8;
    cpu::write64(below, PATTERN);
    cpu::write64(below - 8, PATTERN);
    fact("hole.border-read", cpu::read64(hole.base - 4), 0xffff_ffff_1122_3344);
    cpu::write64(hole.base - 4, 0xaaaa_bbbb_cccc_dddd);
    fact("hole.border-write", cpu::read64(below), 0xcccc_dddd_5566_7788);
    fact("hole.border-neighbour", cpu::read64(below - 8), PATTERN);
    fact("hole.border-vanished", cpu::read64(hole.base), u64::MAX);
    cpu::write8(hole.base - 1, 0x5a);
    fact("hole.last-byte-below", cpu::read8(hole.base - 1), 0x5a);
    if hole.ram_above {
        let end = hole.end();
        cpu::write64(end, PATTERN);
        fact("hole.top-border-read", cpu::read64(end - 4), 0x5566_7788_ffff_ffff);
        cpu::write64(end - 4, 0xaaaa_bbbb_cccc_dddd);
        fact("hole.top-border-write", cpu::read64(end), 0x1122_3344_aaaa_bbbb);
        fact("hole.top-border-vanished", cpu::read32(end - 4), u32::MAX);
    }
}

/// Read-modify-write, locked or not: reads FFh, the result shows in flags and registers only.
pub(crate) fn locked(hole: Hole) {
    let b = hole.base + 0x2000;
    let (mut taken, mut flags): (u64, u64);
    cpu_asm!("xchg [{b}], {t}", b = in(reg) b, t = inout(reg) 5_u64 => taken, options(nostack));
    fact("hole.xchg", taken, u64::MAX);
    cpu_asm!("lock add qword ptr [{b}], 1", "pushfq", "pop {f}", b = in(reg) b, f = out(reg) flags);
    fact("hole.lock-add-flags", flags & 0x41, 0x41); // 0 with a carry
    cpu_asm!("inc byte ptr [{b}]", "pushfq", "pop {f}", b = in(reg) b, f = out(reg) flags);
    fact("hole.inc-zero", flags & 0x40, 0x40);
    cpu_asm!("lock cmpxchg [{b}], {n}", "pushfq", "pop {f}", b = in(reg) b, n = in(reg) 7_u64,
        inout("rax") u64::MAX => taken, f = out(reg) flags);
    fact("hole.cmpxchg-equal", (taken, flags & 0x40), (u64::MAX, 0x40));
    cpu_asm!("lock cmpxchg [{b}], {n}", "pushfq", "pop {f}", b = in(reg) b, n = in(reg) 7_u64,
        inout("rax") 0_u64 => taken, f = out(reg) flags);
    fact("hole.cmpxchg-different", (taken, flags & 0x40), (u64::MAX, 0));
    cpu_asm!("lock xadd [{b}], {t}", b = in(reg) b, t = inout(reg) 9_u64 => taken, options(nostack));
    fact("hole.xadd", taken, u64::MAX);
    cpu_asm!("lock btr qword ptr [{b}], 5", "sbb {t}, {t}", b = in(reg) b, t = out(reg) taken,
        options(nostack));
    fact("hole.btr", taken, u64::MAX);
    cpu_asm!("or dword ptr [{b}], 1", "and dword ptr [{b}], 0", "not dword ptr [{b}]",
        "xor byte ptr [{b}], 0x55", b = in(reg) b, options(nostack));
    if cpu::has(1, 2, 13) {
        let high: u64;
        // Not in a register of the compiler's choice: RBX is one of them.
        cpu_asm!("mov r8, rbx", "xor ebx, ebx", "lock cmpxchg16b [rsi]", "mov rbx, r8",
            out("r8") _, in("rsi") b, inout("rax") 0_u64 => taken, inout("rdx") 0_u64 => high,
            in("rcx") 3_u64, options(nostack));
        fact("hole.cmpxchg16b", (taken, high), (u64::MAX, u64::MAX));
    }
    fact("hole.locked-vanished", cpu::read64(b), u64::MAX);
}

/// 128-bit loads and stores, aligned, unaligned, past the caches.
pub(crate) fn sse(hole: Hole) {
    const OSFXSR: u64 = 1 << 9;
    const EM_TS: u64 = 1 << 2 | 1 << 3;
    cpu::set_cr0(cpu::cr0() & !EM_TS);
    cpu::set_cr4(cpu::cr4() | OSFXSR);
    let (buffer, b) = (BUFFER.address(), hole.base + 0x3000);
    let cleared = || (0..4).for_each(|n| cpu::write64(buffer + 8 * n, 0x77));
    let got = || [cpu::read64(buffer), cpu::read64(buffer + 8)];
    macro_rules! pair {
        ($name:literal, $store:literal, $load:literal, $out:literal, $at:expr) => {
            cleared();
            // The compiler uses no vector register on this target.
            cpu_asm!(
                concat!("movups xmm1, [{m}]"), concat!($store, " [{h}], xmm1"),
                concat!($load, " xmm0, [{h}]"), concat!($out, " [{m}], xmm0"),
                m = in(reg) buffer, h = in(reg) $at, options(nostack));
            fact($name, got(), [u64::MAX; 2]);
        };
    }
    pair!("hole.movups", "movups", "movups", "movups", b + 0xff9);
    pair!("hole.movaps", "movaps", "movaps", "movaps", b);
    pair!("hole.movdqu", "movdqu", "movdqu", "movdqu", b + 1);
    pair!("hole.movntdq", "movntdq", "movdqa", "movdqa", b);
    pair!("hole.movlps", "movlps", "movups", "movups", b);
    cleared();
    cpu_asm!("movups xmm0, [{m}]", "orps xmm0, [{h}]", "movups [{m}], xmm0", "movnti [{h}], {h}",
        m = in(reg) buffer, h = in(reg) b, options(nostack));
    fact("hole.orps", got(), [u64::MAX; 2]);
    cpu::write64(hole.base - 8, PATTERN);
    cpu_asm!("movups xmm0, [{h}]", "movups [{m}], xmm0", m = in(reg) buffer, h = in(reg) hole.base - 8,
        options(nostack));
    fact("hole.movups-border", got(), [PATTERN, u64::MAX]);
    cleared();
    cpu_asm!("movups xmm0, [{m}]", "movups [{h}], xmm0", m = in(reg) buffer,
        h = in(reg) hole.base - 8, options(nostack));
    fact("hole.movups-border-write", cpu::read64(hole.base - 8), 0x77);
    cpu_asm!("fninit", "fld1", "fstp qword ptr [{h}]", "fxsave [{h}]", "fnsave [{h}]", "fninit",
        h = in(reg) b, options(nostack));
    fact("hole.x87-vanished", cpu::read64(b), u64::MAX);
}

/// A stack in the hole: what is pushed is FFh when popped.
pub(crate) fn stack(hole: Hole) {
    let top = hole.base + 0x5000;
    let (popped, returned, flags): (u64, u64, u64);
    cpu_asm!("mov r8, rsp", "mov rsp, {t}", "push r8", "pop r9", "call 2f", "2:", "pop r10",
        "pushfq", "pop r11", "enter 16, 0", "mov rsp, r8", "mov rbp, r12",
        t = in(reg) top, out("r8") _, out("r9") popped, out("r10") returned, out("r11") flags,
        inout("r12") rbp() => _);
    fact("hole.push-pop", popped, u64::MAX);
    fact("hole.call", returned, u64::MAX);
    fact("hole.pushf", flags, u64::MAX);
    let fault = exception::catch(|| {
        cpu_asm!("mov rsp, {t}", "call 2f", "2: ret", t = in(reg) top);
    });
    // RET takes FFFF_FFFF_FFFF_FFFFh: canonical and not mapped, so #PF; TCG says #GP there.
    holds("hole.ret", fault.is_some_and(|f| matches!(f.vector, exception::PF | exception::GP)));
}

fn rbp() -> u64 {
    let rbp: u64;
    cpu_asm!("mov {}, rbp", out(reg) rbp, options(nostack));
    rbp
}

/// Instructions that store descriptor-table registers and the like.
pub(crate) fn stores_of_tables(hole: Hole) {
    let b = hole.base + 0x6000;
    cpu_asm!("sgdt [{b}]", "sidt [{b}]", "str word ptr [{b}]", "sldt word ptr [{b}]",
        "smsw word ptr [{b}]", "setz byte ptr [{b}]", "mov word ptr [{b}], ds", "push 5",
        "pop qword ptr [{b}]", b = in(reg) b);
    fact("hole.tables-vanished", [cpu::read64(b), cpu::read64(b + 8)], [u64::MAX; 2]);
}

/// FFh FFh is an invalid opcode (AMD APM 3, group 5 /7).
pub(crate) fn fetch(hole: Hole) {
    for offset in [0, 0xfff, 0x7003, hole.size - 2] {
        let at = hole.base + offset;
        let fault = exception::catch(|| cpu_asm!("call {}", in(reg) at));
        fact(
            format_args!("hole.fetch+{offset:x}"),
            fault.map(|f| (f.vector, f.rip)),
            Some((exception::UD, at)),
        );
    }
}

static STEPS: Racy<(u32, [u64; 8])> = Racy::new((0, [0; 8]));

fn note_step(frame: &mut Frame) {
    let (n, mut at) = STEPS.get();
    if let Some(slot) = at.get_mut(n as usize) {
        *slot = frame.rip;
    }
    STEPS.set((n + 1, at));
}

/// The guest steps itself over a store to the hole: one #DB an instruction, none lost, none added.
pub(crate) fn stepped(hole: Hole) {
    exception::hook(exception::DB, Some(note_step));
    STEPS.set((0, [0; 8]));
    let (first, last): (u64, u64);
    cpu_asm!("lea {f}, [rip + 2f]", "lea {l}, [rip + 5f]", "pushfq", "or dword ptr [rsp], 0x100", "popfq",
        "mov qword ptr [{h}], 5", "2: mov {t}, [{h}]", "3: nop", "4: pushfq",
        "and dword ptr [rsp], 0xfffffeff", "popfq", "5:",
        f = out(reg) first, l = out(reg) last, t = out(reg) _, h = in(reg) hole.base);
    exception::hook(exception::DB, None);
    let (n, at) = STEPS.get();
    fact("hole.step-count", n, 6);
    fact("hole.step-after-store", at[0], first);
    fact("hole.step-last", at[5], last);
    holds("hole.step-vanished", cpu::read64(hole.base) == u64::MAX);
}

/// A REP that is stepped traps after each element, into the hole too.
pub(crate) fn stepped_string(hole: Hole) {
    exception::hook(exception::DB, Some(note_step));
    STEPS.set((0, [0; 8]));
    let first: u64;
    let (to, left): (u64, u64);
    cpu_asm!("lea {f}, [rip + 2f]", "pushfq", "or dword ptr [rsp], 0x100", "popfq",
        "2: rep stosb", "pushfq", "and dword ptr [rsp], 0xfffffeff", "popfq",
        f = out(reg) first, inout("rdi") hole.base => to, inout("rcx") 5_u64 => left, in("al") 0x11_u8);
    exception::hook(exception::DB, None);
    let (n, at) = STEPS.get();
    fact("hole.step-string-count", n, 8);
    fact("hole.step-string-first", [at[0], at[3]], [first; 2]);
    fact("hole.step-string-end", (to - hole.base, left), (5, 0));
}
