//! Bits of the VM-execution, VM-exit and VM-entry controls (SDM 3C, 24.6 to 24.8).

/// Pin-based (table 24-5).
pub mod pin {
    /// NMIs exit.
    pub const NMI: u32 = 1 << 3;
    /// NMI blocking is the guest's own.
    pub const VIRTUAL_NMIS: u32 = 1 << 5;
    /// The preemption timer counts.
    pub const TIMER: u32 = 1 << 6;
}

/// Primary, processor-based (table 24-6).
pub mod primary {
    /// RDTSC adds the offset.
    pub const TSC_OFFSET: u32 = 1 << 3;
    /// HLT exits.
    pub const HLT: u32 = 1 << 7;
    /// MWAIT exits.
    pub const MWAIT: u32 = 1 << 10;
    /// Writes of CR3 exit.
    pub const CR3_LOAD: u32 = 1 << 15;
    /// Reads of CR3 exit.
    pub const CR3_STORE: u32 = 1 << 16;
    /// Exit as soon as a virtual NMI could be taken.
    pub const NMI_WINDOW: u32 = 1 << 22;
    /// MOV DR exits.
    pub const MOV_DR: u32 = 1 << 23;
    /// The I/O bitmaps decide.
    pub const IO_BITMAPS: u32 = 1 << 25;
    /// Exit after one instruction.
    pub const MONITOR_TRAP: u32 = 1 << 27;
    /// The MSR bitmaps decide.
    pub const MSR_BITMAPS: u32 = 1 << 28;
    /// MONITOR exits.
    pub const MONITOR: u32 = 1 << 29;
    /// There are secondary controls.
    pub const SECONDARY: u32 = 1 << 31;
}

/// Secondary, processor-based (table 24-7).
pub mod secondary {
    /// Extended page tables.
    pub const EPT: u32 = 1 << 1;
    /// RDTSCP and RDPID exist.
    pub const RDTSCP: u32 = 1 << 3;
    /// Translations are tagged.
    pub const VPID: u32 = 1 << 5;
    /// Real mode and paging off run on the CPU.
    pub const UNRESTRICTED: u32 = 1 << 7;
    /// INVPCID exists.
    pub const INVPCID: u32 = 1 << 12;
    /// Packets of processor trace do not tell of VMX.
    pub const CONCEAL: u32 = 1 << 19;
    /// XSAVES and XRSTORS exist.
    pub const XSAVES: u32 = 1 << 20;
    /// Processor trace writes through the EPT.
    pub const TRACE: u32 = 1 << 24;
    /// TPAUSE, UMONITOR and UMWAIT exist.
    pub const USER_WAIT: u32 = 1 << 26;
}

/// VM exit (table 24-13).
pub mod exit {
    /// Save DR7 and DEBUGCTL.
    pub const SAVE_DEBUG: u32 = 1 << 2;
    /// The host is in 64-bit mode.
    pub const HOST_LONG: u32 = 1 << 9;
    /// Save PAT.
    pub const SAVE_PAT: u32 = 1 << 18;
    /// Load PAT.
    pub const LOAD_PAT: u32 = 1 << 19;
    /// Save EFER.
    pub const SAVE_EFER: u32 = 1 << 20;
    /// Load EFER.
    pub const LOAD_EFER: u32 = 1 << 21;
    /// Save what is left of the preemption timer.
    pub const SAVE_TIMER: u32 = 1 << 22;
    /// Switch supervisor bounds off (BNDCFGS).
    pub const CLEAR_BOUNDS: u32 = 1 << 23;
    /// No packet of processor trace tells of the exit.
    pub const CONCEAL: u32 = 1 << 24;
    /// Switch processor trace off.
    pub const CLEAR_TRACE: u32 = 1 << 25;
    /// Switch architectural last branch records off.
    pub const CLEAR_LBR: u32 = 1 << 26;
}

/// VM entry (table 24-15).
pub mod entry {
    /// Load DR7 and DEBUGCTL.
    pub const LOAD_DEBUG: u32 = 1 << 2;
    /// The guest is in long mode.
    pub const GUEST_LONG: u32 = 1 << 9;
    /// Load PAT.
    pub const LOAD_PAT: u32 = 1 << 14;
    /// Load EFER.
    pub const LOAD_EFER: u32 = 1 << 15;
    /// Load BNDCFGS.
    pub const LOAD_BOUNDS: u32 = 1 << 16;
    /// No packet of processor trace tells of the entry.
    pub const CONCEAL: u32 = 1 << 17;
    /// Load the processor trace's control.
    pub const LOAD_TRACE: u32 = 1 << 18;
    /// Load the control of architectural last branch records.
    pub const LOAD_LBR: u32 = 1 << 21;
}
