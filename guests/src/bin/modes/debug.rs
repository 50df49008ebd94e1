//! The guest as its own debugger, in long mode.

use guests::cpu::{self, Racy};
use guests::exception::{self, DB, Frame, UD};
use guests::report::{fact, info};
use guests::{cpu_asm, labels};

labels!(long_step, long_steps, long_steps_end);

const MAX: usize = 40;
/// RIP and DR6 of each #DB.
static TRAPS: Racy<[(u64, u64); MAX]> = Racy::new([(0, 0); MAX]);
static COUNT: Racy<usize> = Racy::new(0);
const BS: u64 = 1 << 14;
/// What DR6 holds when nothing happened, without bits 16 to 31, which differ between CPUs.
const CAUSES: u64 = 0xe00f;
const RF: u64 = 1 << 16;

fn trap(frame: &mut Frame) {
    let mut traps = TRAPS.get();
    let n = COUNT.get();
    if n < MAX {
        traps[n] = (frame.rip, cpu::dr6() & CAUSES);
        TRAPS.set(traps);
    }
    COUNT.set(n + 1);
    cpu::set_dr6(0xffff_0ff0);
    frame.rflags |= RF; // over an instruction breakpoint
}

fn begin() {
    COUNT.set(0);
    TRAPS.set([(0, 0); MAX]);
    cpu::set_dr6(0xffff_0ff0);
    exception::hook(DB, Some(trap));
}

/// One #DB an instruction.
pub(crate) fn steps() {
    begin();
    let flags: u64;
    cpu_asm!("call {}", in(reg) long_step(), out("rax") _, out("rcx") _, out("rdx") _, out("r8") flags);
    let expected = (long_steps_end() - long_steps()) / 8;
    fact("long.step-count", COUNT.get() as u64, expected);
    for n in 0..expected {
        let want = (cpu::read64(long_steps() + 8 * n), BS);
        fact(format_args!("long.step-{n}"), TRAPS.get()[n as usize % MAX], want);
    }
    fact("long.step-pushf-shows-tf", flags & 0x100, 0x100);
    exception::hook(DB, None);
}

static WATCHED: Racy<[u64; 2]> = Racy::new([0; 2]);

/// Hardware breakpoints on an instruction, a write and an access.
pub(crate) fn breakpoints() {
    begin();
    let (at, after_write, after_read): (u64, u64, u64);
    let watched = WATCHED.address();
    cpu::set_dr1(watched);
    cpu::set_dr2(watched + 8);
    // L0: instruction; L1: writes of 8 bytes; L2: accesses of 4 bytes.
    let dr7: u64 = 0x400 | 1 | 1 << 2 | 1 << 4 | 0b1001 << 20 | 0b1111 << 24;
    cpu_asm!(
        "lea {a}, [rip + 2f]", "mov dr0, {a}", "mov dr7, {d}", "nop", "2: mov rax, [{w}]",
        "mov [{w}], rax", "3: nop", "mov eax, [{w} + 8]", "4: nop", "mov eax, 0x400", "mov dr7, rax",
        "lea {b}, [rip + 3b]", "lea {c}, [rip + 4b]",
        a = out(reg) at, b = out(reg) after_write, c = out(reg) after_read,
        d = in(reg) dr7, w = in(reg) watched, out("rax") _);
    exception::hook(DB, None);
    let traps = TRAPS.get();
    fact("long.breakpoint-count", COUNT.get(), 3);
    fact("long.breakpoint-instruction", traps[0], (at, 1));
    fact("long.breakpoint-write", traps[1], (after_write, 2));
    fact("long.breakpoint-access", traps[2], (after_read, 4));
    fact("long.dr0-kept", cpu::dr0(), at);
    for set in [cpu::set_dr0, cpu::set_dr1, cpu::set_dr2] {
        set(0);
    }
    // GD: touching a debug register traps before it (AMD APM 2, 13.1.1.4).
    begin();
    let at: u64;
    cpu_asm!("lea {a}, [rip + 2f]", "mov eax, 0x2400", "mov dr7, rax", "2: mov rax, dr0", "nop",
        a = out(reg) at, out("rax") _);
    exception::hook(DB, None);
    if COUNT.get() == 0 {
        // TCG (7.2) keeps the bit and does nothing about it.
        info(format_args!("no general-detect fault"));
    } else {
        fact("long.general-detect", (COUNT.get(), TRAPS.get()[0]), (1, (at, 1 << 13)));
    }
    cpu::set_dr7(0x400);
}

/// F1h is #DB, a trap without a cause in DR6, and no single step with TF set.
pub(crate) fn icebp() {
    let after = Racy::new(0);
    let fault = exception::catch(|| {
        cpu_asm!("lea r9, [rip + 2f]", "mov [r8], r9", ".byte 0xf1", "2:", in("r8") after.address(),
            out("r9") _);
    });
    let got = fault.map(|f| (f.vector, f.rip));
    if got == Some((UD, after.get() - 1)) {
        // TCG (7.2) knows no ICEBP.
        info(format_args!("long.icebp is an invalid opcode"));
        return;
    }
    fact("long.icebp", got, Some((DB, after.get())));
    begin();
    let (behind, end): (u64, u64);
    cpu_asm!(
        "lea {b}, [rip + 2f]", "lea {e}, [rip + 3f]", "pushfq", "pushfq", "or qword ptr [rsp], 0x100", "popfq",
        ".byte 0xf1", "2: popfq", "3: nop", b = out(reg) behind, e = out(reg) end);
    exception::hook(DB, None);
    let [first, second, ..] = TRAPS.get();
    fact("long.icebp-with-tf", (COUNT.get(), first, second), (2, (behind, 0), (end, BS)));
}
