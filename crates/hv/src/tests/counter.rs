//! The performance counter whose NMIs stop a guest with interrupts off.
use super::bench::{Bench, CODE};
use crate::counter;
use vcpu::{Event, Exit, Gpr, Vcpu};
use x86defs::msr;

const MASK: u64 = (1 << 48) - 1;
const ENABLE: u64 = 1 << 22;
const INTERRUPT: u64 = 1 << 20;
const LVT: u16 = 0x340;

/// A CPU with core extensions, and with PerfMonV2 if it has `v2` counters.
fn cpu(v2: u32) -> Bench {
    let mut bench = Bench::new();
    let name = |text: &[u8; 4]| u32::from_le_bytes(*text);
    let host = &bench.machine.host;
    host.cpuid.borrow_mut().extend([
        (0, [16, name(b"Auth"), name(b"cAMD"), name(b"enti")]),
        (0x8000_0000, [0x8000_0022, 0, 0, 0]),
        (0x8000_0001, [0, 0, 1 << 23, 0]),
        (0x8000_0022, [u32::from(v2 != 0), v2, 0, 0]),
    ]);
    let pairs = (0..16).flat_map(|n| [(msr::PERF_CTL0 + 2 * n, 0), (msr::PERF_CTR0 + 2 * n, 0)]);
    host.msrs.borrow_mut().extend(pairs);
    host.msrs.borrow_mut().extend([
        (msr::APIC_BASE, 0xfee0_0900),
        (msr::PERF_GLOBAL_CTL, 0),
        (msr::PERF_GLOBAL_STATUS, 0),
        (msr::PERF_GLOBAL_STATUS_CLEAR, 0),
    ]);
    host.apic.borrow_mut().extend([(0x30, 0x8005_0010), (LVT, 0x1_0000)]);
    bench.machine.host.inputs.borrow_mut().insert(0x61, 0x20);
    bench.vcpu.next_rip = Some(CODE);
    bench
}

fn started(v2: u32) -> Bench {
    let mut bench = cpu(v2);
    counter::start(&bench.machine, &mut bench.cpu, &mut bench.vcpu);
    bench
}

fn get(bench: &Bench, register: u32) -> u64 {
    bench.machine.host.msrs.borrow()[&register]
}

fn set(bench: &Bench, register: u32, value: u64) {
    bench.machine.host.msrs.borrow_mut().insert(register, value);
}

fn rdmsr(bench: &mut Bench, register: u32) -> u64 {
    bench.vcpu.set_gpr(Gpr::Rcx, register.into());
    bench.exit(Exit::Rdmsr);
    assert_eq!(bench.queued(), None);
    bench.vcpu.gpr(Gpr::Rdx) << 32 | bench.vcpu.gpr(Gpr::Rax)
}

fn wrmsr(bench: &mut Bench, register: u32, value: u64) {
    bench.vcpu.set_gpr(Gpr::Rcx, register.into());
    bench.vcpu.set_gpr(Gpr::Rax, value & 0xffff_ffff);
    bench.vcpu.set_gpr(Gpr::Rdx, value >> 32);
    bench.exit(Exit::Wrmsr);
    assert_eq!(bench.queued(), None);
}

/// The counter has overflowed, and its NMI came.
fn overflow(bench: &mut Bench, control: u32) {
    set(bench, control + 1, 17);
    nmi(bench);
}

fn nmi(bench: &mut Bench) {
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
}

const CTL5: u32 = msr::PERF_CTL0 + 10;
const CTR5: u32 = msr::PERF_CTR0 + 10;

#[test]
fn a_machine_that_has_none_says_so() {
    // Another vendor; counters that keep nothing; one the firmware uses; an APIC that is off or has no entry.
    let mut benches = [Bench::new(), cpu(0), cpu(0), cpu(0), cpu(0)];
    benches[1].machine.host.msrs.borrow_mut().remove(&CTL5);
    set(&benches[2], CTL5, ENABLE);
    set(&benches[3], msr::APIC_BASE, 0xfee0_0100);
    benches[4].machine.host.apic.borrow_mut().insert(0x30, 0x8003_0010);
    for bench in &mut benches {
        counter::start(&bench.machine, &mut bench.cpu, &mut bench.vcpu);
        assert!(bench.cpu.counter.is_none());
        assert!(bench.log().contains("no performance counter"));
        assert!(!bench.vcpu.msrs.contains(&CTL5));
    }
    assert_eq!((get(&benches[4], CTL5), get(&benches[4], CTR5)), (0, 0), "as it was");
}

