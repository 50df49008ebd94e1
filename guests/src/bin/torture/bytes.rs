//! Cases of random instructions.

use crate::random::Random;
use crate::runner::{
    self, APIC_WINDOW, CODE, CODE_WINDOW, CODE16, DATA, DATA_WINDOW, DATA16, DATA16_SELECTOR,
    HOLE_WINDOW, In, Mode, Out, STACK16,
};
use guests::{cpu, cpu_asm, report};

/// Bytes of code at most.
const LEN: u64 = 28;
/// What follows them: INT3.
const FILL: u64 = 0xcccc_cccc_cccc_cccc;

/// What a run may contain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// All but what would break the test machine.
    Anything,
    /// What gives the same on every run and, but for the policy of the VMM, with and without it.
    Repeatable,
}

/// Opcodes that do more than compute, so that they come often.
const OPCODES: &[&[u8]] = &[
    &[0x0f, 0x00],
    &[0x0f, 0x01],
    &[0x0f, 0x02],
    &[0x0f, 0x03],
    &[0x0f, 0x05],
    &[0x0f, 0x06],
    &[0x0f, 0x07],
    &[0x0f, 0x08],
    &[0x0f, 0x09],
    &[0x0f, 0x0b],
    &[0x0f, 0x20],
    &[0x0f, 0x21],
    &[0x0f, 0x22],
    &[0x0f, 0x23],
    &[0x0f, 0x30],
    &[0x0f, 0x31],
    &[0x0f, 0x32],
    &[0x0f, 0x33],
    &[0x0f, 0x34],
    &[0x0f, 0x35],
    &[0x0f, 0xa2],
    &[0x0f, 0xae],
    &[0x0f, 0xb2],
    &[0x0f, 0xc7],
    &[0x0f, 0x01, 0xc8],
    &[0x0f, 0x01, 0xc9],
    &[0x0f, 0x01, 0xd0],
    &[0x0f, 0x01, 0xd1],
    &[0x0f, 0x01, 0xd8],
    &[0x0f, 0x01, 0xd9],
    &[0x0f, 0x01, 0xda],
    &[0x0f, 0x01, 0xdb],
    &[0x0f, 0x01, 0xdc],
    &[0x0f, 0x01, 0xdd],
    &[0x0f, 0x01, 0xde],
    &[0x0f, 0x01, 0xdf],
    &[0x0f, 0x01, 0xf8],
    &[0x0f, 0x01, 0xf9],
    &[0x07],
    &[0x17],
    &[0x1f],
    &[0x62],
    &[0x6c],
    &[0x6d],
    &[0x6e],
    &[0x6f],
    &[0x8e],
    &[0x8c],
    &[0x9a],
    &[0x9c],
    &[0x9d],
    &[0xa4],
    &[0xa5],
    &[0xa6],
    &[0xaa],
    &[0xab],
    &[0xae],
    &[0xc4],
    &[0xc5],
    &[0xc8],
    &[0xc9],
    &[0xca],
    &[0xcb],
    &[0xcc],
    &[0xcd],
    &[0xce],
    &[0xcf],
    &[0xe4],
    &[0xe5],
    &[0xe6],
    &[0xe7],
    &[0xea],
    &[0xec],
    &[0xed],
    &[0xee],
    &[0xef],
    &[0xf1],
    &[0xf4],
    &[0xfa],
    &[0xfb],
    &[0xff],
    &[0x8f],
    &[0xf6],
    &[0xf7],
    &[0x87],
    &[0x0f, 0xb1],
    &[0xd9],
    &[0xdd],
    &[0x0f, 0x6f],
    &[0x0f, 0x7f],
    &[0x0f, 0x11],
    &[0x0f, 0x29],
    &[0x0f, 0xe7],
    &[0x0f, 0x2b],
    &[0x17, 0x90],
    &[0x8e, 0xd0],
    &[0x9c, 0x58],
    &[0x58, 0x9d],
];

const PREFIXES: [u8; 12] = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x64, 0x65, 0x26, 0x48, 0x41, 0x4c];

