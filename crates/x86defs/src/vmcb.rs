//! The virtual machine control block (APM 2, appendix B) and its codes (appendix C).
use crate::segment::Segment;

/// Control area, first 1,024 bytes (table B-1).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Control {
    /// Reads of CR0 to CR15.
    pub intercept_cr_read: u16,
    /// Writes of CR0 to CR15.
    pub intercept_cr_write: u16,
    /// Reads of DR0 to DR15.
    pub intercept_dr_read: u16,
    /// Writes of DR0 to DR15.
    pub intercept_dr_write: u16,
    /// Exception vectors 0 to 31.
    pub intercept_exceptions: u32,
    /// See [`intercept1`].
    pub intercept1: u32,
    /// See [`intercept2`].
    pub intercept2: u32,
    /// INVLPGB and later.
    pub intercept3: u32,
    reserved0: [u8; 0x24],
    /// Cycles between two PAUSE that count as one loop.
    pub pause_filter_threshold: u16,
    /// PAUSE instructions until an exit.
    pub pause_filter_count: u16,
    /// I/O permission map, 12 KiB.
    pub iopm_base_pa: u64,
    /// MSR permission map, 8 KiB.
    pub msrpm_base_pa: u64,
    /// Added to the guest's TSC.
    pub tsc_offset: u64,
    /// Address space of the guest; 0 is the host's.
    pub asid: u32,
    /// See [`tlb`].
    pub tlb_control: u8,
    reserved1: [u8; 3],
    /// V_TPR, V_IRQ, V_INTR_MASKING ...
    pub int_ctl: u32,
    /// Vector of the virtual interrupt.
    pub int_vector: u32,
    /// Bit 0: the guest is in an interrupt shadow.
    pub interrupt_shadow: u64,
    /// Why the guest stopped.
    pub exit_code: u64,
    /// Depends on the code.
    pub exit_info1: u64,
    /// Depends on the code.
    pub exit_info2: u64,
    /// The event that was being delivered when the exit came.
    pub exit_int_info: u64,
    /// See [`np_enable`].
    pub np_enable: u64,
    reserved2: [u8; 0x10],
    /// The event to deliver on entry.
    pub event_inj: u64,
    /// Root of the nested tables.
    pub n_cr3: u64,
    /// LBR and VMLOAD/VMSAVE virtualisation.
    pub virt_ext: u64,
    /// What the CPU may keep from the last run.
    pub clean_bits: u32,
    reserved3: u32,
    /// Next RIP, where CPUID reports NRIPS.
    pub next_rip: u64,
    /// Bytes fetched, where decode assists are reported.
    pub fetched_len: u8,
    /// The instruction's bytes.
    pub fetched: [u8; 15],
    reserved4: [u8; 0x400 - 0xe0],
}

/// State-save area, from byte 400h (table B-2).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Save {
    /// ES, CS, SS, DS, FS, GS, GDTR, LDTR, IDTR, TR: see [`seg`].
    pub segments: [Segment; 10],
    reserved0: [u8; 0x2b],
    /// Current privilege level.
    pub cpl: u8,
    reserved1: u32,
    /// Extended features.
    pub efer: u64,
    reserved2: [u8; 0x70],
    /// CR4.
    pub cr4: u64,
    /// CR3.
    pub cr3: u64,
    /// CR0.
    pub cr0: u64,
    /// DR7.
    pub dr7: u64,
    /// DR6.
    pub dr6: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// RIP.
    pub rip: u64,
    reserved3: [u8; 0x58],
    /// RSP.
    pub rsp: u64,
    reserved4: [u8; 0x18],
    /// RAX.
    pub rax: u64,
    /// STAR.
    pub star: u64,
    /// LSTAR.
    pub lstar: u64,
    /// CSTAR.
    pub cstar: u64,
    /// SFMASK.
    pub sfmask: u64,
    /// KernelGSBase.
    pub kernel_gs_base: u64,
    /// SYSENTER_CS.
    pub sysenter_cs: u64,
    /// SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// CR2.
    pub cr2: u64,
    reserved5: [u8; 0x20],
    /// The guest's PAT.
    pub g_pat: u64,
    /// DebugCtl.
    pub dbgctl: u64,
    reserved6: [u8; 0x1000 - 0x678],
}

