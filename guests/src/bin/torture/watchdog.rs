//! What ends a case that would not end: the timer's interrupt, as an NMI by LINT0.

use guests::cpu::{self, Racy, inb, outb};
use guests::exception::{self, Frame};

const APIC_BASE: u32 = 0x1b;
const APIC: u64 = 0xfee0_0000;
const BASE_VALUE: u64 = APIC | 0x900;
const SPURIOUS: u64 = APIC + 0xf0;
const LVT_TIMER: u64 = APIC + 0x320;
const LINT0: u64 = APIC + 0x350;
const COUNT: u64 = APIC + 0x380;
const DIVIDE: u64 = APIC + 0x3e0;
const EOI: u64 = APIC + 0xb0;
const NMI: u32 = 4 << 8;
const PERIODIC: u32 = 1 << 17;
/// 8254 ticks between two NMIs: 100 Hz.
const DIVISOR: u16 = 11932;

static TAKEN: Racy<u64> = Racy::new(0);

/// Sets all of it up again, whatever the last case did to it. `interrupts`: the local APIC's timer too.
pub(crate) fn arm(interrupts: bool) {
    if cpu::rdmsr(APIC_BASE) & !0x100 != BASE_VALUE & !0x100 {
        cpu::wrmsr(APIC_BASE, BASE_VALUE);
    }
    for (port, base, cascade) in [(0x20, 8, 4), (0xa0, 0x70, 2)] {
        for (offset, value) in [(0, 0x11), (1, base), (1, cascade), (1, 1)] {
            outb(port + offset, value);
        }
    }
    outb(0xa1, 0xff);
    outb(0x21, 0xfe);
    outb(0x43, 0x34);
    outb(0x40, DIVISOR as u8);
    outb(0x40, (DIVISOR >> 8) as u8);
    cpu::write32(SPURIOUS, 0x1ff);
    cpu::write32(LINT0, NMI);
    cpu::write32(DIVIDE, 0xb);
    cpu::write32(LVT_TIMER, if interrupts { PERIODIC | 0x30 } else { 1 << 16 });
    cpu::write32(COUNT, if interrupts { 200_000 } else { 0 });
    for _ in 0..4 {
        cpu::write32(EOI, 0);
    }
}

/// NMIs while the guest's own code runs are taken and forgotten.
pub(crate) fn hook() {
    fn nmi(_: &mut Frame) {
        outb(0x20, 0x0c); // OCW3, poll: acknowledges
        let _ = inb(0x20);
        outb(0x20, 0x20);
        TAKEN.set(TAKEN.get() + 1);
    }
    fn timer(_: &mut Frame) {
        cpu::write32(EOI, 0);
    }
    exception::hook(exception::NMI, Some(nmi));
    exception::hook(0x30, Some(timer));
}
