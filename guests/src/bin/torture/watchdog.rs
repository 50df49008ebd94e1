//! What ends a case that would not end: the timer's interrupt, as an NMI by LINT0, or by the I/O APIC where the
//! interrupt controller does not go through the local APIC (Bochs).

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
/// The I/O APIC's register that chooses another, and that one.
const IO_INDEX: u64 = 0xfec0_0000;
const IO_DATA: u64 = 0xfec0_0010;
/// Its inputs that the timer is at, on one machine or another.
const TIMER_PINS: [u32; 2] = [0, 2];
const NMI: u32 = 4 << 8;
const PERIODIC: u32 = 1 << 17;
/// 8254 ticks between two NMIs: 100 Hz.
const DIVISOR: u16 = 11932;

static TAKEN: Racy<u64> = Racy::new(0);
/// LINT0 gave no NMI.
static BY_IO_APIC: Racy<bool> = Racy::new(false);

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
    // Where it reaches the CPU in another way it would be vector 8.
    outb(0x21, if BY_IO_APIC.get() { 0xff } else { 0xfe });
    if BY_IO_APIC.get() {
        for pin in TIMER_PINS {
            for (register, value) in [(0x11 + 2 * pin, 0), (0x10 + 2 * pin, NMI)] {
                cpu::write32(IO_INDEX, register);
                cpu::write32(IO_DATA, value);
            }
        }
    }
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

/// Finds out by which way NMIs come.
pub(crate) fn find() {
    arm(false);
    BY_IO_APIC.set(!comes());
    arm(false);
}

/// Whether an NMI comes within ten periods, of which the refresh bit changes 66 times a millisecond. Where it does not
/// change at all, so many reads of a port take some seconds.
fn comes() -> bool {
    let before = TAKEN.get();
    let mut last = inb(0x61) & 0x10;
    let mut left = 6_600;
    for _ in 0..4_000_000 {
        if left == 0 || TAKEN.get() != before {
            break;
        }
        let now = inb(0x61) & 0x10;
        left -= u32::from(now != last);
        last = now;
    }
    TAKEN.get() != before
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
