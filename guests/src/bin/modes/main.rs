//! Every mode of the CPU and the ways between them that a BIOS and an operating system take, with
//! what interrupts and exceptions do in each.

#![no_std]
#![no_main]

mod debug;
mod interrupts;
mod long;
mod protected;
mod real;

use guests::bios::{self, Regs};
use guests::cpu;
use guests::report::{fact, holds, info};

guests::guest!(main);
guests::assembly!("real.S");
guests::assembly!("protected.S");
guests::assembly!("long.S");

fn main() {
    long::exceptions();
    long::compatibility();
    long::exchange();
    long::user();
    debug::steps();
    debug::breakpoints();
    debug::icebp();
    interrupts::timer();
    interrupts::shadow();
    interrupts::nmi();
    interrupts::machine_check_vector();
    real::all();
    protected::all();
    bios_calls();
    // And after all of it, the whole way once more, many times.
    for _ in 0..50 {
        let _ = bios::int(0x11, Regs::default());
    }
    long::exceptions();
}

fn bios_calls() {
    let teletype = bios::int(0x10, Regs { eax: 0x0e2a, ebx: 7, ..Regs::default() });
    fact("bios.teletype", teletype.eax as u16, 0x0e2a);
    let key = bios::int(0x16, Regs { eax: 0x0100, ..Regs::default() });
    holds("bios.no-key", key.eflags & 0x40 != 0);
    let a20 = bios::int(0x15, Regs { eax: 0x2402, ..Regs::default() });
    fact("bios.a20-on", (a20.carry(), a20.eax & 0xff), (false, 1));

    const BUFFER: u16 = 0x7c00;
    cpu::write16(u64::from(BUFFER) + 510, 0);
    let read = Regs { eax: 0x0201, ebx: BUFFER.into(), ecx: 1, edx: 0x80, ..Regs::default() };
    let disk = bios::int(0x13, read);
    if disk.carry() {
        info(format_args!("no disk 80h: {:x}", disk.eax >> 8 & 0xff));
    } else {
        fact("bios.sector-0", cpu::read16(u64::from(BUFFER) + 510), 0xaa55);
    }
}
