//! Memory types as a system sets them: the MTRRs, fixed and variable, off and on again as the manual says to, PAT, and caches
//! off. On Intel a VMM's nested tables must follow; whatever the types are, memory keeps what is written to it.

#![no_std]
#![no_main]

use guests::cpu::{self, Racy};
use guests::cpu_asm;
use guests::exception;
use guests::report::{fact, info, value};

guests::guest!(main);

const CAP: u32 = 0xfe;
const DEF_TYPE: u32 = 0x2ff;
const PAT: u32 = 0x277;
/// The fixed ranges' registers with the first address each is for and the bytes of one of its eight.
const FIXED: [(u32, u64, u64); 11] = [
    (0x250, 0, 0x1_0000),
    (0x258, 0x8_0000, 0x4000),
    (0x259, 0xa_0000, 0x4000),
    (0x268, 0xc_0000, 0x1000),
    (0x269, 0xc_8000, 0x1000),
    (0x26a, 0xd_0000, 0x1000),
    (0x26b, 0xd_8000, 0x1000),
    (0x26c, 0xe_0000, 0x1000),
    (0x26d, 0xe_8000, 0x1000),
    (0x26e, 0xf_0000, 0x1000),
    (0x26f, 0xf_8000, 0x1000),
];
const CD: u64 = 1 << 30;
const ENABLED: u64 = 1 << 11;
const FIXED_ENABLED: u64 = 1 << 10;

/// Where memory is tried: conventional memory, this program, 16 MiB and the last bytes before 24 MiB.
const PLACES: [u64; 4] = [0x6_0000, 0x10_8000, 0x100_0000, 0x17f_fff8];

/// Memory keeps what is written, in each of the places, whatever way it is read.
fn memory(when: &str, round: &mut u64) {
    *round += 1;
    let pattern = |place: u64| place.rotate_left(*round as u32 & 63) ^ 0x5a5a_0000_ffff_1234;
    let kept = PLACES.map(cpu::read64);
    PLACES.iter().for_each(|place| cpu::write64(*place, pattern(*place)));
    let held = PLACES.iter().all(|place| cpu::read64(*place) == pattern(*place));
    // Also past the caches.
    cpu_asm!("wbinvd");
    let still = PLACES.iter().all(|place| cpu::read64(*place) == pattern(*place));
    for (place, old) in PLACES.into_iter().zip(kept) {
        cpu::write64(place, old);
    }
    fact(format_args!("memory.{when}"), (held, still), (true, true));
}

/// Whether an MSR took the value, and what it reads afterwards.
fn set(name: core::fmt::Arguments<'_>, msr: u32, new: u64) {
    let fault = exception::catch(|| cpu::wrmsr(msr, new));
    let got = fault.map(|fault| (fault.vector, fault.error));
    value(name, format_args!("{got:x?} {:x}", cpu::rdmsr(msr)));
}

/// The manual's way to change MTRRs (SDM 3A, 12.11.7.2): caches off and written back, MTRRs off, the change, all back.
fn change(body: impl FnOnce()) {
    let (cr0, default) = (cpu::cr0(), cpu::rdmsr(DEF_TYPE));
    cpu::set_cr0(cr0 | CD);
    cpu_asm!("wbinvd");
    cpu::set_cr3(cpu::cr3());
    cpu::wrmsr(DEF_TYPE, default & !ENABLED);
    body();
    cpu_asm!("wbinvd");
    cpu::set_cr3(cpu::cr3());
    cpu::wrmsr(DEF_TYPE, default);
    cpu::set_cr0(cr0);
}

static LOOPS: Racy<u64> = Racy::new(0);

fn main() {
    let round = &mut 0;
    memory("at-start", round);
    if !cpu::has(1, 3, 12) {
        info(format_args!("no MTRRs"));
        return;
    }
    let cap = cpu::rdmsr(CAP);
    let default = cpu::rdmsr(DEF_TYPE);
    value("mtrr.cap", format_args!("{cap:x}"));
    value("mtrr.default", format_args!("{default:x}"));
    switches(round, default);
    if cap & 1 << 8 != 0 {
        fixed(round);
    }
    variable(round, cap);
    pat(round);
    caches_off(round);
    fact("mtrr.default-back", cpu::rdmsr(DEF_TYPE), default);
    guests::report::holds("caches.finished", true);
}

