//! Segment registers as the VMCB holds them (APM 2, 15.5.1 and appendix B).

/// A segment register with its hidden part. `attributes` has descriptor bits 55:52 in 11:8 and bits
/// 47:40 in 7:0; `limit` is in bytes, granularity applied.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Visible part.
    pub selector: u16,
    /// Type, S, DPL, P, AVL, L, D/B, G.
    pub attributes: u16,
    /// Last valid byte.
    pub limit: u32,
    /// Linear address of byte 0.
    pub base: u64,
}

/// Present, writable, accessed data; also a real-mode stack.
pub const DATA16: u16 = 0x93;
/// Present, readable, accessed code, 16 bits.
pub const CODE16: u16 = 0x9b;
/// Present LDT.
pub const LDT: u16 = 0x82;
/// Present, busy 32-bit or 64-bit TSS.
pub const TSS_BUSY: u16 = 0x8b;
/// Attribute bit: 64-bit code.
pub const ATTR_L: u16 = 1 << 9;
/// Attribute bit: 32-bit default size.
pub const ATTR_DB: u16 = 1 << 10;

impl Segment {
    /// A real-mode segment: base = selector * 16, limit FFFFh.
    #[must_use]
    pub const fn real(selector: u16, attributes: u16) -> Self {
        Self { selector, attributes, limit: 0xffff, base: (selector as u64) << 4 }
    }

    /// Descriptor privilege level.
    #[must_use]
    pub const fn dpl(&self) -> u8 {
        ((self.attributes >> 5) & 3) as u8
    }
}
