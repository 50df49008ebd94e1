//! Long mode: exceptions, compatibility mode, ring 3.

use guests::cpu::{self, Racy};
use guests::exception::{self, BP, DE, Fault, GP, PF, UD};
use guests::report::{fact, value};
use guests::{cpu_asm, labels};

labels!(
    user64_int,
    user64_int_after,
    user64_cli,
    user64_pf,
    user64_syscall,
    user64_syscall_after,
    user64_syscall_back,
    syscall64_entry,
    syscall64_count,
    syscall32_entry,
    user32_int,
    user32_int_after,
    user32_syscall,
    user32_syscall_back,
    user32_sysenter,
    sysenter64_entry,
    sysenter64_back,
    sysenter64_carry,
    compat_code,
    compat_ud,
    compat_result,
);

const NOT_MAPPED: u64 = 0x12_3456_7890;

fn seen(fault: Option<Fault>) -> Option<(u64, u64)> {
    fault.map(|f| (f.vector, f.error))
}

/// Exceptions of ring 0, each with its RIP taken by a LEA beside it.
pub(crate) fn exceptions() {
    let here = Racy::new(0);
    macro_rules! faulting {
        ($name:literal, $vector:expr, $error:expr, $at:literal, $before:literal, $insn:literal) => {
            let fault = exception::catch(|| {
                cpu_asm!(concat!("lea r9, [rip + ", $at, "]"), "mov [r8], r9", $before, "2:", $insn,
                    "3:", in("r8") here.address(), out("r9") _, inout("rax") NOT_MAPPED => _,
                    inout("rcx") 0_u64 => _, out("rdx") _);
            });
            fact(concat!("long.", $name), fault.map(|f| (f.vector, f.error, f.rip)),
                Some(($vector, $error, here.get())));
        };
    }
    faulting!("bp", BP, 0, "3f", "", "int3");
    faulting!("int", 0x42, 0, "3f", "", "int 0x42");
    faulting!("ud", UD, 0, "2f", "", "ud2");
    faulting!("de", DE, 0, "2f", "", "div rcx");
    faulting!("gp-not-canonical", GP, 0, "2f", "bts rcx, 63", "mov rax, [rcx]");
    faulting!("pf-read", PF, 0, "2f", "", "mov rdx, [rax]");
    faulting!("pf-write", PF, 2, "2f", "", "mov [rax], rdx");
    fact("long.cr2", cpu::cr2(), NOT_MAPPED);
    faulting!("gp-selector", GP, 0x100, "2f", "mov ecx, 0x103", "mov ds, ecx");
    faulting!("np-selector", 11, 0x48, "2f", "mov ecx, 0x48", "mov ds, ecx");
}

/// What an operand was does not get into the flags by CMPXCHG16B, which changes ZF alone, whatever exits next.
pub(crate) fn exchange() {
    let memory = Racy::new([1_u64, 0, 0, 0]);
    let at = memory.address().next_multiple_of(16);
    cpu::write64(at, 1);
    cpu::write64(at + 8, 2);
    // Virtual-8086 mode; flags that do not exist.
    for operand in [0x2_0000_u64, 0x048b_a000] {
        let zero: u8;
        cpu_asm!("mov r10, rbx", "pushfq", "popfq", "add r9, {o}", "lock cmpxchg16b [r8]", "mov eax, 0", "cpuid", "setz r11b",
            "mov rbx, r10", o = in(reg) operand, out("r11b") zero, in("r8") at, inout("r9") 0_u64 => _,
            out("r10") _, inout("rax") 1_u64 => _, inout("rdx") 2_u64 => _, inout("rcx") 2_u64 => _);
        fact("long.cmpxchg16b", (zero, cpu::read64(at + 8)), (1, 2));
        cpu::write64(at, 1);
    }
}

