//! EFER, control registers, XCR0, and instructions a hypervisor may intercept.

use crate::msrs::{Outcome, read, write};
use guests::cpu::{self, Racy};
use guests::exception::{self, GP};
use guests::{cpu_asm, pic, report, start};
use report::{fact, holds, value};

const EFER: u32 = 0xc000_0080;
const SVME: u64 = 1 << 12;
const LME: u64 = 1 << 8;
const LMA: u64 = 1 << 10;

/// The register as a hypervisor must shadow it: SVME is its own.
pub(crate) fn efer() {
    let before = cpu::rdmsr(EFER);
    value("efer.at-start", format_args!("{:x}", before & !SVME));
    fact("efer.long-mode", before & (LME | LMA), LME | LMA);
    fact("efer.svme-clear", before & SVME, 0);
    // Clearing LME with paging on is #GP (AMD APM 2, 14.6.2), and so is a reserved bit; TCG (7.2)
    // takes the one and ignores the other, so nothing is judged but that the machine goes on.
    let done = write(EFER, before & !LME);
    write(EFER, before);
    report::info(format_args!("efer.lme-clear {done}"));
    for bit in [1, 7, 9, 13, 14, 15, 16, 20, 32, 63_u32] {
        let done = write(EFER, before | 1 << bit);
        let now = cpu::rdmsr(EFER);
        write(EFER, before);
        report::info(format_args!("efer.bit-{bit} {done} then {:x}", now & !SVME));
        let refused = matches!(done.0, Err(f) if (f.vector, f.error) == (GP, 0));
        holds(
            format_args!("efer.bit-{bit}-refused-or-ignored"),
            if refused { now == before } else { now == before || now == before | 1 << bit },
        );
    }
    for (name, bit) in [("sce", 0), ("nxe", 11)] {
        let done = write(EFER, before | 1 << bit);
        value(format_args!("efer.{name}"), format_args!("{done} then {:x}", cpu::rdmsr(EFER)));
        write(EFER, before);
    }
    let done = write(EFER, before | SVME);
    value("svm.efer-svme", format_args!("{done} then {:x}", cpu::rdmsr(EFER)));
    write(EFER, before);
    fact("efer.restored", cpu::rdmsr(EFER), before);
}

fn gp(body: impl FnMut()) -> Outcome {
    Outcome(exception::catch(body).map_or(Ok(None), Err))
}

/// A register's writer and reader.
type Register = (fn(u64), fn() -> u64);

const DEBUG_REGISTERS: [Register; 4] = [
    (cpu::set_dr0, cpu::dr0),
    (cpu::set_dr1, cpu::dr1),
    (cpu::set_dr2, cpu::dr2),
    (cpu::set_dr3, cpu::dr3),
];