/// Off and on, many times, as each start of a system does; each default type there is, and those there are not.
fn switches(round: &mut u64, default: u64) {
    for n in 0..30 {
        change(|| LOOPS.set(LOOPS.get() + n));
    }
    fact("mtrr.switched", (LOOPS.get(), cpu::rdmsr(DEF_TYPE)), (435, default));
    memory("switched", round);
    for kind in 0..8 {
        change(|| set(format_args!("mtrr.default-{kind}"), DEF_TYPE, default & !0xcff | kind));
        let on = default & !0xff | ENABLED | kind;
        let fault = exception::catch(|| cpu::wrmsr(DEF_TYPE, on));
        value(format_args!("mtrr.default-{kind}-on"), format_args!("{}", fault.is_none()));
        memory("another-default", round);
        cpu::wrmsr(DEF_TYPE, default);
    }
    set(format_args!("mtrr.default-reserved"), DEF_TYPE, default | 1 << 8);
    cpu::wrmsr(DEF_TYPE, default);
}

/// Each register of the fixed ranges, with types of every kind, and one that does not exist.
fn fixed(round: &mut u64) {
    let default = cpu::rdmsr(DEF_TYPE);
    for (msr, base, _) in FIXED {
        let old = cpu::rdmsr(msr);
        value(format_args!("mtrr.fixed-{msr:x}"), format_args!("{old:x}"));
        change(|| set(format_args!("mtrr.fixed-{msr:x}-mixed"), msr, 0x0606_0606_0006_0404));
        cpu::wrmsr(DEF_TYPE, default | ENABLED | FIXED_ENABLED);
        // RAM alone is tried: at A0000h there is a screen, above it ROMs.
        if base < 0xa_0000 {
            memory("fixed", round);
        }
        change(|| cpu::wrmsr(msr, old));
        cpu::wrmsr(DEF_TYPE, default);
        set(format_args!("mtrr.fixed-{msr:x}-wrong"), msr, 2);
        cpu::wrmsr(msr, old);
    }
    memory("fixed-back", round);
}

/// Variable ranges: of each type over RAM, overlapping, with a mask that has gaps, and taken away again.
fn variable(round: &mut u64, cap: u64) {
    let count = (cap & 0xff) as u32;
    let all: [(u64, u64); 16] = core::array::from_fn(|n| {
        let msr = 0x200 + 2 * n as u32;
        if (n as u32) < count { (cpu::rdmsr(msr), cpu::rdmsr(msr + 1)) } else { (0, 0) }
    });
    for (n, (base, mask)) in all.into_iter().enumerate().take(count as usize) {
        value(format_args!("mtrr.variable-{n}"), format_args!("{base:x} {mask:x}"));
    }
    let Some(last) = count.checked_sub(1) else { return };
    let free = 0x200 + 2 * last;
    let put = |base: u64, mask: u64| {
        change(|| {
            cpu::wrmsr(free + 1, 0);
            cpu::wrmsr(free, base);
            cpu::wrmsr(free + 1, mask);
        });
    };
    for kind in [0, 1, 4, 5, 6] {
        put(0x100_0000 | kind, 0xf_fff0_0800);
        memory("one-mib", round);
        put(0x100_0000 | kind, 0xf_ffff_f800);
        memory("one-page", round);
        put(kind, 0xf_f000_0800);
        memory("all-below-256-mib", round);
        // Every second page of 16 MiB to 32 MiB.
        put(0x100_1000 | kind, 0xf_ff00_1800);
        memory("gaps", round);
    }
    set(format_args!("mtrr.variable-wrong"), free, 0x100_0002);
    let (base, mask) = all[last as usize & 15];
    put(base, mask);
    memory("variable-back", round);
}

/// PAT: each type in the first entry, which this program's own memory has.
fn pat(round: &mut u64) {
    let old = cpu::rdmsr(PAT);
    value("pat.at-start", format_args!("{old:x}"));
    for kind in 0..8 {
        let fault = exception::catch(|| cpu::wrmsr(PAT, old & !0xff | kind));
        let got = fault.map(|fault| (fault.vector, fault.error));
        cpu::set_cr3(cpu::cr3());
        memory("pat", round);
        // An exit in between: it is the guest's still.
        let _ = cpu::cpuid(0, 0);
        value(format_args!("pat.{kind}"), format_args!("{got:x?} {:x}", cpu::rdmsr(PAT)));
        cpu::wrmsr(PAT, old);
    }
    cpu::set_cr3(cpu::cr3());
}

/// With caches off all goes on, exits included.
fn caches_off(round: &mut u64) {
    let cr0 = cpu::cr0();
    cpu::set_cr0(cr0 | CD);
    cpu_asm!("wbinvd");
    let vendor = cpu::cpuid(0, 0);
    memory("caches-off", round);
    fact("cr0.cd-kept", (cpu::cr0(), cpu::cpuid(0, 0)), (cr0 | CD, vendor));
    cpu::set_cr0(cr0);
    memory("caches-on", round);
    fact("cr0.cd-clear", cpu::cr0(), cr0);
}