/// A 32-bit code segment in long mode, ring 0.
pub(crate) fn compatibility() {
    cpu_asm!("mov r9, rbx", "lea r8, [rip + 2f]", "push 0x18", "push {}", "retfq", "2:", "mov rbx, r9",
        in(reg) compat_code(), out("r8") _, out("r9") _, out("rax") _, out("rcx") _, out("rdx") _);
    let result = |n: u64| cpu::read32(compat_result() + 4 * n);
    fact("compat.push", result(0), 4);
    fact("compat.inc", result(1), 0x1234_5679);
    fact("compat.cpuid", result(2), cpu::cpuid(0, 0)[1]);
    let fault = exception::catch(|| {
        cpu_asm!("push 0x18", "push {}", "retfq", in(reg) compat_ud());
    });
    fact("compat.ud", fault.map(|f| (f.vector, f.rip, f.cs)), Some((UD, compat_ud(), 0x18)));
}

static USER_STACK: Racy<[u64; 128]> = Racy::new([0; 128]);

/// Enters ring 3 and stays there until an exception.
fn enter(code: u64, selector: u64) -> Option<Fault> {
    let stack = USER_STACK.address() + 1024;
    exception::catch(|| {
        cpu_asm!("push 0x3b", "push {s}", "push 2", "push {c}", "push {i}", "iretq",
            s = in(reg) stack, c = in(reg) selector, i = in(reg) code, in("rax") NOT_MAPPED);
    })
}

/// Ring 3 in 64-bit and in compatibility mode: back by INT, by a fault, by SYSCALL and SYSRET.
pub(crate) fn user() {
    const EFER: u32 = 0xc000_0080;
    const CODE64: u64 = 0x43;
    const CODE32: u64 = 0x33;
    let whence = |f: Option<Fault>| f.map(|f| (f.vector, f.rip, f.cs));
    fact(
        "user64.int",
        whence(enter(user64_int(), CODE64)),
        Some((0x80, user64_int_after(), CODE64)),
    );
    fact("user64.cli", whence(enter(user64_cli(), CODE64)), Some((GP, user64_cli(), CODE64)));
    fact("user64.page-fault", seen(enter(user64_pf(), CODE64)), Some((PF, 6)));
    fact(
        "user32.int",
        whence(enter(user32_int(), CODE32)),
        Some((0x80, user32_int_after(), CODE32)),
    );
    fact(
        "user64.syscall-disabled",
        whence(enter(user64_syscall(), CODE64)),
        Some((UD, user64_syscall(), CODE64)),
    );

    let efer = cpu::rdmsr(EFER);
    cpu::wrmsr(EFER, efer | 1);
    cpu::wrmsr(0xc000_0081, 0x33 << 48 | 8 << 32);
    cpu::wrmsr(0xc000_0082, syscall64_entry());
    cpu::wrmsr(0xc000_0083, syscall32_entry());
    cpu::wrmsr(0xc000_0084, 0x300);
    cpu::write64(syscall64_count(), 0);
    let back = enter(user64_syscall(), CODE64);
    fact("user64.sysret", whence(back), Some((0x80, user64_syscall_back(), CODE64)));
    let saved = |n: u64| cpu::read64(syscall64_count() + 8 * n);
    fact("user64.syscall-rcx", (saved(0), saved(1)), (1, user64_syscall_after()));
    fact("user64.syscall-r11", saved(2), 2);
    if cpu::is_amd() {
        let back = enter(user32_syscall(), CODE32);
        fact("user32.sysret", whence(back), Some((0x80, user32_syscall_back(), CODE32)));
        fact("user32.syscall-cs", (saved(0), saved(1)), (2, 8));
    }
    cpu::wrmsr(EFER, efer);

    // SYSENTER_CS, _ESP, _EIP. In long mode AMD's CPUs know no SYSENTER (APM 3), Intel's and emulated ones do.
    cpu::wrmsr(0x174, 8);
    cpu::wrmsr(0x175, USER_STACK.address() + 1024);
    cpu::wrmsr(0x176, sysenter64_entry());
    cpu::write64(sysenter64_carry(), 0);
    let back = enter(user32_sysenter(), CODE32);
    let known = back.is_none_or(|fault| fault.vector != UD);
    value("user32.sysenter.known", format_args!("{known}"));
    if known {
        fact("user32.sysenter", whence(back), Some((0x80, sysenter64_back(), 8)));
        fact("user32.sysenter-carry", cpu::read64(sysenter64_carry()), 1);
    } else {
        fact("user32.sysenter", whence(back), Some((UD, user32_sysenter(), CODE32)));
    }
    cpu::wrmsr(0x174, 0);
}
