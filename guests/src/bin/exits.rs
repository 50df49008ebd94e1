//! A guest to stop: says READY, then counts for ever, or halts between the timer's interrupts if
//! the command line says `hlt`. The timer counts too, so a debugger sees both go on. With `long` its handler
//! lasts about half the time, interrupts off, and says so if it is entered again meanwhile. With `deaf` interrupts are
//! off and it counts NMIs.

#![no_std]
#![no_main]

use guests::cpu::{self, Racy};
use guests::exception::Frame;
use guests::{cpu_asm, exception, pic, report, start};

guests::guest!(main);
guests::assembly!("exits.S");
guests::labels!(exits_loop, exits_halt, exits_deaf, exits_counter, exits_ticks);

const IRQ0: u64 = 0x20;
const NMI: u64 = 2;

static LONG: Racy<bool> = Racy::new(false);
static INSIDE: Racy<bool> = Racy::new(false);

fn tick(_: &mut Frame) {
    if INSIDE.get() {
        report::line(format_args!("NESTED: FAIL"));
    }
    if LONG.get() {
        INSIDE.set(true);
        // Nothing in here exits.
        cpu_asm!("2:", "dec {n}", "jnz 2b", n = inout(reg) 20_000_000_u64 => _, options(nostack));
        INSIDE.set(false);
    }
    cpu::write64(exits_ticks(), cpu::read64(exits_ticks()) + 1);
    pic::end_of_interrupt();
}

fn nmi(_: &mut Frame) {
    cpu::write64(exits_ticks(), cpu::read64(exits_ticks()) + 1);
}

fn main() {
    exception::hook(IRQ0, Some(tick));
    pic::remap(IRQ0 as u8);
    let _ = pic::unmask_timer();
    LONG.set(start::has_word("long"));
    let routine = if start::has_word("deaf") {
        exception::hook(NMI, Some(nmi));
        exits_deaf()
    } else if start::has_word("hlt") {
        exits_halt()
    } else {
        exits_loop()
    };
    report::line(format_args!("loop {routine:x}"));
    report::line(format_args!("counter {:x}", exits_counter()));
    report::line(format_args!("ticks {:x}", exits_ticks()));
    report::line(format_args!("READY"));
    cpu_asm!("jmp {}", in(reg) routine);
}
