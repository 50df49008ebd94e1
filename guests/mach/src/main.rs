//! A task for GNU Mach on a 64-bit kernel: the only program of the system. It says what a program in ring 3
//! sees of the machine, and makes the kernel work for it: traps, page faults, ports.
//!
//! The kernel loads it as a boot module. Its traps are numbered down from zero (GNU Mach's
//! `kern/syscall_sw.c`) and taken by SYSCALL: the number in RAX, the arguments in RDI and on.
#![no_std]
#![no_main]

use core::{
    arch::{asm, global_asm},
    fmt::{self, Write as _},
    panic::PanicInfo,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

/// Makes a port and gives its name.
const REPLY_PORT: i64 = -26;
/// Gives the name of the task's own port.
const TASK_SELF: i64 = -28;
/// Prints a string on the kernel's console.
const PRINT: i64 = -30;
/// Lets others run.
const SWTCH_PRI: i64 = -59;

const PAGE: usize = 4096;
const PAGES: usize = 1024;
/// Memory that the kernel gives page by page, when it is first touched.
static MEMORY: [AtomicU8; PAGES * PAGE] = [const { AtomicU8::new(0) }; PAGES * PAGE];

// The kernel leaves the stack as it likes.
global_asm!(".globl _start", "_start:", "and rsp, -16", "call {task}", "ud2", task = sym task);

/// One trap.
fn trap(number: i64, argument: usize) -> u64 {
    let result;
    // SAFETY: the traps used here read at most a string that `argument` points to; what they and the
    // instruction change is named.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") argument,
            clobber_abi("sysv64"), options(nostack));
    }
    result
}

/// One line for the console: the kernel wants its end marked by a zero.
struct Line {
    bytes: [u8; 100],
    used: usize,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // The last byte stays zero.
            if self.used + 1 < self.bytes.len() {
                self.bytes[self.used] = byte;
                self.used += 1;
            }
        }
        Ok(())
    }
}

fn say(text: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; 100], used: 0 };
    // It cannot fail.
    let _ = writeln!(line, "task: {text}");
    trap(PRINT, line.bytes.as_ptr() as usize);
}

fn ring() -> u16 {
    let cs: u16;
    // SAFETY: reads a register.
    unsafe { asm!("mov {0:x}, cs", out(reg) cs, options(nomem, nostack, preserves_flags)) };
    cs & 3
}

/// Writes to every page and reads all of it back.
fn memory() -> u64 {
    for (number, byte) in MEMORY.iter().step_by(PAGE).enumerate() {
        byte.store(number as u8 ^ (number >> 8) as u8, Relaxed);
    }
    MEMORY
        .iter()
        .step_by(PAGE)
        .fold(0, |sum: u64, byte| sum.rotate_left(5) ^ u64::from(byte.load(Relaxed)))
}

extern "C" fn task() -> ! {
    say(format_args!("in ring {}", ring()));
    let leaf = core::arch::x86_64::__cpuid(0);
    let vendor = [leaf.ebx.to_le_bytes(), leaf.edx.to_le_bytes(), leaf.ecx.to_le_bytes()];
    let vendor = vendor.as_flattened();
    say(format_args!("CPU {} with {} leaves", vendor.escape_ascii(), leaf.eax));
    say(format_args!("{PAGES} pages hold {:x}", memory()));
    let (own, reply) = (trap(TASK_SELF, 0), trap(REPLY_PORT, 0));
    let different = own != 0 && reply != 0 && own != reply;
    say(format_args!("ports are {}", if different { "two" } else { "wrong" }));
    for _ in 0..10_000 {
        trap(SWTCH_PRI, 0);
    }
    say(format_args!("back from 10000 traps, done"));
    loop {
        trap(SWTCH_PRI, 0);
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    say(format_args!("panic"));
    loop {
        trap(SWTCH_PRI, 0);
    }
}
