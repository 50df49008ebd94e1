//! Code as text, for a person: never on the guest's path. Intel's syntax; the tables are the manual's maps
//! ([`tables`]). Of x87 and of the vector extensions (MMX to AVX-512) only the length and the memory are told.
//!
//! No library: those with a formatter would be a third of the image. Tests compare with one.

mod line;
mod modrm;
mod operands;
mod prefixes;
mod tables;

pub use line::Line;

use crate::{CodeSize, MAX_LEN};
use core::fmt::Write as _;
use modrm::ModRm;
use prefixes::Prefixes;

/// The bytes end before the instruction does, or no CPU knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bad;

/// An instruction being taken apart.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    ip: u64,
    size: CodeSize,
    prefixes: Prefixes,
    /// Operand size in bytes: 2, 4 or 8.
    operand: u8,
    modrm: Option<ModRm>,
    out: Line,
}

/// The instruction that `bytes` begin with, as a CPU takes it that executes code of `size` with the instruction
/// pointer at `ip`. What is no instruction, or is cut short, is one byte of `(bad)`.
pub fn disassemble(size: CodeSize, ip: u64, bytes: &[u8]) -> Line {
    let bytes = bytes.get(..MAX_LEN).unwrap_or(bytes);
    let (prefixes, at) = Prefixes::take(size, bytes);
    let operand = prefixes.operand(size);
    let out = Line::default();
    let mut walk = Walk { bytes, at, ip, size, prefixes, operand, modrm: None, out };
    match walk.instruction() {
        Ok(()) => walk.out.whole(walk.at),
        Err(Bad) => Line::bad(),
    }
}