/// The whole block: one page.
#[repr(C, align(4096))]
#[derive(Clone, Copy)]
pub struct Vmcb {
    /// What to intercept, why it stopped.
    pub control: Control,
    /// The guest's registers.
    pub save: Save,
}

const _: () = {
    assert!(size_of::<Vmcb>() == 0x1000);
    assert!(core::mem::offset_of!(Control, iopm_base_pa) == 0x40);
    assert!(core::mem::offset_of!(Control, asid) == 0x58);
    assert!(core::mem::offset_of!(Control, exit_code) == 0x70);
    assert!(core::mem::offset_of!(Control, np_enable) == 0x90);
    assert!(core::mem::offset_of!(Control, event_inj) == 0xa8);
    assert!(core::mem::offset_of!(Control, next_rip) == 0xc8);
    assert!(core::mem::offset_of!(Vmcb, save.cpl) == 0x4cb);
    assert!(core::mem::offset_of!(Vmcb, save.efer) == 0x4d0);
    assert!(core::mem::offset_of!(Vmcb, save.cr4) == 0x548);
    assert!(core::mem::offset_of!(Vmcb, save.rsp) == 0x5d8);
    assert!(core::mem::offset_of!(Vmcb, save.rax) == 0x5f8);
    assert!(core::mem::offset_of!(Vmcb, save.cr2) == 0x640);
    assert!(core::mem::offset_of!(Vmcb, save.g_pat) == 0x668);
};

/// Indices into [`Save::segments`].
pub mod seg {
    /// ES.
    pub const ES: usize = 0;
    /// CS.
    pub const CS: usize = 1;
    /// SS.
    pub const SS: usize = 2;
    /// DS.
    pub const DS: usize = 3;
    /// FS.
    pub const FS: usize = 4;
    /// GS.
    pub const GS: usize = 5;
    /// GDTR.
    pub const GDTR: usize = 6;
    /// LDTR.
    pub const LDTR: usize = 7;
    /// IDTR.
    pub const IDTR: usize = 8;
    /// TR.
    pub const TR: usize = 9;
}

/// Bits of `intercept1` (offset 0Ch).
pub mod intercept1 {
    /// Physical interrupt.
    pub const INTR: u32 = 1;
    /// Physical NMI.
    pub const NMI: u32 = 1 << 1;
    /// Physical INIT.
    pub const INIT: u32 = 1 << 3;
    /// PUSHF.
    pub const PUSHF: u32 = 1 << 16;
    /// CPUID.
    pub const CPUID: u32 = 1 << 18;
    /// IRET.
    pub const IRET: u32 = 1 << 20;
    /// INT n.
    pub const INTN: u32 = 1 << 21;
    /// INVD.
    pub const INVD: u32 = 1 << 22;
    /// HLT.
    pub const HLT: u32 = 1 << 24;
    /// INVLPGA.
    pub const INVLPGA: u32 = 1 << 26;
    /// Ports by the I/O permission map.
    pub const IOIO_PROT: u32 = 1 << 27;
    /// MSRs by the MSR permission map.
    pub const MSR_PROT: u32 = 1 << 28;
    /// Triple fault.
    pub const SHUTDOWN: u32 = 1 << 31;
}

/// Bits of `intercept2` (offset 10h).
pub mod intercept2 {
    /// VMRUN: must be set (APM 2, 15.5.1).
    pub const VMRUN: u32 = 1;
    /// VMMCALL.
    pub const VMMCALL: u32 = 1 << 1;
    /// VMLOAD.
    pub const VMLOAD: u32 = 1 << 2;
    /// VMSAVE.
    pub const VMSAVE: u32 = 1 << 3;
    /// STGI.
    pub const STGI: u32 = 1 << 4;
    /// CLGI.
    pub const CLGI: u32 = 1 << 5;
    /// SKINIT.
    pub const SKINIT: u32 = 1 << 6;
    /// ICEBP (INT1).
    pub const ICEBP: u32 = 1 << 8;
    /// MONITOR.
    pub const MONITOR: u32 = 1 << 10;
    /// MWAIT.
    pub const MWAIT: u32 = 1 << 11;
}

/// Values of `tlb_control` (APM 2, 15.16.1).
pub mod tlb {
    /// Flush nothing.
    pub const NONE: u8 = 0;
    /// Flush everything; every CPU has it.
    pub const ALL: u8 = 1;
    /// Flush this guest's entries; where flush by ASID is reported.
    pub const GUEST: u8 = 3;
}

