//! String instructions into, out of, inside and across the hole.

use crate::{BUFFER, Hole};
use guests::{cpu, cpu_asm, report};
use report::fact;

fn fill(byte: u8) {
    for n in 0..512 {
        cpu::write64(BUFFER.address() + 8 * n, u64::from_ne_bytes([byte; 8]));
    }
}

/// How many of the `n` bytes at `at` are `byte`.
fn count(at: u64, n: u64, byte: u8) -> u64 {
    (at..at + n).filter(|&a| cpu::read8(a) == byte).count() as u64
}

fn movs(from: u64, to: u64, n: u64, quads: bool) {
    if quads {
        cpu_asm!("rep movsq", inout("rsi") from => _, inout("rdi") to => _, inout("rcx") n / 8 => _,
            options(nostack));
    } else {
        cpu_asm!("rep movsb", inout("rsi") from => _, inout("rdi") to => _, inout("rcx") n => _,
            options(nostack));
    }
}

fn stos(to: u64, n: u64, byte: u8) -> u64 {
    let left: u64;
    cpu_asm!("rep stosb", inout("rdi") to => _, inout("rcx") n => left, in("al") byte,
        options(nostack));
    left
}

/// Everything but the long fill.
pub(crate) fn all(hole: Hole) {
    let (buffer, b) = (BUFFER.address(), hole.base);
    for quads in [false, true] {
        let name = if quads { "movsq" } else { "movsb" };
        fill(0x11);
        movs(b + 0x8000, buffer, 256, quads);
        fact(format_args!("hole.{name}-out"), count(buffer, 257, 0xff), 256);
        fill(0x11);
        movs(buffer, b + 0x8ff8, 64, quads);
        fact(format_args!("hole.{name}-in"), count(b + 0x8ff8, 64, 0xff), 64);
        fact(format_args!("hole.{name}-source-kept"), count(buffer, 64, 0x11), 64);
        movs(b + 0x9000, b + 0xa000, 64, quads);
        fact(format_args!("hole.{name}-inside"), count(b + 0xa000, 64, 0xff), 64);

        fill(0x22);
        stos(b - 64, 64, 0x33);
        movs(buffer, b - 32, 64, quads);
        fact(format_args!("hole.{name}-across-in"), count(b - 64, 64, 0x22), 32);
        fact(format_args!("hole.{name}-across-in-kept"), count(b - 64, 64, 0x33), 32);
        fact(format_args!("hole.{name}-across-in-hole"), count(b, 64, 0xff), 64);
        movs(b - 32, buffer, 64, quads);
        fact(format_args!("hole.{name}-across-out"), count(buffer, 64, 0xff), 32);
        fact(format_args!("hole.{name}-across-out-ram"), count(buffer, 32, 0x22), 32);
    }

    stos(b - 64, 64, 0x44);
    fact("hole.stosb-across-count", stos(b - 16, 48, 0x55), 0);
    fact("hole.stosb-across-ram", count(b - 64, 64, 0x55), 16);
    fact("hole.stosb-across-hole", count(b, 64, 0xff), 64);
    cpu_asm!("std", "rep stosb", "cld", inout("rdi") b + 15 => _, inout("rcx") 32_u64 => _,
        in("al") 0x66_u8, options(nostack));
    fact("hole.stosb-downwards-ram", count(b - 64, 64, 0x66), 16);
    fact("hole.stosb-downwards-hole", count(b, 64, 0xff), 64);
    if hole.ram_above {
        let end = hole.end();
        stos(end - 32, 64, 0x77);
        fact("hole.stosb-top-ram", count(end, 32, 0x77), 32);
        fact("hole.stosb-top-hole", count(end - 32, 32, 0xff), 32);
    }

    let loaded: u8;
    cpu_asm!("lodsb", inout("rsi") b + 5 => _, inout("al") 0_u8 => loaded, options(nostack));
    fact("hole.lodsb", loaded, 0xff);
    fill(0xff);
    let (left, equal): (u64, u8);
    cpu_asm!("repe cmpsb", "sete {e}", e = out(reg_byte) equal, inout("rsi") b + 0xb000 => _,
        inout("rdi") buffer => _, inout("rcx") 300_u64 => left, options(nostack));
    fact("hole.cmpsb", (left, equal), (0, 1));
    let left: u64;
    cpu_asm!("repne scasb", inout("rdi") b - 16 => _, inout("rcx") 64_u64 => left, in("al") 0xff_u8,
        options(nostack));
    fact("hole.scasb-first-ff", left, 64 - 17);

    // COM2's scratch register keeps a byte.
    const SCRATCH: u16 = 0x2ff;
    cpu::outb(SCRATCH, 0x5a);
    cpu_asm!("insb", in("dx") SCRATCH, inout("rdi") b + 0xc000 => _, options(nostack));
    fact("hole.insb", cpu::read8(b + 0xc000), 0xff);
    cpu_asm!("mov ecx, 4", "rep insb", in("dx") SCRATCH, inout("rdi") b + 0xc000 => _, out("ecx") _,
        options(nostack));
    fact("hole.rep-insb", cpu::read32(b + 0xc000), u32::MAX);
    cpu_asm!("outsb", in("dx") SCRATCH, inout("rsi") b + 0xc000 => _, options(nostack));
    fact("hole.outsb", cpu::inb(SCRATCH), 0xff);
}

