//! NMIs at every point of an exit: the 8254 sends one by the I/O APIC, a little later each time, while the guest executes what
//! a hypervisor intercepts. Each must arrive, once, and without waiting for another exit.

#![no_std]
#![no_main]

use guests::cpu::{self, Racy, inb, outb};
use guests::exception::{self, Frame};
use guests::report::{fact, holds, info};
use guests::{cpu_asm, pic, start};

guests::guest!(main);

const APIC_SPURIOUS: u64 = 0xfee0_00f0;
const IO_INDEX: u64 = 0xfec0_0000;
const IO_DATA: u64 = 0xfec0_0010;
/// The I/O APIC's inputs that the timer is at, on one machine or another.
const TIMER_PINS: [u32; 2] = [0, 2];
const NMI: u32 = 4 << 8;
/// More than the instructions of one exit, in the timer's ticks, and one tick in instructions, in Bochs.
const TICKS: u32 = 60;
const STEPS: u32 = 23;
const ROUNDS: u32 = 9_000;

static TAKEN: Racy<u64> = Racy::new(0);

fn nmi(_: &mut Frame) {
    TAKEN.set(TAKEN.get() + 1);
    // An exit while NMIs are blocked.
    if TAKEN.get().is_multiple_of(3) {
        let _ = cpu::cpuid(0, 0);
    }
}

/// The timer's output rises in `ticks` of 838 ns, once.
fn arm(ticks: u32) {
    outb(0x43, 0x30); // channel 0, both bytes, mode 0
    outb(0x40, ticks as u8);
    outb(0x40, (ticks >> 8) as u8);
}

fn set_up() {
    let _ = pic::mask_all();
    cpu::write32(APIC_SPURIOUS, 0x1ff);
    arm(0xffff);
    for pin in TIMER_PINS {
        let own = cpu::read32(0xfee0_0020);
        for (register, value) in [(0x11 + 2 * pin, own), (0x10 + 2 * pin, NMI)] {
            cpu::write32(IO_INDEX, register);
            cpu::write32(IO_DATA, value);
        }
    }
    exception::hook(exception::NMI, Some(nmi));
}

/// Whether another NMI than the `before`th comes within `ticks` of the TSC, in which nothing exits.
fn comes(before: u64, ticks: u64) -> bool {
    let from = cpu::rdtsc();
    while TAKEN.get() == before {
        if cpu::rdtsc() - from > ticks {
            return false;
        }
    }
    true
}

/// TSC ticks in a millisecond, of which the refresh bit (port 61h) changes 66 times.
fn millisecond() -> u64 {
    let from = cpu::rdtsc();
    for _ in 0..33 {
        while inb(0x61) & 0x10 == 0 {}
        while inb(0x61) & 0x10 != 0 {}
    }
    cpu::rdtsc() - from
}

fn main() {
    let ms = millisecond();
    info(format_args!("{ms} ticks of the TSC in a millisecond"));
    set_up();
    arm(100);
    holds("nmi.by-the-timer", comes(0, 1000 * ms));
    let (mut lost, mut doubled, mut late, mut inside) = (0, 0, 0, 0);
    for round in 0..ROUNDS {
        let before = TAKEN.get();
        arm(2 + round % TICKS);
        cpu_asm!("2:", "dec {n:e}", "jns 2b", n = inout(reg) round % STEPS => _, options(nostack));
        for n in 0..4 {
            if (round + n) % 4 == 0 {
                let _ = inb(0x92);
            } else {
                let _ = cpu::cpuid(0, 0);
            }
        }
        inside += u32::from(TAKEN.get() != before);
        // Well below 10 ms, after which the hypervisor looks again by itself.
        if !comes(before, 4 * ms) {
            late += 1;
            lost += u32::from(!comes(before, 1000 * ms));
        }
        for _ in 0..2 {
            let _ = cpu::cpuid(0, 0);
        }
        doubled += u32::from(TAKEN.get() > before + 1);
    }
    info(format_args!("{ROUNDS} sent, {inside} came before the exits were over, {late} late"));
    fact("nmi.lost", lost, 0);
    fact("nmi.doubled", doubled, 0);
    fact("nmi.count", TAKEN.get(), u64::from(ROUNDS) + 1);
    // In an emulator whose time is that of the instructions.
    if start::has_word("exact") {
        fact("nmi.late", late, 0);
        holds("nmi.in-the-midst", inside > 0 && inside < ROUNDS);
    }
}
