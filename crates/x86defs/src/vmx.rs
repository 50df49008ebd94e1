//! Names of Intel's VMX: the VMCS's fields, its controls, the capability MSRs, exit reasons
//! (Intel SDM 3C, chapters 24 to 27 and appendices A to C; section numbers are those of edition 080).

pub mod control;
pub mod exit;
pub mod field;

/// Bits of the interruption-information words: VM-entry's, VM-exit's and IDT-vectoring's (SDM 3C, 24.8.3, 24.9.2,
/// 24.9.3).
pub mod event {
    /// Vector.
    pub const VECTOR: u32 = 0xff;
    /// Type of the event.
    pub const TYPE: u32 = 7 << 8;
    /// External interrupt.
    pub const INTERRUPT: u32 = 0;
    /// Non-maskable interrupt.
    pub const NMI: u32 = 2 << 8;
    /// Hardware exception.
    pub const EXCEPTION: u32 = 3 << 8;
    /// INT n.
    pub const SOFTWARE: u32 = 4 << 8;
    /// INT1 (ICEBP).
    pub const PRIVILEGED: u32 = 5 << 8;
    /// INT3 and INTO.
    pub const SOFTWARE_EXCEPTION: u32 = 6 << 8;
    /// It has an error code.
    pub const ERROR_VALID: u32 = 1 << 11;
    /// VM exit: NMIs were unblocked by the IRET that was interrupted.
    pub const NMI_UNBLOCKED: u32 = 1 << 12;
    /// There is an event.
    pub const VALID: u32 = 1 << 31;
}

/// Bits of the guest's interruptibility state (SDM 3C, table 24-3).
pub mod shadow {
    /// Blocking by STI.
    pub const STI: u64 = 1;
    /// Blocking by MOV SS.
    pub const MOV_SS: u64 = 1 << 1;
    /// Blocking by SMI.
    pub const SMI: u64 = 1 << 2;
    /// Blocking by NMI; with virtual NMIs, of those.
    pub const NMI: u64 = 1 << 3;
    /// The exit was in an enclave.
    pub const ENCLAVE: u64 = 1 << 4;
}

/// The guest's activity state (SDM 3C, 24.4.2).
pub mod activity {
    /// Executing.
    pub const ACTIVE: u64 = 0;
    /// HLT.
    pub const HLT: u64 = 1;
    /// After a triple fault.
    pub const SHUTDOWN: u64 = 2;
    /// Waiting for a start-up IPI.
    pub const WAIT_FOR_SIPI: u64 = 3;
}

/// Pending debug exceptions (SDM 3C, table 24-4).
pub mod pending {
    /// DR6.BS.
    pub const BS: u64 = 1 << 14;
}

/// Bits of the segments' access rights that descriptors have elsewhere (SDM 3C, table 24-2).
pub mod rights {
    /// The register holds no segment.
    pub const UNUSABLE: u32 = 1 << 16;
    /// Present.
    pub const PRESENT: u32 = 1 << 7;
    /// Code or data, not system.
    pub const CODE_OR_DATA: u32 = 1 << 4;
    /// 64-bit code.
    pub const LONG: u32 = 1 << 13;
    /// 32 bits.
    pub const BIG: u32 = 1 << 14;
    /// The limit counts pages.
    pub const GRANULAR: u32 = 1 << 15;
    /// Bits that must be 0: 11 to 8, 31 to 17.
    pub const RESERVED: u32 = 0xfffe_0f00;
}

/// IA32_FEATURE_CONTROL (SDM 3C, 23.7).
pub mod feature_control {
    /// It can no longer be written.
    pub const LOCK: u64 = 1;
    /// VMXON may be executed inside SMX operation.
    pub const VMX_IN_SMX: u64 = 1 << 1;
    /// VMXON may be executed outside SMX operation.
    pub const VMX: u64 = 1 << 2;
    /// SGX's launch keys can be chosen.
    pub const SGX_LAUNCH: u64 = 1 << 17;
    /// SGX may be used.
    pub const SGX: u64 = 1 << 18;
    /// Machine checks may come to one CPU alone.
    pub const LOCAL_MACHINE_CHECK: u64 = 1 << 20;
}

/// IA32_VMX_BASIC (SDM 3D, A.1).
pub mod basic {
    /// The revision of the VMCS: bits 30:0.
    pub const REVISION: u64 = 0x7fff_ffff;
    /// The VMX regions' addresses have 32 bits.
    pub const ADDRESSES_32: u64 = 1 << 48;
    /// Exits of INS and OUTS tell the instruction.
    pub const STRING_IO: u64 = 1 << 54;
    /// The TRUE capability MSRs exist.
    pub const TRUE_CONTROLS: u64 = 1 << 55;
}

/// IA32_VMX_MISC (SDM 3D, A.6).
pub mod misc {
    /// The preemption timer counts the TSC's bit of this number.
    pub const TIMER_SHIFT: u64 = 31;
    /// HLT as an activity state.
    pub const ACTIVITY_HLT: u64 = 1 << 6;
    /// Processor trace can be used in VMX operation.
    pub const TRACE: u64 = 1 << 14;
}

/// IA32_VMX_EPT_VPID_CAP (SDM 3D, A.10).
pub mod ept_vpid {
    /// Walks of four levels.
    pub const FOUR_LEVELS: u64 = 1 << 6;
    /// The EPT's own structures may be write-back.
    pub const WRITE_BACK: u64 = 1 << 14;
    /// Pages of 2 MiB.
    pub const PAGE_2M: u64 = 1 << 16;
    /// Pages of 1 GiB.
    pub const PAGE_1G: u64 = 1 << 17;
    /// INVEPT.
    pub const INVEPT: u64 = 1 << 20;
    /// INVEPT of one context.
    pub const INVEPT_SINGLE: u64 = 1 << 25;
    /// INVEPT of all.
    pub const INVEPT_ALL: u64 = 1 << 26;
}

/// The EPT pointer (SDM 3C, table 24-9): write-back, four levels.
pub const EPTP_FLAGS: u64 = 6 | 3 << 3;