/// Over pages of the hole and out of it, either way, in elements of every size: where RCX, RSI and RDI end, and what RAM
/// keeps.
pub(crate) fn pages(hole: Hole) {
    /// Into three pages of the hole, not aligned, and as much below it.
    const INTO: u64 = 0x2008;
    const BELOW: u64 = 64;
    let (buffer, b) = (BUFFER.address(), hole.base);
    // Of the pages behind the buffer only reading is done.
    macro_rules! pair {
        ($stos:literal, $movs:literal, $size:literal) => {
            for down in [false, true] {
                let way = if down { "down" } else { "up" };
                let elements = (INTO + BELOW) / $size;
                let first = if down { b + INTO - $size } else { b - BELOW };
                let from = if down { buffer + INTO + BELOW - $size } else { buffer };
                let behind = |first: u64| match down {
                    false => first + INTO + BELOW,
                    true => first - INTO - BELOW,
                };
                let (mut to, mut left): (u64, u64);
                stos(b - 2 * BELOW, 2 * BELOW, 0x99);
                cpu_asm!("test {d:l}, {d:l}", "jz 2f", "std", "2:", concat!("rep ", $stos), "cld",
                    d = in(reg) u64::from(down), inout("rdi") first => to, inout("rcx") elements => left,
                    in("rax") u64::from_ne_bytes([0x88; 8]), options(nostack));
                let registers = (to, left);
                fact(format_args!("hole.{}-{way}", $stos), registers, (behind(first), 0));
                let kept = (count(b - 2 * BELOW, BELOW, 0x99), count(b - BELOW, BELOW, 0x88));
                fact(format_args!("hole.{}-{way}-ram", $stos), kept, (BELOW, BELOW));
                fact(format_args!("hole.{}-{way}-hole", $stos), count(b, INTO, 0xff), INTO);

                let mut source: u64;
                fill(0x77);
                stos(b - 2 * BELOW, 2 * BELOW, 0x99);
                cpu_asm!("test {d:l}, {d:l}", "jz 2f", "std", "2:", concat!("rep ", $movs), "cld",
                    d = in(reg) u64::from(down), inout("rsi") from => source,
                    inout("rdi") first => to, inout("rcx") elements => left, options(nostack));
                let ends = (source, to, left) == (behind(from), behind(first), 0);
                fact(format_args!("hole.{}-{way}", $movs), ends, true);
                let kept = (count(b - 2 * BELOW, BELOW, 0x99), count(b - BELOW, BELOW, 0x77));
                fact(format_args!("hole.{}-{way}-ram", $movs), kept, (BELOW, BELOW));
                fact(format_args!("hole.{}-{way}-hole", $movs), count(b, INTO, 0xff), INTO);
            }
        };
    }
    pair!("stosb", "movsb", 1);
    pair!("stosw", "movsw", 2);
    pair!("stosd", "movsd", 4);
    pair!("stosq", "movsq", 8);
}

/// A long fill comes to its end.
pub(crate) fn long_fill(hole: Hole) {
    let from = cpu::rdtsc();
    fact("hole.long-fill", stos(hole.base + 0x1000, 64 << 10, 0xa5), 0);
    report::info(format_args!("hole.long-fill ticks {}", cpu::rdtsc() - from));
}
