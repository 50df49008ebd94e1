//! Does to the machine whatever a guest can do, by random numbers that a seed decides: instructions in every mode
//! and ring, ports, MSRs, CPUID, SVM's and VMX's instructions, control registers, the local APIC, the hole. Nothing is
//! judged here but what must hold (SVM and VMX are #UD, the hole is FFh): that the VMM is alive and whole is seen from
//! outside.
//!
//! On the command line: `seed=HEX`; `cases=HEX`, after which the guest ends with a verdict; `repeatable`: only
//! code whose outcome is the same on every run, one line a case, to be compared with the bare machine;
//! `from=HEX` begins with that case; `trace` shows each case before it runs.

#![no_std]
#![no_main]

mod bytes;
mod deeds;
mod msrs;
mod progress;
mod random;
mod runner;
mod watchdog;

use bytes::Class;
use guests::cpu::Racy;
use guests::{bios, cpu_asm, report, start};
use random::Random;
use runner::MODES;

guests::guest!(main);

/// A page of tables.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u64; 512]);

impl Page {
    const EMPTY: Self = Self([0; 512]);
}

/// Where a machine without a VMM has RAM nobody uses.
const NO_HOLE: u64 = 0x1e0_0000;
/// Cases between two lines on the console.
const EVERY: u32 = 64;

static HOLE: Racy<u64> = Racy::new(NO_HOLE);

/// Whether each case is shown before it runs.
fn tracing() -> bool {
    start::has_word("trace")
}

/// Where the VMM's range begins.
fn hole() -> u64 {
    HOLE.get()
}

/// The VMM's range: reserved, on a 2 MiB border, right after usable RAM.
fn find_hole() -> Option<u64> {
    let map = bios::e820();
    let after_ram = |at| map.ranges().iter().any(|r| r.kind == 1 && r.base + r.size == at);
    let large =
        |r: &&bios::Range| r.kind != 1 && r.base.is_multiple_of(2 << 20) && r.size >= 256 << 10;
    map.ranges().iter().filter(large).find(|r| after_ram(r.base)).map(|r| r.base)
}

fn main() {
    let seed = start::number("seed=").unwrap_or(1);
    let cases = start::number("cases=").unwrap_or(0) as u32;
    let class = if start::has_word("repeatable") { Class::Repeatable } else { Class::Anything };
    let found = find_hole();
    HOLE.set(found.unwrap_or(NO_HOLE));
    let first = match progress::before() {
        Some(case) => {
            report::info(format_args!("torture reset in case {case}"));
            case + 1
        }
        None => start::number("from=").unwrap_or(0) as u32,
    };
    report::info(format_args!("torture seed {seed:x} from {first} hole {:x}", found.unwrap_or(0)));
    runner::install(hole());
    watchdog::hook();
    watchdog::find();
    if class == Class::Repeatable {
        clear();
    }
    let mut n = first;
    while cases == 0 || n < cases {
        progress::begin(n);
        let mut random = Random::new(seed, n.into());
        if tracing() {
            report::info(format_args!("torture begins {n}"));
        }
        match class {
            Class::Repeatable => repeatable(&mut random, n),
            Class::Anything => {
                watchdog::arm(random.one_in(2));
                if random.one_in(3) {
                    deeds::any(&mut random, found);
                } else {
                    let mode = random.of(&MODES);
                    bytes::case(&mut random, mode, class);
                }
            }
        }
        n += 1;
        if n.is_multiple_of(EVERY) {
            report::info(format_args!("torture case {n}"));
        }
    }
    report::holds("torture.done", true);
}

/// What firmware and loader left is gone, which need not be the same: 64 to 512 KiB, 1 to 2 MiB (this image's
/// beginning), and from 8 MiB to what no test machine lacks.
fn clear() {
    for (from, to) in [(0x1_0000_u64, 0x8_0000), (0x10_0000, 0x20_0000), (0x80_0000, 0x1c00_0000)] {
        cpu_asm!("rep stosq", in("rax") 0, inout("rdi") from => _, inout("rcx") (to - from) / 8 => _);
    }
}

/// One line for the case, unless it was interrupted.
fn repeatable(random: &mut Random, n: u32) {
    let mode = MODES[n as usize % MODES.len()];
    watchdog::arm(false);
    let Some(out) = bytes::case(random, mode, Class::Repeatable) else { return };
    if out.ticks == 0 {
        let digest = bytes::digest(mode, &out);
        let at = out.frame[0];
        let named = format_args!("{mode:?}.{n}");
        report::value(named, format_args!("vector {} at {at:x} {digest:016x}", out.vector));
    }
}
