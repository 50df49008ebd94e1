//! What an INIT clears and what it keeps (Intel SDM 3A, table 9-1; AMD APM 2, table 14-1), sent by the CPU to itself.

#![no_std]
#![no_main]

use guests::report::{fact, holds};
use guests::{cpu, cpu_asm, low};

guests::guest!(main);
guests::assembly!("init.S");
guests::labels!(init_send);

const APIC_SPURIOUS: u64 = 0xfee0_00f0;
/// CD and NW stay as they are; not in every emulator.
const CACHES: u32 = 3 << 29;
/// MSRs that stay: SYSENTER's three, PAT, LSTAR.
const KEPT: [(&str, u32, u64); 5] = [
    ("sysenter-cs", 0x174, 0x1234),
    ("sysenter-esp", 0x175, 0x5678_0000),
    ("sysenter-eip", 0x176, 0x9abc_0000),
    ("pat", 0x277, 0x0007_0105_0007_0406),
    ("lstar", 0xc000_0082, 0xffff_8000_0012_3000),
];

/// Gives every register another value than INIT leaves, and sends one.
fn once(round: u32) {
    cpu::write32(APIC_SPURIOUS, 0x1ff);
    // Places that nobody touches, the last one watched for writes.
    cpu::set_dr0(0x7111_1111);
    cpu::set_dr1(0x7222_2222);
    cpu::set_dr2(0x7333_3333);
    cpu::set_dr3(0x7444_4444);
    cpu::set_dr6(0xffff_4ff0);
    cpu::set_dr7(0x1000_04c0);
    let before = KEPT.map(|(_, register, _)| cpu::rdmsr(register));
    for (_, register, value) in KEPT {
        cpu::wrmsr(register, value);
    }
    let (control, mxcsr): (u16, u32) = (0x027f, 0x1fa0);
    cpu_asm!("fldcw [{}]", in(reg) &raw const control, options(nostack));
    cpu::set_cr4(cpu::cr4() | 1 << 9); // OSFXSR
    cpu_asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack));
    let ticks = cpu::rdtsc();

    low::protected(init_send());

    let mut now = (0_u16, 0_u32);
    cpu_asm!("fnstcw [{}]", in(reg) &raw mut now.0, options(nostack));
    cpu_asm!("stmxcsr [{}]", in(reg) &raw mut now.1, options(nostack));
    holds(format_args!("init.{round}.tsc-goes-on"), cpu::rdtsc() > ticks);
    fact(format_args!("init.{round}.fpu"), now, (control, mxcsr));
    for ((name, register, value), before) in KEPT.into_iter().zip(before) {
        fact(format_args!("init.{round}.{name}"), cpu::rdmsr(register), value);
        cpu::wrmsr(register, before);
    }
    fact(format_args!("init.{round}.cr0"), low::result(0) & !CACHES, 0x10);
    fact(format_args!("init.{round}.cr2-cr3-cr4"), [1, 2, 3].map(low::result), [0; 3]);
    fact(format_args!("init.{round}.dr0-dr3"), [4, 5, 6, 7].map(low::result), [0; 4]);
    fact(format_args!("init.{round}.dr6"), low::result(8), 0xffff_0ff0);
    fact(format_args!("init.{round}.dr7"), low::result(9), 0x400);
    fact(format_args!("init.{round}.efer"), low::result(10), 0);
}

fn main() {
    for round in 0..3 {
        once(round);
    }
}