/// Ports that random code may have in DX.
const PORTS: [u64; 18] = [
    0x00, 0x20, 0x21, 0x40, 0x42, 0x43, 0x61, 0x80, 0xa1, 0xc0, 0x201, 0x378, 0x3c0, 0x3d4, 0x3f8,
    0x3f9, 0x3e8, 0x5658,
];

fn generate(random: &mut Random, code: &mut [u8; 32]) -> usize {
    let len = 1 + random.below(LEN) as usize;
    if random.below(5) < 2 {
        code[..len].iter_mut().for_each(|byte| *byte = random.byte());
        return len;
    }
    let mut at = 0;
    while at < len {
        let mut put = |byte: u8| {
            if at < len {
                code[at] = byte;
                at += 1;
            }
        };
        while random.one_in(4) {
            put(random.of(&PREFIXES));
        }
        if random.one_in(3) {
            put(random.byte());
        } else {
            random.of(OPCODES).iter().for_each(|byte| put(*byte));
        }
        for _ in 0..random.below(6) {
            put(random.byte());
        }
    }
    len
}

/// Whether these bytes may run.
fn allowed(code: &[u8], mode: Mode, class: Class, risky: bool) -> bool {
    let pair = |one: u8, other: fn(u8) -> bool| {
        code.windows(2).any(|bytes| bytes[0] == one && other(bytes[1]))
    };
    // Reset and A20 gates, the clock's memory (where progress is kept), power: their own cases have them.
    let port = |port: u8| matches!(port, 0x60 | 0x64 | 0x70..=0x7f | 0x92 | 0xb2 | 0xb3);
    if pair(0xe6, port)
        || pair(0xe7, |port| matches!(port, 0x5d..=0x7f | 0x8f..=0x92 | 0xaf..=0xb3))
    {
        return false;
    }
    // What usually costs a reboot comes seldom: tables, control registers, tasks.
    let tables = |byte: u8| (0x10..0x20).contains(&(byte & 0x38)) || byte & 0x38 == 0x30;
    let fatal =
        code.windows(3).any(|b| b[0] == 0x0f && (b[1] == 0x01 || b[1] == 0x00) && tables(b[2]))
            || pair(0x0f, |byte| matches!(byte, 0x22 | 0x06));
    if fatal && !mode.user() && !risky {
        return false;
    }
    if class == Class::Anything {
        return true;
    }
    // Time, randomness, policy, ports; the state that is not put back; what waits.
    let varies = |byte: u8| matches!(byte, 0x30..=0x33 | 0xa2 | 0xc7 | 0x01 | 0x20..=0x23 | 0x05 | 0x07 | 0x34 | 0x35 | 0xae);
    let waits = code.contains(&0xf4);
    let ports = code.iter().any(|byte| matches!(byte, 0xe4..=0xe7 | 0xec..=0xef | 0x6c..=0x6f));
    !pair(0x0f, varies) && !waits && !ports
}

/// A register's value: mostly something that leads somewhere, and not to the tables and the runner below
/// 64 KiB.
fn value(random: &mut Random, mode: Mode, class: Class) -> u64 {
    let offset = random.below(4096);
    let edge = random.below(16);
    if mode.bits16() {
        return match random.below(4) {
            0 => random.number(),
            1 => 0xffff - random.below(8),
            _ => offset,
        };
    }
    if random.one_in(4) {
        let number = random.number();
        return if (0x200..0x1_0000).contains(&number) { DATA + number } else { number };
    }
    let hole = class == Class::Anything && random.one_in(3);
    if matches!(mode, Mode::Long0 | Mode::Long3) {
        return match random.below(8) {
            0 => CODE_WINDOW + offset,
            1 => random.below(0x200),
            2 if hole => APIC_WINDOW + offset,
            3 if hole => HOLE_WINDOW - edge,
            _ if hole => HOLE_WINDOW + offset,
            _ => DATA_WINDOW + offset,
        };
    }
    match random.below(8) {
        0 => CODE + offset,
        1 => random.below(0x200),
        2 if hole && !mode.long() => crate::hole() - edge,
        _ if hole && !mode.long() => crate::hole() + offset,
        _ => DATA + offset,
    }
}

