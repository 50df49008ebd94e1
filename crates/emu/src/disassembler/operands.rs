//! Operands as text.

use super::{Bad, ModRm, Walk};
use crate::CodeSize;
use core::fmt::Write as _;

const WORDS: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
const BYTES: [&str; 8] = ["al", "cl", "dl", "bl", "ah", "ch", "dh", "bh"];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];

impl Walk<'_> {
    /// Bytes of what a size letter stands for.
    fn bytes(&self, letter: Option<u8>) -> u8 {
        match letter {
            Some(b'b' | b's') => 1,
            Some(b'w') => 2,
            Some(b'd') => 4,
            Some(b'q') if self.long() => 8,
            Some(b'q') => 4,
            Some(b'z') => self.operand.min(4),
            Some(b'y') => self.operand.max(4),
            _ => self.operand,
        }
    }

    /// One operand of the tables; of memory the size is told if `told`.
    pub(super) fn operand(&mut self, operand: &str, told: bool) -> Result<(), Bad> {
        let mut letters = operand.bytes();
        let (kind, letter) = (letters.next(), letters.next());
        match operand {
            "AL" | "CL" | "DX" | "1" | "ES" | "CS" | "SS" | "DS" | "FS" | "GS" => {
                return operand
                    .bytes()
                    .try_for_each(|it| self.put(char::from(it.to_ascii_lowercase())));
            }
            "rAX" => return self.register(0, self.operand),
            "eAX" => return self.register(0, self.operand.min(4)),
            _ => {}
        }
        let size = self.bytes(letter);
        match kind {
            Some(b'E' | b'M') if self.modrm()?.memory() => {
                let far = letter == Some(b'p');
                let size = if far { size.saturating_add(2) } else { size };
                self.memory(if letter.is_some() && told { size } else { 0 })
            }
            Some(b'E' | b'R') => {
                let rm = self.modrm()?.rm;
                self.register(rm, size)
            }
            Some(b'G') => {
                let reg = self.modrm()?.reg;
                self.register(reg, size)
            }
            Some(b'Z') => {
                let opcode = self.bytes.get(self.at.wrapping_sub(1)).copied().ok_or(Bad)?;
                self.register(opcode & 7 | (self.prefixes.rex & 1) << 3, size)
            }
            Some(b'S') => {
                let name = SEGMENTS.get(usize::from(self.modrm()?.reg & 7)).ok_or(Bad)?;
                self.out.write_str(name).map_err(|_| Bad)
            }
            Some(b'C') => self.numbered("cr"),
            Some(b'D') => self.numbered("dr"),
            Some(b'I') => self.immediate(letter, size),
            Some(b'J') => self.target(size),
            Some(b'A') => {
                let offset = self.number(size)?;
                let selector = self.number(2)? as u16;
                write!(self.out, "0x{selector:X}:0x{:X}", cut(offset, size)).map_err(|_| Bad)
            }
            Some(b'O') => {
                let address = self.prefixes.address(self.size);
                let offset = self.number(address)?;
                self.segment()?;
                write!(self.out, "[0x{:X}]", cut(offset, address)).map_err(|_| Bad)
            }
            _ => Err(Bad),
        }
    }

    fn put(&mut self, c: char) -> Result<(), Bad> {
        self.out.write_char(c).map_err(|_| Bad)
    }

    fn numbered(&mut self, name: &str) -> Result<(), Bad> {
        let mut reg = self.modrm()?.reg;
        // LOCK MOV CR0 is how AMD's CPUs reach CR8 outside 64-bit mode (APM 3, MOV CRn).
        if self.prefixes.lock && name == "cr" {
            reg |= 8;
        }
        write!(self.out, "{name}{reg}").map_err(|_| Bad)
    }

    fn immediate(&mut self, letter: Option<u8>, size: u8) -> Result<(), Bad> {
        let (value, shown) = match letter {
            Some(b's') => (self.number(1)?, self.operand),
            Some(b'z') => (self.number(size)?, self.operand),
            _ => (self.number(size)?, size),
        };
        write!(self.out, "0x{:X}", cut(value, shown)).map_err(|_| Bad)
    }

    fn target(&mut self, size: u8) -> Result<(), Bad> {
        // A target of 64 bits is told by 32; of 16, it is cut to them.
        let offset = self.number(size.min(4))?;
        let width = match self.size {
            CodeSize::Bits64 if self.operand == 2 => 2,
            CodeSize::Bits64 => 8,
            _ => self.operand,
        };
        let next = self.ip.wrapping_add(self.at as u64);
        write!(self.out, "0x{:X}", cut(next.wrapping_add(offset as u64) as i64, width))
            .map_err(|_| Bad)
    }

    fn register(&mut self, number: u8, size: u8) -> Result<(), Bad> {
        let low = usize::from(number & 7);
        let word = WORDS.get(low).copied().unwrap_or("");
        let written = match (number, size) {
            (8.., 1) => write!(self.out, "r{number}b"),
            (8.., 2) => write!(self.out, "r{number}w"),
            (8.., 4) => write!(self.out, "r{number}d"),
            (8.., _) => write!(self.out, "r{number}"),
            // With a REX the high bytes give way to those of SP to DI.
            (4..=7, 1) if self.prefixes.rex != 0 => write!(self.out, "{word}l"),
            (_, 1) => self.out.write_str(BYTES.get(low).copied().unwrap_or("")),
            (_, 2) => self.out.write_str(word),
            (_, 4) => write!(self.out, "e{word}"),
            _ => write!(self.out, "r{word}"),
        };
        written.map_err(|_| Bad)
    }

    fn segment(&mut self) -> Result<(), Bad> {
        match self.prefixes.segment {
            Some(segment) => write!(self.out, "{segment}:").map_err(|_| Bad),
            None => Ok(()),
        }
    }

    /// `size` in bytes, 0 if it is not told.
    fn memory(&mut self, size: u8) -> Result<(), Bad> {
        let ModRm { base, index, scale, displacement, relative, .. } = self.modrm()?;
        let address = self.prefixes.address(self.size);
        let told = match size {
            1 => "byte ptr ",
            2 => "word ptr ",
            4 => "dword ptr ",
            6 => "fword ptr ",
            8 => "qword ptr ",
            10 => "fword ptr ",
            _ => "",
        };
        self.out.write_str(told).map_err(|_| Bad)?;
        self.segment()?;
        self.put('[')?;
        if relative {
            self.out.write_str(if address == 8 { "rip" } else { "eip" }).map_err(|_| Bad)?;
        }
        if let Some(base) = base {
            self.register(base, address)?;
        }
        if let Some(index) = index {
            if base.is_some() {
                self.put('+')?;
            }
            self.register(index, address)?;
            if scale != 0 || base.is_none() {
                write!(self.out, "*{}", 1_u8.wrapping_shl(scale)).map_err(|_| Bad)?;
            }
        }
        let alone = base.is_none() && index.is_none() && !relative;
        let shown = match displacement {
            _ if alone => write!(self.out, "0x{:X}", cut(displacement, address)),
            0 => Ok(()),
            ..0 => write!(self.out, "-0x{:X}", displacement.unsigned_abs()),
            _ => write!(self.out, "+0x{displacement:X}"),
        };
        shown.map_err(|_| Bad)?;
        self.put(']')
    }
}

/// The low `bytes` bytes.
fn cut(value: i64, bytes: u8) -> u64 {
    let unused = 64_u32.wrapping_sub(u32::from(bytes).wrapping_mul(8)) & 63;
    (value as u64).wrapping_shl(unused).wrapping_shr(unused)
}
