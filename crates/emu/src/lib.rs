//! Recognises the few instructions the VMM completes for the guest, by their bytes: those that exit, and
//! those that treat the trap flag specially. Pure; the source is APM 3, chapter 1 and the
//! instructions' own pages.
//!
//! All have a fixed form behind their prefixes, so that no general decoder is needed: what is not
//! in [`Opcode`] is [`Opcode::Other`], of unknown length. Only [`disassemble`], for a person to read, knows more.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod disassembler;
mod store;
#[cfg(test)]
mod tests;

pub use disassembler::{Line, disassemble};
pub use store::{Source, Store, store};

/// Longest instruction the CPU accepts, in bytes.
pub const MAX_LEN: usize = 15;

/// Default operand and address size of a code segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeSize {
    /// Real mode, virtual-8086 mode, 16-bit segments.
    Bits16,
    /// 32-bit segments.
    Bits32,
    /// 64-bit mode.
    Bits64,
}

/// A segment override.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the registers say all")]
pub enum Segment {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// The instructions that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the mnemonics say all")]
pub enum Opcode {
    Cpuid,
    Rdmsr,
    Wrmsr,
    Hlt,
    Invd,
    Monitor,
    Mwait,
    Vmmcall,
    Xsetbv,
    Syscall,
    Sysret,
    Pushf,
    Popf,
    Iret,
    Int3,
    Into,
    Icebp,
    /// INT n with its vector.
    Int(u8),
    /// MOV from or to a debug register.
    MovDr {
        /// Debug register number.
        register: u8,
        /// General register's encoding.
        gpr: u8,
    },
    /// INS or OUTS.
    StringIo,
    /// MOVS with REP.
    RepMovs,
    /// STOS with REP.
    RepStos,
    /// Anything else; its length is not known.
    Other,
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Which one.
    pub opcode: Opcode,
    /// Bytes, prefixes included; 0 for [`Opcode::Other`].
    pub len: u8,
    /// The last segment override that counts in this mode.
    pub segment: Option<Segment>,
    /// Address size in bytes: 2, 4 or 8.
    pub address_size: u8,
    /// Operand size in bytes: 2, 4 or 8 (8 only where REX.W says so); 1 for the elements of MOVSB and STOSB.
    pub operand_size: u8,
}

/// What stands before an opcode.
#[derive(Default)]
struct Prefixes {
    segment: Option<Segment>,
    operand: bool,
    address: bool,
    /// F3, and not F2 behind it.
    repeat: bool,
    rex: u8,
}

impl Prefixes {
    /// The first byte of the opcode, and what was before it.
    fn take(rest: &mut impl Iterator<Item = u8>, code: CodeSize) -> Option<(u8, Self)> {
        let mut this = Self::default();
        loop {
            let byte = rest.next()?;
            let long = code == CodeSize::Bits64;
            match byte {
                0x26 if !long => this.segment = Some(Segment::Es),
                0x2e if !long => this.segment = Some(Segment::Cs),
                0x36 if !long => this.segment = Some(Segment::Ss),
                0x3e if !long => this.segment = Some(Segment::Ds),
                // In 64-bit mode these four are null prefixes (APM 3, 1.2.4).
                0x26 | 0x2e | 0x36 | 0x3e => {}
                0x64 => this.segment = Some(Segment::Fs),
                0x65 => this.segment = Some(Segment::Gs),
                0x66 => this.operand = true,
                0x67 => this.address = true,
                0xf2 | 0xf3 => this.repeat = byte == 0xf3,
                0xf0 => {}
                0x40..=0x4f if long => {
                    this.rex = byte;
                    continue;
                }
                _ => return Some((byte, this)),
            }
            // REX counts only right before the opcode (APM 3, 1.2.7).
            this.rex = 0;
        }
    }

    fn operand_size(&self, code: CodeSize) -> u8 {
        match (code, self.rex & 8 != 0, self.operand) {
            (CodeSize::Bits64, true, _) => 8,
            (CodeSize::Bits16, _, false) | (CodeSize::Bits32 | CodeSize::Bits64, _, true) => 2,
            _ => 4,
        }
    }

    fn address_size(&self, code: CodeSize) -> u8 {
        match (code, self.address) {
            (CodeSize::Bits64, false) => 8,
            (CodeSize::Bits64, true) | (CodeSize::Bits32, false) | (CodeSize::Bits16, true) => 4,
            (CodeSize::Bits32, true) | (CodeSize::Bits16, false) => 2,
        }
    }
}

/// Recognise the instruction that `bytes` begin with. `None` if they end before it does, or it would
/// be longer than [`MAX_LEN`].
#[must_use]
pub fn decode(bytes: &[u8], code: CodeSize) -> Option<Instruction> {
    let mut rest = bytes.get(..MAX_LEN.min(bytes.len()))?.iter().copied();
    let (first, prefixes) = Prefixes::take(&mut rest, code)?;
    let Prefixes { segment, repeat, rex, .. } = prefixes;
    let opcode = match first {
        0x0f => two_bytes(&mut rest, rex)?,
        0x6c..=0x6f => Opcode::StringIo,
        0x9c => Opcode::Pushf,
        0x9d => Opcode::Popf,
        0xa4 | 0xa5 if repeat => Opcode::RepMovs,
        0xaa | 0xab if repeat => Opcode::RepStos,
        0xcc => Opcode::Int3,
        0xcd => Opcode::Int(rest.next()?),
        0xce if code != CodeSize::Bits64 => Opcode::Into,
        0xcf => Opcode::Iret,
        0xf1 => Opcode::Icebp,
        0xf4 => Opcode::Hlt,
        _ => Opcode::Other,
    };
    let used = bytes.len().min(MAX_LEN).checked_sub(rest.len())?;
    let operand_size = if matches!(first, 0xa4 | 0xaa) { 1 } else { prefixes.operand_size(code) };
    let address_size = prefixes.address_size(code);
    let len = if opcode == Opcode::Other { 0 } else { u8::try_from(used).ok()? };
    Some(Instruction { opcode, len, segment, address_size, operand_size })
}

fn two_bytes(rest: &mut impl Iterator<Item = u8>, rex: u8) -> Option<Opcode> {
    Some(match rest.next()? {
        0x01 => match rest.next()? {
            0xc8 => Opcode::Monitor,
            0xc9 => Opcode::Mwait,
            0xd1 => Opcode::Xsetbv,
            0xd9 => Opcode::Vmmcall,
            _ => Opcode::Other,
        },
        0x05 => Opcode::Syscall,
        0x07 => Opcode::Sysret,
        0x08 => Opcode::Invd,
        0x21 | 0x23 => {
            let modrm = rest.next()?;
            // The mod field is ignored (APM 3, MOV DRn).
            Opcode::MovDr {
                register: modrm >> 3 & 7 | (rex & 4) << 1,
                gpr: modrm & 7 | (rex & 1) << 3,
            }
        }
        0x30 => Opcode::Wrmsr,
        0x32 => Opcode::Rdmsr,
        0xa2 => Opcode::Cpuid,
        _ => Opcode::Other,
    })
}
