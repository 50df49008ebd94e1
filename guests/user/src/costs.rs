//! A program for Linux without a library: what a system call and an anonymous page fault cost, in ticks of the
//! time-stamp counter. Under QEMU's `-icount shift=0,sleep=off` a tick is an instruction.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm, x86_64::_rdtsc};

// The stack is aligned as a call expects it, and there is nowhere to return to.
global_asm!(".global _start", "_start:", "and rsp, -16", "call {main}", "ud2", main = sym main);

const WRITE: u64 = 1;
const MMAP: u64 = 9;
const MUNMAP: u64 = 11;
const MADVISE: u64 = 28;
const EXIT: u64 = 60;
const GETPPID: u64 = 110;

const PROT_READ_WRITE: u64 = 3;
const MAP_PRIVATE_ANONYMOUS: u64 = 0x22;
const MADV_NOHUGEPAGE: u64 = 15;

/// Rounds, of which the least counts: the others had a tick of the timer in them, or translated code first.
const ROUNDS: u64 = 20;
const CALLS: u64 = 256;
const PAGES: u64 = 64;
const PAGE: u64 = 4096;

fn system(number: u64, arguments: [u64; 6]) -> u64 {
    let [a, b, c, d, e, f] = arguments;
    let result;
    // SAFETY: the callers ask for nothing that touches memory of the compiler's but to read it.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, out("rcx") _, out("r11") _, options(nostack));
    }
    result
}

fn ticks() -> u64 {
    // SAFETY: Linux lets programs read the counter.
    unsafe { _rdtsc() }
}

fn least(round: fn() -> u64) -> u64 {
    (0..ROUNDS).map(|_| round()).min().unwrap_or(0)
}

fn calls() -> u64 {
    let from = ticks();
    for _ in 0..CALLS {
        system(GETPPID, [0; 6]);
    }
    ticks().wrapping_sub(from) / CALLS
}

fn faults() -> u64 {
    let len = PAGES * PAGE;
    let nowhere = u64::MAX;
    let at = system(MMAP, [0, len, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, nowhere, 0]);
    system(MADVISE, [at, len, MADV_NOHUGEPAGE, 0, 0, 0]);
    let from = ticks();
    for n in 0..PAGES {
        // SAFETY: the page was mapped for this alone.
        unsafe { core::ptr::write_volatile((at + n * PAGE) as *mut u8, 1) };
    }
    let cost = ticks().wrapping_sub(from) / PAGES;
    system(MUNMAP, [at, len, 0, 0, 0, 0]);
    cost
}

fn say(text: &[u8]) {
    system(WRITE, [1, text.as_ptr() as u64, text.len() as u64, 0, 0, 0]);
}

/// A line `name number`.
fn line(name: &[u8], mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    say(name);
    say(b" ");
    say(&digits[first..]);
    say(b"\n");
}

extern "C" fn main() -> ! {
    line(b"syscall.ticks", least(calls));
    line(b"fault.ticks", least(faults));
    loop {
        system(EXIT, [0; 6]);
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        system(EXIT, [1, 0, 0, 0, 0, 0]);
    }
}
