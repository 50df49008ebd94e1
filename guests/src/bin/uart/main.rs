//! COM1 belongs to the VMM: no UART answers at 3F8h and the BIOS's data area does not name one.
//! On the bare machine the data area names it, and then it must be a live UART.

#![no_std]
#![no_main]

use guests::bios::{self, Regs};
use guests::cpu::{self, Racy};
use guests::report::{self, fact};
use guests::{cpu_asm, low};

guests::guest!(main);
guests::assembly!("forms.S");
guests::labels!(
    uart_real,
    uart_ins_d32,
    uart_ins_down,
    uart_outs_down,
    uart_outs_fs,
    uart_ins_word,
    uart_ins_dword,
);

const COM1: u16 = 0x3f8;
const SCRATCH: u16 = COM1 + 7;
/// Four words of port addresses, COM1's first.
const BDA_PORTS: u64 = 0x400;
/// Bits 9 to 11: how many serial ports.
const BDA_EQUIPMENT: u64 = 0x410;

static BUFFER: Racy<[u64; 8]> = Racy::new([0; 8]);

fn main() {
    let named = (0..4).any(|n| cpu::read16(BDA_PORTS + 2 * n) == COM1);
    let count = cpu::read16(BDA_EQUIPMENT) >> 9 & 7;
    let listed = (0..4).filter(|&n| cpu::read16(BDA_PORTS + 2 * n) != 0).count();
    report::info(format_args!("bda names 3f8: {named}, serial ports {count}"));
    fact("uart.equipment-count", usize::from(count), listed);
    let equipment = bios::int(0x11, Regs::default()).eax >> 9 & 7;
    fact("uart.int11-count", equipment, u32::from(count));
    if named { live() } else { absent() }
}

/// The bare machine.
fn live() {
    for byte in [0x55, 0xaa] {
        cpu::outb(SCRATCH, byte);
        fact(format_args!("uart.live-scratch-{byte:x}"), cpu::inb(SCRATCH), byte);
    }
    cpu::outb(SCRATCH, 0x5a);
    let expected = [0x5a; 4];
    // Bytes only: wider accesses reach the registers above.
    strings(SCRATCH, |name, got| fact(format_args!("uart.live-{name}"), &got[..4], &expected[..]));
}

/// Under the VMM.
fn absent() {
    for port in COM1..COM1 + 8 {
        for byte in [0, 0x55, 0xff] {
            cpu::outb(port, byte);
            fact(format_args!("uart.absent-{port:x}-{byte:x}"), cpu::inb(port), 0xff);
        }
    }
    let (word, mut dword): (u16, u32);
    cpu_asm!("in ax, dx", in("dx") COM1, out("ax") word, options(nostack));
    fact("uart.absent-inw", word, 0xffff);
    cpu_asm!("in eax, dx", in("dx") COM1, out("eax") dword, options(nostack));
    fact("uart.absent-inl", dword, u32::MAX);
    cpu_asm!("out dx, ax", "out dx, eax", in("dx") COM1, in("eax") 0, options(nostack));
    for port in [COM1, COM1 + 5, SCRATCH] {
        strings(port, |name, got| {
            fact(format_args!("uart.absent-{port:x}-{name}"), &got[..4], &[0xff; 4][..]);
        });
    }
    for (name, routine) in [("insw", uart_ins_word()), ("insl", uart_ins_dword())] {
        call(routine, BUFFER.address(), COM1, 2);
        fact(format_args!("uart.absent-rep-{name}"), BUFFER.get()[0] as u32, u32::MAX);
    }
    // A straddling access: its low half is not COM1.
    cpu_asm!("mov dx, 0x3f6", "in eax, dx", out("eax") dword, out("dx") _, options(nostack));
    fact("uart.absent-straddle", dword >> 16, 0xffff);
}

/// Calls a string routine with its buffer, port and count; what is left of the count.
fn call(routine: u64, at: u64, port: u16, count: u64) -> u64 {
    let left: u64;
    cpu_asm!("call {}", in(reg) routine, inout("rdi") at => _, inout("rsi") at => _, in("dx") port,
        inout("rcx") count => left);
    left
}

/// Input and output by every string form; `judge` gets four bytes read by each.
fn strings(port: u16, mut judge: impl FnMut(&str, [u8; 8])) {
    let at = BUFFER.address();
    let mut judge_buffer = |name: &str| judge(name, BUFFER.get()[0].to_le_bytes());
    let mut left = 0;
    let clear = || BUFFER.set([0; 8]);
    clear();
    cpu_asm!("insb", "insb", "insb", "insb", in("dx") port, inout("rdi") at => _, options(nostack));
    judge_buffer("insb");
    clear();
    cpu_asm!("rep insb", in("dx") port, inout("rdi") at => _, inout("rcx") 4_u64 => _,
        options(nostack));
    judge_buffer("rep-insb");
    clear();
    left += call(uart_ins_d32(), at, port, 4);
    judge_buffer("rep-insb-a32");
    clear();
    left += call(uart_ins_down(), at + 3, port, 4);
    judge_buffer("rep-insb-df");
    for (name, routine) in [("rep-outsb-df", uart_outs_down()), ("rep-outsb-fs", uart_outs_fs())] {
        BUFFER.set([0x5a5a_5a5a_5a5a_5a5a; 8]);
        left += call(routine, at + 8, port, 4);
        let read = cpu::inb(port);
        judge(name, [read; 8]);
    }
    fact(format_args!("uart.{port:x}-counts"), left, 0);

    low::set_arg(0, u32::from(port));
    low::real(uart_real());
    for (n, name) in [(0, "real-insb-es"), (1, "real-insb-a32"), (2, "real-insb-df")] {
        let r = low::result(n);
        // The first word was the source of the output, after it had been kept.
        judge(name, (u64::from(r) << 32 | u64::from(r)).to_le_bytes());
    }
    judge("real-inb", [low::result(3) as u8; 8]);
    fact(format_args!("uart.{port:x}-real-outsb"), low::result(4), 1);
    // What OUTSB left in a live register is put back.
    cpu::outb(port, 0x5a);
}