/// Bits that the guest may change, and some that it may not.
pub(crate) fn registers() {
    let (cr0, cr4) = (cpu::cr0(), cpu::cr4());
    value("cr0", format_args!("{cr0:x}"));
    value("cr4", format_args!("{cr4:x}"));
    const NW: u64 = 1 << 29;
    const CD: u64 = 1 << 30;
    // Not tried: PG without PE. It is #GP, but TCG takes it and leaves the machine broken.
    for (name, v) in [("nw-without-cd", (cr0 & !CD) | NW), ("high", cr0 | 1 << 40)] {
        value(format_args!("cr0.{name}"), format_args!("{}", gp(|| cpu::set_cr0(v))));
        cpu::set_cr0(cr0);
    }
    for bit in [1, 2, 3, 5, 16, 18] {
        // TS, EM, MP, NE, WP, AM: free to change.
        let done = gp(|| cpu::set_cr0(cr0 ^ 1 << bit));
        let now = cpu::cr0();
        cpu::set_cr0(cr0);
        value(format_args!("cr0.toggle-{bit}"), format_args!("{done} then {now:x}"));
    }
    cpu::set_cr0(cr0 | CD);
    value("cr0.cd", format_args!("{:x}", cpu::cr0()));
    cpu::set_cr0(cr0);
    // A bit of CR3 or CR4 the CPU does not have is #GP, as clearing PAE is; QEMU (TCG, 7.2) hangs there, before any
    // exception, so those are tried only when the command line says `cr-reserved`.
    let reserved = start::has_word("cr-reserved");
    let offered = |bit: u32| match bit {
        0..=4 | 6..=10 => true,
        16 => cpu::has(7, 1, 0),
        18 => cpu::has(1, 2, 26),
        5 | 20 | 21 => false, // PAE needed here; SMEP and SMAP forbid this guest's user pages
        _ => reserved,
    };
    for bit in (0..64).filter(|&bit| offered(bit)) {
        let done = gp(|| cpu::set_cr4(cr4 ^ 1 << bit));
        let now = cpu::cr4();
        cpu::set_cr4(cr4);
        value(format_args!("cr4.toggle-{bit}"), format_args!("{done} then {now:x}"));
    }
    if reserved {
        value("cr4.pae-clear", format_args!("{}", gp(|| cpu::set_cr4(cr4 & !0x20))));
    }
    let cr3 = cpu::cr3();
    if reserved {
        value("cr3.reserved", format_args!("{}", gp(|| cpu::set_cr3(cr3 | 1 << 60))));
        cpu::set_cr3(cr3);
    }
    for v in [15, 0, 7] {
        cpu::set_cr8(v);
        fact(format_args!("cr8.{v}"), cpu::cr8(), v);
        fact(format_args!("cr8.{v}-tpr"), cpu::read32(0xfee0_0080) >> 4, v as u32);
    }
    cpu::set_cr8(0);
    value("cr8.reserved", format_args!("{}", gp(|| cpu::set_cr8(16))));
    cpu::set_cr8(0);
    value("cr2.any", format_args!("{}", gp(|| cpu::set_cr2(0x1234_5678_9abc))));
    fact("cr2.kept", cpu::cr2(), 0x1234_5678_9abc);
    for n in 0..4 {
        let v = 0x1000 + n;
        let (set, get) = DEBUG_REGISTERS[n as usize];
        set(v);
        fact(format_args!("dr{n}.kept"), get(), v);
        set(0);
    }
    value("dr6", format_args!("{:x}", cpu::dr6()));
    value("dr7", format_args!("{:x}", cpu::dr7()));
    value("dr7.high", format_args!("{}", gp(|| cpu::set_dr7(1 << 40))));
    value("dr6.high", format_args!("{}", gp(|| cpu::set_dr6(1 << 40))));
    cpu::set_dr7(0x400);
}

fn set_xcr(n: u32, v: u64) {
    cpu_asm!("xsetbv", in("ecx") n, in("eax") v as u32, in("edx") (v >> 32) as u32, options(nostack));
}

fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    cpu_asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nostack));
    u64::from(high) << 32 | u64::from(low)
}

/// XSETBV, where the CPU has it: what is accepted, and what is #GP.
pub(crate) fn xsetbv() {
    const OSXSAVE: u64 = 1 << 18;
    value("xsetbv.without-osxsave", format_args!("{}", gp(|| set_xcr(0, 1))));
    if !cpu::has(1, 2, 26) {
        return;
    }
    cpu::set_cr4(cpu::cr4() | OSXSAVE);
    let before = xcr0();
    value("xcr0.at-start", format_args!("{before:x}"));
    for v in [1, 3, 7, 0x207] {
        let done = gp(|| set_xcr(0, v));
        value(format_args!("xcr0.{v:x}"), format_args!("{done} then {:x}", xcr0()));
        let size = cpu::cpuid(0xd, 0)[1];
        value(format_args!("xcr0.{v:x}-size"), format_args!("{size:x}"));
    }
    // x87 must stay, AVX needs SSE, and there is no XCR 1 to write.
    for (name, n, v) in
        [("no-x87", 0, 0), ("avx-alone", 0, 5), ("reserved", 0, 1 << 62 | 1), ("xcr1", 1, 1)]
    {
        let fault = exception::catch(|| set_xcr(n, v));
        fact(format_args!("xsetbv.{name}"), fault.map(|f| (f.vector, f.error)), Some((GP, 0)));
    }
    set_xcr(0, before);
    cpu::set_cr4(cpu::cr4() & !OSXSAVE);
}