#[test]
fn it_counts_and_its_nmi_is_nobody_elses() {
    let mut bench = started(0);
    assert!(bench.log().contains("a performance counter stops"));
    assert_eq!(get(&bench, CTL5) & !(1 << 40), 0x76 | 3 << 16 | INTERRUPT | ENABLE);
    assert_eq!(get(&bench, CTR5), 0_u64.wrapping_sub(1 << 28) & MASK);
    assert_eq!(bench.machine.host.apic.borrow()[&LVT], 0x400);
    overflow(&mut bench, CTL5);
    assert_eq!(bench.queued(), None, "the guest sees nothing");
    assert_eq!(get(&bench, CTR5), 0_u64.wrapping_sub(1 << 28) & MASK, "and it counts again");
    // The link is polled.
    bench.line.packets(&["?", "c"]);
    overflow(&mut bench, CTL5);
    let replies = bench.line.replies();
    assert!(replies.contains("T02"), "{replies:?}");
    assert_eq!((bench.line.left(), bench.queued()), (0, None));
}

#[test]
fn another_nmi_is_the_guests() {
    let mut bench = started(0);
    nmi(&mut bench);
    assert_eq!(bench.queued(), Some(Event::Nmi));
    // SERR#, at the same time as ours.
    let mut bench = started(0);
    bench.machine.host.inputs.borrow_mut().insert(0x61, 0xa0);
    overflow(&mut bench, CTL5);
    assert_eq!(bench.queued(), Some(Event::Nmi));
    // A counter of the guest's, at the same time; one that counts on quietly.
    for (count, expected) in [(3, Some(Event::Nmi)), (MASK - 5, None)] {
        let mut bench = started(0);
        set(&bench, msr::PERF_CTL0, ENABLE | INTERRUPT);
        set(&bench, msr::PERF_CTR0, count);
        overflow(&mut bench, CTL5);
        assert_eq!(bench.queued(), expected);
    }
}

/// The NMI by which an analyst gets hold of a guest with interrupts off where there is no counter: it polls the
/// link, and reaches the guest once.
#[test]
fn any_nmi_polls() {
    let mut bench = Bench::bits32();
    bench.line.packets(&["?", "c"]);
    nmi(&mut bench);
    let replies = bench.line.replies();
    assert!(replies.contains("T02"), "{replies:?}");
    assert_eq!(bench.queued(), Some(Event::Nmi));
}

#[test]
fn the_guest_has_its_own_values() {
    let mut bench = started(0);
    wrmsr(&mut bench, CTR5, 0xabcd);
    wrmsr(&mut bench, CTL5, 0x1_00c0);
    assert_eq!((rdmsr(&mut bench, CTR5), rdmsr(&mut bench, CTL5)), (0xabcd, 0x1_00c0));
    assert_ne!(get(&bench, CTL5) & ENABLE, 0, "ours counts on");
    // It uses the counter: ours no longer.
    wrmsr(&mut bench, CTL5, 0x1_00c0 | ENABLE | INTERRUPT);
    assert_eq!(get(&bench, CTR5), 0xabcd);
    assert_eq!(get(&bench, CTL5), 0x1_00c0 | ENABLE | INTERRUPT);
    overflow(&mut bench, CTL5);
    assert_eq!(bench.queued(), Some(Event::Nmi));
    bench.vcpu.queued = None;
    // And no longer.
    wrmsr(&mut bench, CTL5, 0x1_00c0);
    assert_eq!(rdmsr(&mut bench, CTR5), 17);
    assert_eq!(get(&bench, CTR5), 0_u64.wrapping_sub(1 << 28) & MASK);
    assert_ne!(get(&bench, CTL5) & ENABLE, 0);
}

