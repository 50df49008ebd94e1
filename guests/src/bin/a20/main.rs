//! Address line 20 by port 92h, by the keyboard controller and by the BIOS: off, FFFF:0010 and up
//! is 0000:0000 and up, for reads and writes; on, it is not.

#![no_std]
#![no_main]

use guests::bios::{self, Regs};
use guests::{cpu, low, report};
use report::fact;

guests::guest!(main);
guests::assembly!("low.S");
guests::labels!(
    a20_run,
    a20_off_92,
    a20_on_92,
    a20_off_d1,
    a20_on_d1,
    a20_off_dd,
    a20_on_df,
    a20_off_bios,
    a20_on_bios,
);

/// Five offsets, a bit for reads and one for writes each.
const ALL: u32 = 0x3ff;
const PORT92_A20: u32 = 1 << 1;

/// One way to switch, off and on.
fn run(way: &str, off: u64, on: u64) {
    low::set_arg(0, off as u32);
    low::set_arg(1, on as u32);
    low::real(a20_run());
    fact(format_args!("a20.{way}-off-aliases"), low::result(0), ALL);
    fact(format_args!("a20.{way}-on-differs"), low::result(4), 0);
}

/// Bits of port 92h other than A20's stay as they are.
fn other_bits(way: &str, before: u32) {
    for (state, n) in [("off", 1), ("on", 5)] {
        let now = low::result(n) & !PORT92_A20;
        fact(format_args!("a20.{way}-{state}-other-bits"), now, before & !PORT92_A20);
    }
}

fn main() {
    let before = u32::from(cpu::inb(0x92));
    report::info(format_args!("port 92h at start {before:x}"));

    run("port92", a20_off_92(), a20_on_92());
    fact("a20.port92-off-read-back", low::result(1) & PORT92_A20, 0);
    fact("a20.port92-on-read-back", low::result(5) & PORT92_A20, PORT92_A20);
    other_bits("port92", before);

    // The output port: bit 0 is the reset line (1 = not), bit 1 is A20.
    for (way, off, on) in
        [("kbc-d1", a20_off_d1(), a20_on_d1()), ("kbc-dd-df", a20_off_dd(), a20_on_df())]
    {
        run(way, off, on);
        fact(format_args!("a20.{way}-off-d0"), low::result(2) & 3, 1);
        fact(format_args!("a20.{way}-on-d0"), low::result(6) & 3, 3);
        other_bits(way, before);
    }

    run("bios", a20_off_bios(), a20_on_bios());
    // Carry, AH, and what AX = 2402h then says in AL.
    fact("a20.bios-2400", low::result(3), 0x00_0000);
    fact("a20.bios-2401", low::result(7), 0x01_0000);
    let support = bios::int(0x15, Regs { eax: 0x2403, ..Regs::default() });
    fact("a20.bios-2403", (support.carry(), support.eax >> 8 & 0xff), (false, 0));
    report::value("a20.bios-2403-ways", format_args!("{:x}", support.ebx as u16));

    // Many times, as a BIOS does around each disk call of 32-bit code.
    for _ in 0..100 {
        low::real(a20_run());
    }
    fact("a20.again", (low::result(0), low::result(4)), (ALL, 0));
    report::value("a20.port92-end", format_args!("{:x}", cpu::inb(0x92)));
}
