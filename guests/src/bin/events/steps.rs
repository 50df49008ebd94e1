//! The guest steps itself over instructions that exit.

use crate::traps;
use guests::cpu;
use guests::cpu_asm;
use guests::report::value;

/// Runs `$insn` and a NOP with TF set, with EAX, ECX and EDX as given; the traps are told from the instruction's end on.
macro_rules! step {
    ($name:expr, $insn:expr, $eax:expr, $ecx:expr, $edx:expr) => {{
        let (eax, ecx, edx): (u64, u64, u64) = ($eax, $ecx, $edx);
        let traps = traps::of(|| {
            let at: u64;
            cpu_asm!("push rbx", "lea r8, [rip + 2f]", "pushfq", "or dword ptr [rsp], 0x100", "popfq",
                $insn, "2: nop", "pushfq", "and dword ptr [rsp], 0xfffffeff", "popfq", "pop rbx",
                inout("rax") eax => _, inout("rcx") ecx => _, inout("rdx") edx => _, out("r8") at);
            at
        });
        value(format_args!("step.{}", $name), format_args!("{traps}"));
    }};
}

const APIC_BASE: u64 = 0x1b;
const EFER: u64 = 0xc000_0080;
const MTRR_DEF_TYPE: u64 = 0x2ff;

fn halves(value: u64) -> (u64, u64) {
    (value & 0xffff_ffff, value >> 32)
}

/// One #DB behind each instruction, whoever completed it.
pub(crate) fn all() {
    let cr0 = cpu::cr0();
    step!("nop", "nop", 0, 0, 0);
    step!("cpuid", "cpuid", 0, 0, 0);
    step!("rdmsr", "rdmsr", 0, EFER, 0);
    step!("rdmsr-apic", "rdmsr", 0, APIC_BASE, 0);
    let (low, high) = halves(cpu::rdmsr(APIC_BASE as u32));
    step!("wrmsr-apic", "wrmsr", low, APIC_BASE, high);
    let (low, high) = halves(cpu::rdmsr(EFER as u32));
    step!("wrmsr-efer", "wrmsr", low, EFER, high);
    if cpu::has(1, 3, 12) {
        let (low, high) = halves(cpu::rdmsr(MTRR_DEF_TYPE as u32));
        step!("wrmsr-mtrr", "wrmsr", low, MTRR_DEF_TYPE, high);
    }
    step!("in", "in al, dx", 0, 0, 0x92);
    let gate = u64::from(cpu::inb(0x92));
    step!("out", "out dx, al", gate & !1, 0, 0x92);
    step!("mov-cr0", "mov cr0, rax", cr0, 0, 0);
    step!("mov-cr0-ne", "mov cr0, rax", cr0 ^ 0x20, 0, 0);
    step!("mov-cr0-back", "mov cr0, rax", cr0, 0, 0);
    step!("clts", "clts", 0, 0, 0);
    step!("lmsw", "lmsw ax", cr0 & 0xf, 0, 0);
    step!("smsw", "smsw eax", 0, 0, 0);
    step!("mov-cr3", "mov cr3, rax", cpu::cr3(), 0, 0);
    step!("mov-cr4", "mov cr4, rax", cpu::cr4(), 0, 0);
    step!("mov-cr8", "mov cr8, rax", 0, 0, 0);
    step!("mov-dr0", "mov dr0, rax", 0, 0, 0);
    step!("wbinvd", "wbinvd", 0, 0, 0);
    step!("invd", "wbinvd; invd", 0, 0, 0);
    step!("invlpg", "invlpg [rax]", 0, 0, 0);
    step!("rdtsc", "rdtsc", 0, 0, 0);
    step!("pause", "pause", 0, 0, 0);
    if cpu::has(1, 2, 26) {
        let cr4 = cpu::cr4();
        cpu::set_cr4(cr4 | 1 << 18);
        step!("xgetbv", "xgetbv", 0, 0, 0);
        step!("xsetbv", "xsetbv", 1, 0, 0);
        step!("xsetbv-refused", "xsetbv", 0, 0, 0);
        cpu::set_cr4(cr4);
    }
    // Faults: the instruction has not ended, so no step of it is told.
    step!("rdmsr-absent", "rdmsr", 0, 0x4000_0001, 0);
    step!("vmcall", "vmcall", 0, 0, 0);
    if !cpu::is_amd() {
        step!("mov-cr0-refused", "mov cr0, rax", cr0 & !0x4000_0000 | 0x2000_0000, 0, 0);
    }
    step!("ud2", "ud2", 0, 0, 0);
}

/// MOV SS holds the trap off until the next instruction has ended, and that may be one that exits.
pub(crate) fn behind_mov_ss() {
    macro_rules! behind {
        ($name:literal, $insn:literal, $eax:expr, $ecx:expr) => {
            step!(concat!("mov-ss-", $name), concat!("mov ss, edx; ", $insn), $eax, $ecx, 0x10)
        };
    }
    behind!("nop", "nop", 0, 0);
    behind!("cpuid", "cpuid", 0, 0);
    behind!("rdmsr", "rdmsr", 0, APIC_BASE);
    behind!("wbinvd", "wbinvd", 0, 0);
    behind!("invd", "invd", 0, 0);
    behind!("in", "in al, 0x92", 0, 0);
    behind!("mov-cr0", "mov cr0, rax", cpu::cr0(), 0);
}

/// An instruction breakpoint on one that exits: once before it, and RF takes it over it.
pub(crate) fn breakpoints() {
    macro_rules! broken {
        ($name:literal, $insn:literal, $eax:expr, $ecx:expr) => {{
            let traps = traps::of(|| {
                let at: u64;
                cpu_asm!("push rbx", "lea r8, [rip + 2f]", "mov dr0, r8", "mov r9d, 0x401",
                    "mov dr7, r9", "nop", concat!("2: ", $insn), "nop", "mov r9d, 0x400", "mov dr7, r9",
                    "pop rbx", inout("rax") $eax => _, inout("rcx") $ecx => _, out("rdx") _,
                    out("r8") at, out("r9") _);
                at
            });
            value(concat!("breakpoint.", $name), format_args!("{traps}"));
        }};
    }
    broken!("nop", "nop", 0_u64, 0_u64);
    broken!("cpuid", "cpuid", 0_u64, 0_u64);
    broken!("rdmsr", "rdmsr", 0_u64, APIC_BASE);
    broken!("invd", "invd", 0_u64, 0_u64);
    broken!("in", "in al, 0x92", 0_u64, 0_u64);
    broken!("mov-cr0", "mov cr0, rax", cpu::cr0(), 0_u64);
    cpu::set_dr0(0);
}