static WATCHED: Racy<[u64; 8]> = Racy::new([0; 8]);

/// Instructions that a hypervisor may have to emulate.
pub(crate) fn instructions() {
    let outcome = |name: &str, body: &mut dyn FnMut()| {
        value(format_args!("instruction.{name}"), format_args!("{}", gp(body)));
    };
    outcome("wbinvd", &mut || cpu_asm!("wbinvd"));
    outcome("invd", &mut || cpu_asm!("wbinvd", "invd"));
    outcome("invlpg", &mut || cpu_asm!("invlpg [{}]", in(reg) 0x20_0000_u64));
    outcome("clts", &mut || cpu_asm!("clts"));
    outcome("lmsw", &mut || cpu_asm!("smsw eax", "lmsw ax", out("eax") _));
    outcome("rsm", &mut || cpu_asm!("rsm"));
    outcome(
        "getsec",
        &mut || cpu_asm!("mov {s}, rbx", "xor ebx, ebx", "xor eax, eax", "getsec", "mov rbx, {s}", s = out(reg) _, out("eax") _),
    );
    outcome("vmcall", &mut || cpu_asm!("vmcall"));
    outcome("ud2", &mut || cpu_asm!("ud2"));
    outcome("ud1", &mut || cpu_asm!(".byte 0x0f, 0xb9, 0xc0"));
    outcome("pause", &mut || cpu_asm!("pause"));
    outcome("rdpmc", &mut || cpu_asm!("rdpmc", in("ecx") 0xff, out("eax") _, out("edx") _));
    outcome("sysenter", &mut || cpu_asm!("sysenter"));

    let aux = 0x1234_5678_u64;
    if cpu::has(0x8000_0001, 3, 27) {
        let before = cpu::rdmsr(0xc000_0103);
        cpu::wrmsr(0xc000_0103, aux);
        let got: u32;
        cpu_asm!("rdtscp", out("eax") _, out("edx") _, out("ecx") got, options(nostack));
        fact("rdtscp.aux", u64::from(got), aux);
        cpu::wrmsr(0xc000_0103, before);
    } else {
        outcome("rdtscp", &mut || cpu_asm!("rdtscp", out("eax") _, out("edx") _, out("ecx") _));
    }
    let from = cpu::rdtsc();
    holds("rdtsc.grows", cpu::rdtsc() > from);

    let watch = WATCHED.address();
    if cpu::has(1, 2, 3) {
        // Nothing but this CPU writes the line: the timer ends the wait.
        exception::hook(0x20, Some(|_| pic::end_of_interrupt()));
        pic::remap(0x20);
        let masks = pic::unmask_timer();
        let fault = exception::catch(|| {
            cpu_asm!("monitor", "xor eax, eax", "sti", "mwait", "cli",
                inout("rax") watch => _, in("ecx") 0, in("edx") 0);
        });
        cpu_asm!("cli");
        pic::restore(masks);
        pic::remap_bios();
        exception::hook(0x20, None);
        value("monitor-mwait", format_args!("{}", Outcome(fault.map_or(Ok(None), Err))));
        outcome("monitor-extensions", &mut || {
            cpu_asm!("monitor", in("rax") watch, in("ecx") 5, in("edx") 0);
        });
    } else {
        outcome("monitor", &mut || cpu_asm!("monitor", in("rax") watch, in("ecx") 0, in("edx") 0));
    }
    value("apic-base.write-same", format_args!("{}", write(0x1b, cpu::rdmsr(0x1b))));
    value("apic-base.then", format_args!("{}", read(0x1b)));
}
