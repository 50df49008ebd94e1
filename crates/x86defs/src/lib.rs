//! Names and layouts of the x86 architecture: registers, MSRs, the VMCB and the VMCS. Types only; nothing here
//! touches hardware. Sources: AMD64 Architecture Programmer's Manual, volume 2 (APM 2), and Intel's
//! Software Developer's Manual (SDM).
#![no_std]
#![forbid(unsafe_code)]

pub mod addresses;
pub mod cr;
pub mod msr;
pub mod segment;
pub mod vmcb;
pub mod vmx;

/// Exception vectors (APM 2, table 8-1).
pub mod vector {
    /// Debug.
    pub const DB: u8 = 1;
    /// Non-maskable interrupt.
    pub const NMI: u8 = 2;
    /// Breakpoint.
    pub const BP: u8 = 3;
    /// Overflow.
    pub const OF: u8 = 4;
    /// Invalid opcode.
    pub const UD: u8 = 6;
    /// Double fault.
    pub const DF: u8 = 8;
    /// Invalid TSS.
    pub const TS: u8 = 10;
    /// Segment not present.
    pub const NP: u8 = 11;
    /// Stack.
    pub const SS: u8 = 12;
    /// General protection.
    pub const GP: u8 = 13;
    /// Page fault.
    pub const PF: u8 = 14;
    /// Alignment check.
    pub const AC: u8 = 17;

    /// Whether the exception pushes an error code in protected mode (APM 2, table 8-1).
    #[must_use]
    pub const fn has_error_code(vector: u8) -> bool {
        matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
    }
}

/// Bits of RFLAGS (APM 2, 3.1.6).
pub mod rflags {
    /// Trap: single step.
    pub const TF: u64 = 1 << 8;
    /// Interrupts enabled.
    pub const IF: u64 = 1 << 9;
    /// Direction of string instructions.
    pub const DF: u64 = 1 << 10;
    /// Resume: no instruction breakpoint on the next instruction.
    pub const RF: u64 = 1 << 16;
    /// Virtual-8086 mode.
    pub const VM: u64 = 1 << 17;
    /// The bit that reads as one.
    pub const RESERVED_ONE: u64 = 1 << 1;
}

/// Bits of DR6 and DR7 (APM 2, 13.1.1).
pub mod dr {
    /// DR6 after reset.
    pub const DR6_INIT: u64 = 0xffff_0ff0;
    /// DR7 after reset.
    pub const DR7_INIT: u64 = 0x400;
    /// DR6: breakpoints 0 to 3 were hit.
    pub const DR6_B: u64 = 0xf;
    /// DR6: a debug register was accessed while DR7.GD was set.
    pub const DR6_BD: u64 = 1 << 13;
    /// DR6: single step.
    pub const DR6_BS: u64 = 1 << 14;
    /// DR6, 0 where it was the cause: a bus lock was asserted (SDM 3B, 17.2.3).
    pub const DR6_BLD: u64 = 1 << 11;
    /// DR6, 0 where it was the cause: it came within a transaction (SDM 3B, 17.2.3).
    pub const DR6_RTM: u64 = 1 << 16;
    /// DR7: local and global enables of breakpoints 0 to 3.
    pub const DR7_ENABLES: u64 = 0xff;
    /// DR7: general detect.
    pub const DR7_GD: u64 = 1 << 13;
}