/// Makes the case and runs it; `None` if it is one that may not run.
pub(crate) fn case(random: &mut Random, mode: Mode, class: Class) -> Option<Out> {
    let mut code = [0; 32];
    let len = generate(random, &mut code);
    let risky = class == Class::Anything && random.one_in(64);
    if !allowed(&code[..len], mode, class, risky) {
        return None;
    }
    let (at, data) = if mode.bits16() { (CODE16, DATA16) } else { (CODE, DATA) };
    let stack = if mode.bits16() { DATA16 + STACK16 } else { DATA + 0x2f00 };
    if class == Class::Repeatable {
        // What earlier cases left, and interrupts on their stacks.
        cpu_asm!("rep stosq", in("rax") 0, inout("rdi") data => _, inout("rcx") 0x2000_u64 => _);
    }
    for n in 0..64 {
        cpu::write64(at + 0x800 + 8 * n, FILL);
        cpu::write64(stack - 0x100 + 8 * n, random.next());
    }
    for n in 0..512 {
        cpu::write64(data + 8 * n, random.next());
    }
    for (n, bytes) in code.chunks(8).enumerate() {
        let mut word = FILL.to_le_bytes();
        for (to, (index, byte)) in word.iter_mut().zip(bytes.iter().enumerate()) {
            if 8 * n + index < len {
                *to = *byte;
            }
        }
        cpu::write64(at + 0x900 + 8 * n as u64, u64::from_le_bytes(word));
    }
    let mut given = In {
        regs: core::array::from_fn(|_| value(random, mode, class)),
        ip: 0x900
            + match mode {
                Mode::Long0 | Mode::Long3 => CODE_WINDOW,
                _ if mode.bits16() => 0,
                _ => CODE,
            },
        sp: match mode {
            Mode::Long0 | Mode::Long3 => DATA_WINDOW + 0x2f00,
            _ if mode.bits16() => STACK16,
            _ => stack,
        },
        budget: 8,
        ..In::default()
    };
    // Counts are small, or the strings would never end.
    given.regs[1] = if random.one_in(8) { random.below(0x1_0000) } else { random.below(16) };
    if class == Class::Anything {
        given.regs[2] = random.of(&PORTS);
        if random.one_in(16) {
            given.sp = value(random, mode, class);
        }
    }
    let stepped = random.one_in(2);
    let interrupts = class == Class::Anything && random.one_in(2);
    let iopl = random.below(4);
    given.flags = 2
        | u64::from(stepped) << 8
        | u64::from(interrupts) << 9
        | iopl << 12
        | random.below(2) << 18
        | random.next() & 0x8d5;
    given.segments = segments(random, mode, class);
    if crate::tracing() {
        report::info(format_args!(
            "torture {mode:?} {:02x?} flags {:x}",
            &code[..len],
            given.flags
        ));
        report::info(format_args!("torture {:x?} sp {:x}", given.regs, given.sp));
    }
    Some(runner::run(mode, given))
}

fn segments(random: &mut Random, mode: Mode, class: Class) -> [u16; 4] {
    let data16 = (DATA16 >> 4) as u16;
    let all: &[u16] = match mode {
        // Neither the screen nor the firmware's variables, which need not be the same.
        Mode::Real | Mode::Virtual86 if class == Class::Repeatable => {
            &[data16, data16, 0x1000, 0x7000, 0xffff]
        }
        Mode::Real | Mode::Virtual86 => &[data16, data16, 0x1000, 0x7000, 0xa000, 0xf000, 0xffff],
        Mode::Segment16 => &[DATA16_SELECTOR as u16, 0x10, 0],
        _ if mode.user() => &[0x3b, 0x3b, 0x3b, 0],
        _ => &[0x10, 0x10, 0x10, 0],
    };
    core::array::from_fn(|_| random.of(all))
}

/// What a case came to, in one number. The stack is not looked at: an NMI may have come.
pub(crate) fn digest(mode: Mode, out: &Out) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |value: u64| {
        hash = (hash ^ value).wrapping_mul(0x100_0000_01b3);
        hash ^= hash >> 29;
    };
    out.regs.iter().chain(&out.frame).for_each(|value| add(*value));
    add(out.cr2);
    add(out.dr6);
    let data = if mode.bits16() { DATA16 } else { DATA };
    (0..512).for_each(|n| add(cpu::read64(data + 8 * n)));
    hash
}