impl Walk<'_> {
    fn byte(&mut self) -> Result<u8, Bad> {
        let byte = self.bytes.get(self.at).copied().ok_or(Bad)?;
        self.at = self.at.saturating_add(1);
        Ok(byte)
    }

    fn peek(&self) -> Result<u8, Bad> {
        self.bytes.get(self.at).copied().ok_or(Bad)
    }

    /// A little-endian number of so many bytes, sign-extended.
    fn number(&mut self, bytes: u8) -> Result<i64, Bad> {
        let mut value = 0_u64;
        for n in 0..u32::from(bytes) {
            value |= u64::from(self.byte()?).wrapping_shl(n.wrapping_mul(8));
        }
        let unused = 64_u32.wrapping_sub(u32::from(bytes).wrapping_mul(8)) & 63;
        Ok((value.wrapping_shl(unused) as i64).wrapping_shr(unused))
    }

    fn long(&self) -> bool {
        self.size == CodeSize::Bits64
    }

    fn modrm(&mut self) -> Result<ModRm, Bad> {
        match self.modrm {
            Some(modrm) => Ok(modrm),
            None => {
                let modrm = ModRm::take(self)?;
                self.modrm = Some(modrm);
                Ok(modrm)
            }
        }
    }

    fn instruction(&mut self) -> Result<(), Bad> {
        let opcode = self.byte()?;
        // In the place of LES, LDS and BOUND, which have no register there; in 64-bit mode always.
        if matches!(opcode, 0x62 | 0xc4 | 0xc5) && (self.long() || self.peek()? >= 0xc0) {
            return self.vector(opcode);
        }
        // XOP is where POP has no register other than 0.
        if opcode == 0x8f && self.peek()? & 0x1f >= 8 {
            return self.vector(opcode);
        }
        match opcode {
            0x0f => {
                let second = self.byte()?;
                self.two(second)
            }
            0xd8..=0xdf => self.x87(opcode),
            0x63 if self.long() => self.spec("movsxd Gv,Ez", opcode),
            0x90 if self.prefixes.repeat == 0xf3 => self.text("pause"),
            0x90 if self.prefixes.rex & 1 == 0 => self.text("nop"),
            // The register field is 0 in MOV, and these in no group.
            0xc6 if self.peek()? == 0xf8 => {
                self.byte()?;
                self.spec("xabort Ib", opcode)
            }
            0xc7 if self.peek()? == 0xf8 => {
                self.byte()?;
                self.spec("xbegin Jz", opcode)
            }
            0x98 => self.by_size("cbw", "cwde", "cdqe"),
            0x99 => self.by_size("cwd", "cdq", "cqo"),
            0xf6 if self.modrm()?.reg & 6 == 0 => self.spec("test Eb,Ib", opcode),
            0xf7 if self.modrm()?.reg & 6 == 0 => self.spec("test Ev,Iz", opcode),
            0xff => match self.modrm()?.reg & 7 {
                reg @ (3 | 5) if self.modrm()?.memory() => {
                    self.spec(if reg == 3 { "callf Mp" } else { "jmpf Mp" }, opcode)
                }
                3 | 5 => Err(Bad),
                2 | 4 | 6 => self.spec("^@5 Ev", opcode),
                _ => self.spec(tables::entry(tables::ONE, opcode), opcode),
            },
            0x8f => self.spec("^@14 Ev", opcode),
            _ => self.spec(tables::entry(tables::ONE, opcode), opcode),
        }
    }

    fn two(&mut self, opcode: u8) -> Result<(), Bad> {
        let repeated = self.prefixes.repeat == 0xf3;
        match opcode {
            0x01 if repeated && matches!(self.peek()?, 0xe8 | 0xea) => {
                let name = if self.byte()? == 0xe8 { "setssbsy" } else { "saveprevssp" };
                self.text(name)
            }
            0x01 if self.peek()? >= 0xc0 => {
                let [high, low] = [self.peek()? >> 4, self.peek()? & 15]
                    .map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
                let mut key = [0; 2];
                high.encode_utf8(&mut key[..1]);
                low.encode_utf8(&mut key[1..]);
                let key = core::str::from_utf8(&key).map_err(|_| Bad)?;
                let name = tables::keyed(tables::SYSTEM, key);
                if name != "-" {
                    self.byte()?;
                    return self.text(name);
                }
                // SMSW and LMSW alone have a register there.
                if self.modrm()?.reg & 5 == 4 { self.spec("@7 Ev", opcode) } else { Err(Bad) }
            }
            0x01 if repeated && self.modrm()?.reg & 7 == 5 => self.spec("rstorssp M", opcode),
            0x01 => self.spec("@7 M", opcode),
            0x09 if repeated => self.text("wbnoinvd"),
            0x07 => self.text(if self.prefixes.rex & 8 == 0 { "sysret" } else { "sysretq" }),
            // The mode is taken for that of a register, whatever it is (APM 3, MOV CRn).
            0x20..=0x23 => {
                self.modrm = Some(ModRm::of_register(self)?);
                self.spec(tables::entry(tables::TWO, opcode), opcode)
            }
            0x1e if repeated && matches!(self.peek()?, 0xfa | 0xfb) => {
                let name = if self.byte()? == 0xfa { "endbr64" } else { "endbr32" };
                self.text(name)
            }
            0x18 | 0x0d if self.peek()? >= 0xc0 => self.spec("nop Ev", opcode),
            0xae if self.peek()? >= 0xc0 => match (self.modrm()?.reg & 7, repeated) {
                (0, true) => self.spec("rdfsbase Ry", opcode),
                (1, true) => self.spec("rdgsbase Ry", opcode),
                (2, true) => self.spec("wrfsbase Ry", opcode),
                (3, true) => self.spec("wrgsbase Ry", opcode),
                (5, true) => self.spec("incssp Ry", opcode),
                (6, true) => self.spec("umonitor Rv", opcode),
                (5, false) => self.text("lfence"),
                (6, false) => self.text("mfence"),
                (7, false) => self.text("sfence"),
                _ => Err(Bad),
            },
            0xb8 if !repeated => Err(Bad),
            0xbc if repeated => self.spec("tzcnt Gv,Ev", opcode),
            0xbd if repeated => self.spec("lzcnt Gv,Ev", opcode),
            0xc7 => match (self.modrm()?.memory(), self.modrm()?.reg & 7) {
                (true, 1) if self.prefixes.rex & 8 != 0 => self.spec("cmpxchg16b M", opcode),
                (true, _) => self.spec("@9 M", opcode),
                (false, 6) => self.spec("rdrand Rv", opcode),
                (false, 7) => self.spec("rdseed Rv", opcode),
                (false, _) => Err(Bad),
            },
            _ => self.spec(tables::entry(tables::TWO, opcode), opcode),
        }
    }

    fn x87(&mut self, opcode: u8) -> Result<(), Bad> {
        let second = self.peek()?;
        let modrm = self.modrm()?;
        if modrm.memory() {
            let names = tables::line(tables::X87, opcode.wrapping_sub(0xd8));
            let name = tables::word(names, modrm.reg & 7);
            if name == "-" {
                return Err(Bad);
            }
            self.out.mnemonic(&self.prefixes, name);
            return self.memory_if_any();
        }
        match (opcode, second) {
            (0xdb, 0xe2) => self.text("fnclex"),
            (0xdb, 0xe3) => self.text("fninit"),
            (0xdf, 0xe0) => self.text("fnstsw ax"),
            (0xd9, 0xd0) => self.text("fnop"),
            _ => {
                self.out.mnemonic(&self.prefixes, "x87");
                write!(self.out, " {opcode:02X} {second:02X}").map_err(|_| Bad)
            }
        }
    }

    /// VEX, XOP and EVEX (APM 4, 1.2; Intel SDM 2A, 2.7): the map decides what follows.
    fn vector(&mut self, opcode: u8) -> Result<(), Bad> {
        let first = self.byte()?;
        let map = match opcode {
            0xc5 => 1,
            0xc4 | 0x8f => {
                self.byte()?;
                first & 0x1f
            }
            _ => {
                self.byte()?;
                self.byte()?;
                first & 7
            }
        };
        // R, X and B are kept inverted.
        self.prefixes.rex = if opcode == 0xc5 { 0 } else { (!first >> 5) & 3 };
        let code = self.byte()?;
        let follows = match map {
            1 => u8::from(matches!(code, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6)),
            2 | 5 | 6 | 9 => 0,
            3 | 8 => 1,
            10 => 4,
            _ => return Err(Bad),
        };
        self.out.mnemonic(&self.prefixes, "avx");
        write!(self.out, " {map}:{code:02X}").map_err(|_| Bad)?;
        if map != 1 || code != 0x77 {
            self.memory_if_any()?;
        }
        (0..follows).try_for_each(|_| self.byte().map(drop))
    }

    fn memory_if_any(&mut self) -> Result<(), Bad> {
        if !self.modrm()?.memory() {
            return Ok(());
        }
        self.out.comma(0);
        self.operand("M", false)
    }

    /// An entry of the maps.
    fn spec(&mut self, spec: &'static str, opcode: u8) -> Result<(), Bad> {
        let (name, list) = spec.split_once(' ').unwrap_or((spec, ""));
        if let Some(kind) = name.strip_prefix('#') {
            return self.simd(kind, opcode);
        }
        let name = match name.strip_prefix('!') {
            Some(_) if self.long() => return Err(Bad),
            Some(name) => name,
            None => name,
        };
        let name = match name.strip_prefix('^') {
            Some(name) => {
                if self.long() && self.operand == 4 {
                    self.operand = 8;
                }
                name
            }
            None => name,
        };
        let name = match name.strip_prefix('@') {
            Some(group) => {
                tables::word(tables::keyed(tables::GROUPS, group), self.modrm()?.reg & 7)
            }
            None => name,
        };
        if name == "-" {
            return Err(Bad);
        }
        if list.split(',').any(|operand| {
            operand.starts_with(['E', 'G', 'M', 'R', 'S', 'C', 'D'])
                && operand.len() < 3
                && !matches!(operand, "CL" | "DX" | "CS" | "DS" | "SS" | "ES" | "GS")
        }) {
            self.modrm()?;
        }
        self.out.mnemonic(&self.prefixes, name);
        self.suffix(name);
        if list.is_empty() {
            return Ok(());
        }
        // The size of memory goes without saying where a register has the same.
        let sized = |operand: &str| operand.as_bytes().get(1).copied();
        for (n, operand) in list.split(',').enumerate() {
            let others = list.split(',').filter(|other| other.starts_with(['G', 'Z', 'r', 'S']));
            let told = others.into_iter().all(|other| sized(other) != sized(operand));
            self.out.comma(n);
            self.operand(operand, told)?;
        }
        Ok(())
    }

    /// What a `*`, `+` or `=` in a mnemonic stands for.
    fn suffix(&mut self, name: &str) {
        let letter = |bytes: u8| match bytes {
            2 => 'w',
            4 => 'd',
            _ => 'q',
        };
        let address = self.prefixes.address(self.size);
        let (mark, with) = match name {
            _ if name.contains('*') => ('*', Some(letter(self.operand))),
            _ if name.contains('+') => ('+', Some(letter(self.operand.min(4)))),
            _ => (
                '=',
                match address {
                    2 => None,
                    4 => Some('e'),
                    _ => Some('r'),
                },
            ),
        };
        self.out.replace(mark, with);
    }

    /// MMX and SSE: behind ModRM there may be a byte.
    fn simd(&mut self, kind: &str, opcode: u8) -> Result<(), Bad> {
        self.out.mnemonic(&self.prefixes, "simd");
        write!(self.out, " 0F {opcode:02X}").map_err(|_| Bad)?;
        if kind.starts_with('3') {
            let third = self.byte()?;
            write!(self.out, " {third:02X}").map_err(|_| Bad)?;
        }
        self.memory_if_any()?;
        let follows = match opcode {
            // EXTRQ and INSERTQ of SSE4A.
            0x78 if self.prefixes.operand || self.prefixes.repeat == 0xf2 => 2,
            _ => u8::from(kind.ends_with('i')),
        };
        (0..follows).try_for_each(|_| self.byte().map(drop))
    }

    fn text(&mut self, text: &str) -> Result<(), Bad> {
        self.out.mnemonic(&self.prefixes, text);
        Ok(())
    }

    fn by_size(&mut self, word: &str, double: &str, quad: &str) -> Result<(), Bad> {
        self.text(match self.operand {
            2 => word,
            4 => double,
            _ => quad,
        })
    }
}

#[cfg(test)]
mod tests;