#[test]
fn the_global_registers_show_the_guests_bit() {
    let mut bench = started(8);
    let (control, bit) = (msr::PERF_CTL0 + 14, 1 << 7);
    assert_ne!(get(&bench, control) & ENABLE, 0, "the last of eight");
    assert_eq!(get(&bench, msr::PERF_GLOBAL_CTL), bit);
    assert_eq!(rdmsr(&mut bench, msr::PERF_GLOBAL_CTL), 0);
    wrmsr(&mut bench, msr::PERF_GLOBAL_CTL, 3);
    assert_eq!(get(&bench, msr::PERF_GLOBAL_CTL), bit | 3);
    assert_eq!(rdmsr(&mut bench, msr::PERF_GLOBAL_CTL), 3);
    set(&bench, msr::PERF_GLOBAL_STATUS, bit | 1);
    assert_eq!(rdmsr(&mut bench, msr::PERF_GLOBAL_STATUS), 1);
    // In use by the guest it is as the guest has it.
    wrmsr(&mut bench, control, ENABLE);
    assert_eq!(get(&bench, msr::PERF_GLOBAL_CTL), 3);
    wrmsr(&mut bench, msr::PERF_GLOBAL_CTL, bit);
    assert_eq!(rdmsr(&mut bench, msr::PERF_GLOBAL_CTL), bit);
    wrmsr(&mut bench, control, 0);
    assert_eq!(get(&bench, msr::PERF_GLOBAL_CTL), bit);
    assert_eq!(rdmsr(&mut bench, msr::PERF_GLOBAL_CTL), bit);
}

#[test]
fn a_masked_entry_is_opened_again_unless_the_guest_counts() {
    let mut bench = started(0);
    let lvt = |bench: &Bench| bench.machine.host.apic.borrow()[&LVT];
    let ticks = |bench: &mut Bench| (0..64).for_each(|_| bench.exit(Exit::Interrupt));
    bench.machine.host.apic.borrow_mut().insert(LVT, 0x1_0000);
    ticks(&mut bench);
    assert_eq!(lvt(&bench), 0x400);
    set(&bench, msr::PERF_CTL0, ENABLE | INTERRUPT);
    set(&bench, msr::PERF_CTR0, MASK);
    bench.machine.host.apic.borrow_mut().insert(LVT, 0x1_0000);
    ticks(&mut bench);
    assert_eq!(lvt(&bench), 0x1_0000);
    // A vector of the guest's own is left alone, and gets no interrupt of ours.
    set(&bench, msr::PERF_CTL0, 0);
    bench.machine.host.apic.borrow_mut().insert(LVT, 0xee);
    set(&bench, CTR5, 17);
    ticks(&mut bench);
    assert_eq!((lvt(&bench), get(&bench, CTL5) & ENABLE), (0xee, 0));
    nmi(&mut bench);
    assert_eq!(bench.queued(), Some(Event::Nmi), "not ours");
    bench.vcpu.queued = None;
    bench.machine.host.apic.borrow_mut().insert(LVT, 0x400);
    ticks(&mut bench);
    assert_ne!(get(&bench, CTL5) & ENABLE, 0, "and counts again");
}

/// While its entry is masked an overflow raises nothing: the next NMI is another's, and there are more of ours.
#[test]
fn an_overflow_behind_a_masked_entry_is_not_the_next_nmi() {
    let mut bench = started(0);
    bench.machine.host.apic.borrow_mut().insert(LVT, 0x1_0000);
    set(&bench, CTR5, 1 << 30);
    (0..64).for_each(|_| bench.exit(Exit::Interrupt));
    assert_eq!(bench.machine.host.apic.borrow()[&LVT], 0x400);
    assert_eq!(get(&bench, CTR5), 0_u64.wrapping_sub(1 << 28) & MASK, "it counts again");
    nmi(&mut bench);
    assert_eq!(bench.queued(), Some(Event::Nmi), "not ours");
}

#[test]
fn in_x2apic_mode_the_entry_is_an_msr() {
    let mut bench = cpu(0);
    set(&bench, msr::APIC_BASE, 0xfee0_0d00);
    set(&bench, 0x803, 0x8005_0010);
    set(&bench, 0x834, 0x1_0000);
    counter::start(&bench.machine, &mut bench.cpu, &mut bench.vcpu);
    assert!(bench.cpu.counter.is_some());
    assert_eq!(get(&bench, 0x834), 0x400);
}
