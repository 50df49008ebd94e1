//! Control registers of which a hypervisor holds a bit, and what a #DB changes beside DR6.

use crate::traps;
use guests::cpu;
use guests::cpu_asm;
use guests::exception;
use guests::report::{fact, value};

const NE: u64 = 1 << 5;
const TS: u64 = 1 << 3;
const NW: u64 = 1 << 29;

/// NE reads as it was written, by each way to write CR0, and a write that is refused changes nothing.
pub(crate) fn cr0() {
    let before = cpu::cr0();
    for ne in [0, NE] {
        let plain = before & !NE | ne;
        cpu::set_cr0(plain);
        fact(format_args!("cr0.ne-{ne:x}"), cpu::cr0(), plain);
        // Refused: an upper half, NW without CD, long mode without paging. (QEMU's TCG, 7.2, takes the last two.)
        let tries = [
            ("high", plain ^ NE | 1 << 40),
            ("nw", plain ^ NE | NW),
            ("pg", (plain ^ NE) & !(1 << 31)),
        ];
        for (name, bad) in tries.into_iter().take(if cpu::is_amd() { 1 } else { 3 }) {
            let fault = exception::catch(|| cpu::set_cr0(bad));
            let got = fault.map(|fault| (fault.vector, fault.error));
            value(format_args!("cr0.{name}-{ne:x}"), format_args!("{got:x?} {:x}", cpu::cr0()));
            cpu::set_cr0(plain);
        }
        cpu_asm!("lmsw ax", in("rax") plain & 7 | TS);
        fact(format_args!("cr0.lmsw-{ne:x}"), cpu::cr0(), plain | TS);
        let low: u64;
        cpu_asm!("smsw rax", out("rax") low);
        fact(format_args!("cr0.smsw-{ne:x}"), low & 0xffff, (plain | TS) & 0xffff);
        cpu_asm!("clts");
        fact(format_args!("cr0.clts-{ne:x}"), cpu::cr0(), plain & !TS);
    }
    cpu::set_cr0(before);
}

/// A bit that belongs to the hypervisor's own extension does not exist.
pub(crate) fn cr4() {
    let before = cpu::cr4();
    for (name, bit) in [("vmxe", 13), ("smxe", 14)] {
        // QEMU's TCG (7.2) hangs at a bit that does not exist.
        if !cpu::is_amd() && !cpu::has(1, 2, if bit == 13 { 5 } else { 6 }) {
            let fault = exception::catch(|| cpu::set_cr4(before | 1 << bit));
            let got = fault.map(|fault| (fault.vector, fault.error));
            fact(format_args!("cr4.{name}"), (got, cpu::cr4()), (Some((exception::GP, 0)), before));
        }
    }
    // With process contexts bit 63 of CR3 asks for translations to be kept, and is not stored.
    if cpu::has(1, 2, 17) {
        cpu::set_cr4(before | 1 << 17);
        let cr3 = cpu::cr3();
        cpu::set_cr3(cr3 | 1 << 63 | 5);
        fact("cr4.pcid-cr3", cpu::cr3(), cr3 | 5);
        cpu::set_cr3(cr3 | 1 << 63);
        fact("cr4.pcid-back", cpu::cr3(), cr3);
        if !cpu::is_amd() {
            let fault = exception::catch(|| cpu::set_cr0(cpu::cr0() & !(1 << 31)));
            let got = fault.map(|fault| (fault.vector, fault.error));
            value("cr4.pcid-paging-off", format_args!("{got:x?}"));
        }
        cpu::set_cr4(before);
    }
}

/// DebugCtl: a #DB ends the recording of branches and the stepping by branches.
pub(crate) fn branches() {
    const DEBUGCTL: u32 = 0x1d9;
    const BTF: u64 = 2;
    let done = exception::catch(|| cpu::wrmsr(DEBUGCTL, BTF));
    let kept = exception::catch(|| _ = cpu::rdmsr(DEBUGCTL));
    if done.is_some() || kept.is_some() || cpu::rdmsr(DEBUGCTL) & BTF == 0 {
        value("debugctl.btf", format_args!("absent"));
        return;
    }
    let traps = traps::of(|| {
        let at: u64;
        cpu_asm!("lea r8, [rip + 2f]", "pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop", "2: nop",
            "jmp 3f", "nop", "3: nop", "pushfq", "and dword ptr [rsp], 0xfffffeff", "popfq",
            out("r8") at);
        at
    });
    value("debugctl.btf", format_args!("{traps} then {:x}", cpu::rdmsr(DEBUGCTL)));
    cpu::wrmsr(DEBUGCTL, 0);
}
