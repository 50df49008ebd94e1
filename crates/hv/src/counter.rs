//! A source of NMIs that the guest does not own: the last performance counter of the CPU, as long as the guest does
//! not use it. It counts the guest's cycles and overflows some times a second; the NMI exits whatever the guest
//! does, also with interrupts off, and the link is polled. An idle guest's cycles do not count, so it costs nothing.
//!
//! The guest reads and writes its own values of that counter (`guest`). Facts: APM 2, 13.2; the core extensions'
//! MSRs, PerfMonV2's global ones (appendix A), the local vector table's entry (16.4.1).
mod guest;

pub(crate) use guest::{read, write};

use crate::{Cpu, Host, Machine};
use vcpu::Vcpu;
use x86defs::msr;

/// Cycles of the guest between two NMIs: about a tenth of a second.
const PERIOD: u64 = 1 << 28;
/// A counter's bits.
const MASK: u64 = (1 << 48) - 1;
/// Set until a counter that was set to less than zero overflows.
const TOP: u64 = 1 << 47;
/// Counts after an overflow during which a counter is taken to have caused an NMI.
const RECENT: u64 = 1 << 20;

const ENABLE: u64 = 1 << 22;
const INTERRUPT: u64 = 1 << 20;
/// CPU clocks not halted, at every privilege level.
const CYCLES: u64 = 0x76 | 1 << 16 | 1 << 17;
/// Count in guests only.
const GUEST_ONLY: u64 = 1 << 40;

/// Local vector table: performance counter.
const LVT: u16 = 0x340;
const LVT_MASKED: u32 = 1 << 16;
const LVT_MODE: u32 = 7 << 8;
const LVT_NMI: u32 = 4 << 8;
/// Version: the number of the last entry of the local vector table, in bits 23:16.
const VERSION: u16 = 0x30;
/// APIC_BASE: x2APIC mode; enabled.
const X2APIC: u64 = 1 << 10;
const APIC_ENABLED: u64 = 1 << 11;

/// System control port B: NMIs by SERR# and IOCHK#.
const PORT_B: u16 = 0x61;
const PORT_B_NMI: u8 = 0xc0;

/// The counter that is ours while the guest does not enable it.
#[derive(Debug)]
pub(crate) struct Counter {
    /// MSR numbers of the first counter, what lies between two, and how many there are.
    first: Pair,
    step: u32,
    number: u32,
    /// The last one's.
    last: Pair,
    /// Its bit in the global registers, 0 where there are none.
    global: u64,
    /// [`GUEST_ONLY`], where the CPU has it.
    guest_only: u64,
    /// Whether it counts for us.
    ours: bool,
    /// What the guest has in it meanwhile.
    guest: Pair64,
    guest_global: u64,
    ticks: u8,
}

/// A control and its count.
#[derive(Clone, Copy, Debug)]
struct Pair {
    control: u32,
    count: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pair64 {
    control: u64,
    count: u64,
}

/// Find the counter and start it; say in the log which way it is.
pub(crate) fn start<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    if machine.console.is_none() {
        return;
    }
    match find(machine, vcpu) {
        Some(counter) => {
            counter.watch(vcpu);
            counter.arm(&machine.host);
            cpu.counter = Some(counter);
            unmask(machine, cpu, vcpu);
            machine.log(format_args!("a performance counter stops a guest with interrupts off"));
        }
        None => machine.log(format_args!(
            "no performance counter: a guest with interrupts off is stopped by an NMI only"
        )),
    }
}

fn find<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu) -> Option<Counter> {
    let host = &machine.host;
    let [_, ebx, ecx, edx] = host.cpuid(0, 0);
    let vendor = [ebx, edx, ecx].map(u32::to_le_bytes);
    if ![*b"AuthenticAMD", *b"HygonGenuine"].iter().any(|name| *name == *vendor.as_flattened()) {
        return None;
    }
    let extended = host.cpuid(0x8000_0000, 0)[0];
    let core = host.cpuid(0x8000_0001, 0)[2] & 1 << 23 != 0;
    let v2 = if extended >= 0x8000_0022 { host.cpuid(0x8000_0022, 0) } else { [0; 4] };
    let v2_number = v2[1] & 15;
    let v2 = v2[0] & 1 != 0 && v2_number != 0;
    let (first, step, number) = match (core, v2) {
        (true, true) => (Pair { control: msr::PERF_CTL0, count: msr::PERF_CTR0 }, 2, v2_number),
        (true, false) => (Pair { control: msr::PERF_CTL0, count: msr::PERF_CTR0 }, 2, 6),
        _ => (Pair { control: msr::PERF_LEGACY_CTL0, count: msr::PERF_LEGACY_CTR0 }, 1, 4),
    };
    let at = number.saturating_sub(1);
    let last = nth(first, step, at);
    let old = host.read_msr(last.control).filter(|control| control & ENABLE == 0)?;
    let old_count = host.read_msr(last.count)?;
    // Emulators and some hypervisors let writes vanish.
    const PATTERN: u64 = 0x5a5a_a5a5_3c3c;
    let there = host.write_msr(last.count, PATTERN) && host.read_msr(last.count) == Some(PATTERN);
    let takes = |control| {
        host.write_msr(last.control, control) && host.read_msr(last.control) == Some(control)
    };
    let there = there && takes(CYCLES | INTERRUPT);
    let guest_only = if there && takes(CYCLES | INTERRUPT | GUEST_ONLY) { GUEST_ONLY } else { 0 };
    host.write_msr(last.control, old);
    host.write_msr(last.count, old_count);
    // The entry may not be there either.
    let entries = apic_read(machine, vcpu, VERSION)? >> 16 & 0xff;
    let global = if v2 { 1_u64.wrapping_shl(at) } else { 0 };
    let guest_global = if v2 { host.read_msr(msr::PERF_GLOBAL_CTL)? & global } else { 0 };
    (there && entries >= 4).then_some(Counter {
        first,
        step,
        number,
        last,
        global,
        guest_only,
        ours: true,
        guest: Pair64 { control: old, count: old_count },
        guest_global,
        ticks: 0,
    })
}

