//! What one CPUID costs, in ticks of the time-stamp counter. Under QEMU's
//! `-icount shift=0,sleep=off` a tick is an instruction, a hypervisor's included.

#![no_std]
#![no_main]

use guests::{cpu, report};

const ROUNDS: u64 = 1000;

guests::guest!(main);

/// Ticks of one round: around CPUID, or around nothing.
fn round(cpuid: bool) -> u64 {
    let (low, high): (u32, u32);
    let (low2, high2): (u32, u32);
    if cpuid {
        guests::cpu_asm!("rdtsc", "mov r8d, eax", "mov r9d, edx", "xor eax, eax", "xor ecx, ecx",
            "mov r10, rbx", "cpuid", "mov rbx, r10", "rdtsc",
            out("r8") low, out("r9") high, out("r10") _, out("eax") low2, out("edx") high2,
            out("ecx") _, options(nostack));
    } else {
        guests::cpu_asm!("rdtsc", "mov r8d, eax", "mov r9d, edx", "xor eax, eax", "xor ecx, ecx",
            "mov r10, rbx", "mov rbx, r10", "rdtsc",
            out("r8") low, out("r9") high, out("r10") _, out("eax") low2, out("edx") high2,
            out("ecx") _, options(nostack));
    }
    let at = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    at(low2, high2).wrapping_sub(at(low, high))
}

/// Sum and least of many rounds.
fn rounds(cpuid: bool) -> (u64, u64) {
    (0..ROUNDS).fold((0, u64::MAX), |(sum, least), _| {
        let ticks = round(cpuid);
        (sum.wrapping_add(ticks), least.min(ticks))
    })
}

fn main() {
    // Once before, so that code translated on first use is not counted.
    let _ = (rounds(false), rounds(true), cpu::rdtsc());
    let (empty, empty_least) = rounds(false);
    let (sum, least) = rounds(true);
    report::line(format_args!("cpuid.ticks {}", sum.saturating_sub(empty) / ROUNDS));
    report::line(format_args!("cpuid.ticks.min {}", least.saturating_sub(empty_least)));
    report::holds("cpuid.took-time", sum > empty);
}
