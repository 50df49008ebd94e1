//! Prefixes (APM 3, 1.2).

use crate::CodeSize;

/// What stands before an opcode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefixes {
    /// 66h.
    pub(super) operand: bool,
    /// 67h.
    address: bool,
    /// F0h.
    pub(super) lock: bool,
    /// F2h, F3h or 0.
    pub(super) repeat: u8,
    /// The segment register named.
    pub(super) segment: Option<&'static str>,
    /// REX, or 0: it counts only right before the opcode.
    pub(super) rex: u8,
}

impl Prefixes {
    /// Those that `bytes` begin with, and how many there are.
    pub(super) fn take(size: CodeSize, bytes: &[u8]) -> (Self, usize) {
        let mut this = Self::default();
        let long = size == CodeSize::Bits64;
        for (n, &byte) in bytes.iter().enumerate() {
            let before = this.rex;
            this.rex = 0;
            match byte {
                // In 64-bit mode these four are read over.
                0x26 => this.name("es", long),
                0x2e => this.name("cs", long),
                0x36 => this.name("ss", long),
                0x3e => this.name("ds", long),
                0x64 => this.name("fs", false),
                0x65 => this.name("gs", false),
                0x66 => this.operand = true,
                0x67 => this.address = true,
                0xf0 => this.lock = true,
                0xf2 | 0xf3 => this.repeat = byte,
                0x40..=0x4f if long => this.rex = byte,
                _ => {
                    this.rex = before;
                    return (this, n);
                }
            }
        }
        (this, bytes.len())
    }

    fn name(&mut self, segment: &'static str, ignored: bool) {
        if !ignored {
            self.segment = Some(segment);
        }
    }

    /// Operand size in bytes.
    pub(super) fn operand(&self, size: CodeSize) -> u8 {
        match (size, self.operand) {
            (CodeSize::Bits64, _) if self.rex & 8 != 0 => 8,
            (CodeSize::Bits16, false) | (CodeSize::Bits32 | CodeSize::Bits64, true) => 2,
            _ => 4,
        }
    }

    /// Address size in bytes.
    pub(super) fn address(&self, size: CodeSize) -> u8 {
        match (size, self.address) {
            (CodeSize::Bits64, false) => 8,
            (CodeSize::Bits16, false) | (CodeSize::Bits32, true) => 2,
            _ => 4,
        }
    }
}
