//! The report over COM2, one line a fact, and the verdict.

use crate::cpu::{Racy, inb, outb};
use core::fmt::{self, Write};

const COM2: u16 = 0x2f8;
const LSR: u16 = COM2 + 5;
const LSR_THRE: u8 = 1 << 5;

static FAILED: Racy<bool> = Racy::new(false);

/// 115200 8N1, FIFOs on, no interrupts.
pub(crate) fn init() {
    for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 7), (4, 3)] {
        outb(COM2 + register, value);
    }
}

struct Com2;

impl Write for Com2 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while inb(LSR) & LSR_THRE == 0 {}
            outb(COM2, byte);
        }
        Ok(())
    }
}

/// One line of text.
pub fn line(text: fmt::Arguments<'_>) {
    // Writing to a UART cannot fail.
    let _ = writeln!(Com2, "{text}");
}

/// `name: PASS` if `got` equals `expected`.
pub fn fact<T: PartialEq + fmt::Debug>(name: impl fmt::Display, got: T, expected: T) {
    if got == expected {
        line(format_args!("{name}: PASS"));
    } else {
        FAILED.set(true);
        line(format_args!("{name}: FAIL got {got:x?} expected {expected:x?}"));
    }
}

/// `name: PASS` if it holds.
pub fn holds(name: impl fmt::Display, held: bool) {
    fact(name, held, true);
}

/// A failure that is no comparison.
pub fn fail(text: fmt::Arguments<'_>) {
    FAILED.set(true);
    line(format_args!("{text}: FAIL"));
}

/// `name: VALUE text`: to be the same with and without a VMM.
pub fn value(name: impl fmt::Display, text: fmt::Arguments<'_>) {
    line(format_args!("{name}: VALUE {text}"));
}

/// `INFO text`: may differ, judged by nobody.
pub fn info(text: fmt::Arguments<'_>) {
    line(format_args!("INFO {text}"));
}

/// The last line, then the end.
pub fn verdict() -> ! {
    line(format_args!("VERDICT {}", if FAILED.get() { "FAIL" } else { "PASS" }));
    loop {
        crate::cpu_asm!("cli", "hlt", options(nomem, nostack));
    }
}
