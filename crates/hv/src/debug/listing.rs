//! `dis`: code, with linear addresses and bytes.
use super::View;
use crate::Host;
use crate::instruction::{code_address, code_size};
use core::fmt;
use emu::{CodeSize, MAX_LEN, disassemble};
use stub::Target as _;
use vcpu::{Seg, System};
use wire::Code;

/// Columns of an instruction's bytes: most have no more.
const COLUMNS: usize = 8;

impl<H: Host> View<'_, H> {
    /// Writes what is asked for.
    pub(super) fn list(&mut self, what: Code, out: &mut dyn fmt::Write) -> fmt::Result {
        let size = match what.bits {
            Some(16) => CodeSize::Bits16,
            Some(32) => CodeSize::Bits32,
            Some(_) => CodeSize::Bits64,
            None => code_size(self.vcpu),
        };
        let here = code_address(self.vcpu, self.vcpu.system(System::Rip));
        let mut at = what.at.unwrap_or(here);
        for _ in 0..what.count {
            let mut bytes = [0; MAX_LEN];
            let have = self.read_memory(0, at, &mut bytes);
            let bytes = bytes.get(..have).unwrap_or_default();
            // Targets of jumps are offsets in the segment: those are what the CPU computes.
            let ip = self.offset(at, size);
            let mark = if at == here { '>' } else { ' ' };
            if bytes.is_empty() {
                return writeln!(out, "{mark}{at:016x}  no memory of the guest's");
            }
            let line = disassemble(size, ip, bytes);
            write!(out, "{mark}{at:016x}  ")?;
            let code = bytes.get(..line.len()).unwrap_or(bytes);
            code.iter().try_for_each(|byte| write!(out, "{byte:02x} "))?;
            (code.len()..COLUMNS).try_for_each(|_| out.write_str("   "))?;
            writeln!(out, " {}", line.text())?;
            at = at.wrapping_add(line.len() as u64);
        }
        Ok(())
    }

    /// The instruction pointer that stands for linear address `at`.
    fn offset(&self, at: u64, size: CodeSize) -> u64 {
        let offset = at.wrapping_sub(self.vcpu.segment(Seg::Cs).base);
        match size {
            CodeSize::Bits64 => at,
            CodeSize::Bits32 => offset & 0xffff_ffff,
            // Elsewhere there is no segment to speak of.
            CodeSize::Bits16 if offset > 0xffff => at & 0xffff,
            CodeSize::Bits16 => offset,
        }
    }
}
