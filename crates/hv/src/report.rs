//! What is known of a fault of the VMM itself, kept where nothing else is: it outlives the code that failed.
use core::fmt::{self, Write};
use stub::{Register, Regs};

/// The most bytes of the sentence that says what happened.
const TEXT: usize = 384;
/// The most places of the backtrace.
const DEPTH: usize = 24;

/// A fault of the VMM.
pub struct Report {
    text: [u8; TEXT],
    len: usize,
    /// The VMM's registers at the fault.
    pub regs: Regs,
    trace: [u64; DEPTH],
    depth: usize,
}

impl Default for Report {
    fn default() -> Self {
        Self { text: [0; TEXT], len: 0, regs: Regs::default(), trace: [0; DEPTH], depth: 0 }
    }
}

impl Report {
    /// A fault with these registers, of which nothing else is known yet.
    pub fn new(regs: Regs) -> Self {
        Self { regs, ..Self::default() }
    }

    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Says in one sentence what happened; what is too long is cut.
    pub fn say(&mut self, text: fmt::Arguments<'_>) {
        // The writer never fails, and a Display that does loses the rest of its own text only.
        let _ = Text(self).write_fmt(text);
    }

    /// Adds a place to the backtrace, innermost first: bytes from the image's first.
    pub fn called_from(&mut self, offset: u64) {
        if let Some(place) = self.trace.get_mut(self.depth) {
            *place = offset;
            self.depth = self.depth.wrapping_add(1);
        }
    }
}

/// All of it: the sentence, the registers, the backtrace as the command that resolves it.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.get(..self.len).unwrap_or_default();
        text.iter().try_for_each(|byte| out.write_char(char::from(*byte)))?;
        out.write_char('\n')?;
        for row in SHOWN.chunks(3) {
            for register in row {
                write!(out, "{:>6} {:016x} ", register.name(), register.get(&self.regs))?;
            }
            out.write_char('\n')?;
        }
        write!(out, "backtrace: addr2line -fie resident")?;
        let trace = self.trace.iter().take(self.depth);
        trace.into_iter().try_for_each(|offset| write!(out, " {offset:#x}"))?;
        out.write_char('\n')
    }
}

/// The registers that are written out; gdb shows all.
const SHOWN: [Register; 21] = [
    Register::Rax,
    Register::Rbx,
    Register::Rcx,
    Register::Rdx,
    Register::Rsi,
    Register::Rdi,
    Register::Rbp,
    Register::Rsp,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
    Register::Rip,
    Register::Eflags,
    Register::Cr2,
    Register::Cr3,
    Register::Cr4,
];

struct Text<'a>(&'a mut Report);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Report { text: kept, len, .. } = &mut *self.0;
        for byte in text.bytes() {
            if let Some(place) = kept.get_mut(*len) {
                *place = byte;
                *len = len.wrapping_add(1);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn all_of_it_is_written_and_what_is_too_much_is_cut() {
        let mut report = Report::default();
        report.say(format_args!("VMM fault: vector {}", 14));
        report.regs.cr2 = 0x1234;
        for offset in 1..=100 {
            report.called_from(offset * 16);
        }
        let mut out = report.to_string();
        assert!(out.starts_with("VMM fault: vector 14\n   rax 0000000000000000 "), "{out}");
        assert!(out.contains("   cr2 0000000000001234 "), "{out}");
        assert!(out.contains("resident 0x10 0x20 ") && out.ends_with(" 0x180\n"), "{out}");
        for _ in 0..100 {
            report.say(format_args!("on and on "));
        }
        out = report.to_string();
        assert_eq!(out.lines().next().map(str::len), Some(TEXT));
    }
}