/// Bits of `np_enable`.
pub mod np_enable {
    /// Nested paging.
    pub const NP: u64 = 1;
    /// INVLPGB and TLBSYNC are not #UD.
    pub const INVLPGB: u64 = 1 << 7;
}

/// Bits of `int_ctl`.
pub mod int_ctl {
    /// A virtual interrupt is pending.
    pub const V_IRQ: u32 = 1 << 8;
    /// Its priority, all bits.
    pub const V_INTR_PRIO: u32 = 15 << 16;
    /// It ignores V_TPR.
    pub const V_IGN_TPR: u32 = 1 << 20;
    /// The host's RFLAGS.IF masks physical interrupts, and CR8 is virtual (APM 2, 15.21.1).
    pub const V_INTR_MASKING: u32 = 1 << 24;
}

/// Fields of EVENTINJ and EXITINTINFO (APM 2, 15.20).
pub mod event {
    /// Bits 10:8.
    pub const TYPE: u64 = 7 << 8;
    /// External interrupt.
    pub const INTR: u64 = 0;
    /// NMI.
    pub const NMI: u64 = 2 << 8;
    /// Exception.
    pub const EXCEPTION: u64 = 3 << 8;
    /// INT n.
    pub const SOFTWARE: u64 = 4 << 8;
    /// The error code is valid.
    pub const ERROR_VALID: u64 = 1 << 11;
    /// The event is valid.
    pub const VALID: u64 = 1 << 31;
}

/// Exit codes (appendix C).
pub mod exit {
    /// Read of CR0; +n.
    pub const CR_READ: u64 = 0x00;
    /// Write of CR0; +n.
    pub const CR_WRITE: u64 = 0x10;
    /// Read of DR0; +n.
    pub const DR_READ: u64 = 0x20;
    /// Write of DR0; +n.
    pub const DR_WRITE: u64 = 0x30;
    /// Exception 0; +vector.
    pub const EXCEPTION: u64 = 0x40;
    /// Physical interrupt.
    pub const INTR: u64 = 0x60;
    /// Physical NMI.
    pub const NMI: u64 = 0x61;
    /// Physical SMI.
    pub const SMI: u64 = 0x62;
    /// Physical INIT.
    pub const INIT: u64 = 0x63;
    /// PUSHF.
    pub const PUSHF: u64 = 0x70;
    /// CPUID.
    pub const CPUID: u64 = 0x72;
    /// IRET.
    pub const IRET: u64 = 0x74;
    /// INT n.
    pub const SWINT: u64 = 0x75;
    /// INVD.
    pub const INVD: u64 = 0x76;
    /// HLT.
    pub const HLT: u64 = 0x78;
    /// INVLPGA.
    pub const INVLPGA: u64 = 0x7a;
    /// IN, OUT, INS, OUTS.
    pub const IOIO: u64 = 0x7b;
    /// RDMSR, WRMSR.
    pub const MSR: u64 = 0x7c;
    /// Triple fault.
    pub const SHUTDOWN: u64 = 0x7f;
    /// VMRUN.
    pub const VMRUN: u64 = 0x80;
    /// VMMCALL.
    pub const VMMCALL: u64 = 0x81;
    /// SKINIT: the last of the SVM instructions from VMRUN on.
    pub const SKINIT: u64 = 0x86;
    /// ICEBP.
    pub const ICEBP: u64 = 0x88;
    /// MONITOR.
    pub const MONITOR: u64 = 0x8a;
    /// MWAIT.
    pub const MWAIT: u64 = 0x8b;
    /// MWAIT, armed.
    pub const MWAIT_ARMED: u64 = 0x8c;
    /// Nested page fault.
    pub const NPF: u64 = 0x400;
    /// The VMCB is not consistent (APM 2, 15.5.1).
    pub const INVALID: u64 = u64::MAX;
}

/// Feature bits of CPUID Fn8000_000A EDX.
pub mod feature {
    /// Nested paging.
    pub const NP: u32 = 1;
    /// Next RIP saved.
    pub const NRIPS: u32 = 1 << 3;
    /// Flush by ASID.
    pub const FLUSH_BY_ASID: u32 = 1 << 6;
    /// Decode assists.
    pub const DECODE_ASSISTS: u32 = 1 << 7;
    /// INVLPGB and TLBSYNC in guests need an enable.
    pub const INVLPGB: u32 = 1 << 24;
}