fn nth(first: Pair, step: u32, n: u32) -> Pair {
    let offset = step.wrapping_mul(n);
    Pair { control: first.control.wrapping_add(offset), count: first.count.wrapping_add(offset) }
}

impl Counter {
    fn watch(&self, vcpu: &mut dyn Vcpu) {
        vcpu.watch_msr(self.last.control, true, true);
        vcpu.watch_msr(self.last.count, true, true);
        if self.global != 0 {
            vcpu.watch_msr(msr::PERF_GLOBAL_CTL, true, true);
            vcpu.watch_msr(msr::PERF_GLOBAL_STATUS, true, true);
        }
    }

    /// Count a period from now on.
    fn arm<H: Host>(&self, host: &H) {
        self.rest(host);
        if self.global != 0 {
            host.write_msr(msr::PERF_GLOBAL_STATUS_CLEAR, self.global);
            let enabled = host.read_msr(msr::PERF_GLOBAL_CTL).unwrap_or(0);
            host.write_msr(msr::PERF_GLOBAL_CTL, enabled | self.global);
        }
        host.write_msr(self.last.control, CYCLES | INTERRUPT | ENABLE | self.guest_only);
    }

    /// Count nothing, with a whole period left.
    fn rest<H: Host>(&self, host: &H) {
        host.write_msr(self.last.control, 0);
        host.write_msr(self.last.count, PERIOD.wrapping_neg() & MASK);
    }

    fn rests<H: Host>(&self, host: &H) -> bool {
        host.read_msr(self.last.control).is_some_and(|control| control & ENABLE == 0)
    }

    /// The guest's counters that may raise interrupts: their counts.
    fn others<H: Host>(&self, host: &H) -> impl Iterator<Item = u64> {
        const ACTIVE: u64 = ENABLE | INTERRUPT;
        let all = (0..self.number).map(|n| nth(self.first, self.step, n));
        all.filter(|pair| !self.ours || pair.control != self.last.control)
            .filter(|pair| host.read_msr(pair.control).is_some_and(|it| it & ACTIVE == ACTIVE))
            .filter_map(|pair| host.read_msr(pair.count))
    }
}

/// An NMI came: whether it was the counter's, and no more than that.
pub(crate) fn took<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) -> bool {
    let host = &machine.host;
    let Some(counter) = cpu.counter.as_ref().filter(|counter| counter.ours) else { return false };
    if host.read_msr(counter.last.count).is_none_or(|count| count & TOP != 0) {
        return false;
    }
    counter.arm(host);
    // NMIs merge: this one may be another's as well, who is not to miss it.
    let counted = counter.others(host).any(|count| count & MASK < RECENT);
    let signalled = host.port_in(PORT_B) & PORT_B_NMI != 0;
    unmask(machine, cpu, vcpu);
    !counted && !signalled
}

/// The tick: now and then see that the counter's interrupts still come.
#[inline]
pub(crate) fn tick<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    if let Some(counter) = &mut cpu.counter {
        counter.ticks = counter.ticks.wrapping_add(1);
        if counter.ticks & 63 == 0 {
            unmask(machine, cpu, vcpu);
        }
    }
}

/// See to it that the counters' interrupts come as NMIs. Masked by a guest that uses none, the entry is changed, and
/// the counting begins anew: an overflow while it was masked raised nothing, and would be taken for the next NMI,
/// whose ever it is. With a vector of the guest's in the entry, the counter rests: its interrupts would be the guest's.
#[cold]
fn unmask<H: Host>(machine: &Machine<H>, cpu: &Cpu, vcpu: &mut dyn Vcpu) {
    let Some(counter) = cpu.counter.as_ref().filter(|counter| counter.ours) else { return };
    let Some(entry) = apic_read(machine, vcpu, LVT) else { return };
    let host = &machine.host;
    if entry & LVT_MASKED != 0 {
        if counter.others(host).next().is_none() {
            counter.arm(host);
            apic_write(machine, vcpu, LVT, entry & !(LVT_MASKED | LVT_MODE | 0xff) | LVT_NMI);
        }
    } else if entry & LVT_MODE != LVT_NMI {
        counter.rest(host);
    } else if counter.rests(host) {
        counter.arm(host);
    }
}

/// Whether the APIC's registers are MSRs; `None` if it is switched off. Otherwise its page is in the window.
fn x2apic<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu) -> Option<bool> {
    let base = machine.host.read_msr(msr::APIC_BASE)?;
    if base & APIC_ENABLED == 0 {
        return None;
    }
    let x2apic = base & X2APIC != 0;
    if !x2apic {
        let moved = machine.nested.lock().show_apic(base & crate::apic::BASE).ok()?;
        if moved {
            vcpu.flush();
        }
    }
    Some(x2apic)
}

fn x2apic_msr(register: u16) -> u32 {
    msr::X2APIC_FIRST.wrapping_add(u32::from(register >> 4))
}

fn apic_read<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu, register: u16) -> Option<u32> {
    if x2apic(machine, vcpu)? {
        return machine.host.read_msr(x2apic_msr(register)).map(|value| value as u32);
    }
    Some(machine.host.apic_read(register))
}

fn apic_write<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu, register: u16, value: u32) {
    match x2apic(machine, vcpu) {
        Some(true) => _ = machine.host.write_msr(x2apic_msr(register), value.into()),
        Some(false) => machine.host.apic_write(register, value),
        None => {}
    }
}
