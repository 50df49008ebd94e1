//! Model-specific registers (APM 2, appendix A; SDM 4, chapter 2).

/// Time-stamp counter.
pub const TSC: u32 = 0x10;
/// Local APIC base and mode.
pub const APIC_BASE: u32 = 0x1b;
/// What the firmware allows: VMX among it (SDM 3C, 23.7).
pub const FEATURE_CONTROL: u32 = 0x3a;
/// Whether memory is encrypted, and how many bits of an address number a key.
pub const TME_ACTIVATE: u32 = 0x982;
/// Microcode update trigger (SDM 3A, 9.11.6).
pub const BIOS_UPDT_TRIG: u32 = 0x79;
/// x2APIC: the register at offset 0; one more for each 16 bytes on.
pub const X2APIC_FIRST: u32 = 0x800;
/// x2APIC interrupt command register.
pub const X2APIC_ICR: u32 = 0x830;
/// x2APIC: the local APIC's ID.
pub const X2APIC_ID: u32 = 0x802;
/// MTRR capabilities.
pub const MTRR_CAP: u32 = 0xfe;
/// Machine-check status of the CPU (APM 2, 9.3.1.2).
pub const MCG_STATUS: u32 = 0x17a;
/// MCG_STATUS: a machine check is in progress.
pub const MCG_STATUS_MCIP: u64 = 1 << 2;
/// Status of the first machine-check bank; each further one is 4 on.
pub const MC0_STATUS: u32 = 0x401;
/// Machine-check capabilities: the number of banks in the low byte.
pub const MCG_CAP: u32 = 0x179;
/// Page attribute table.
pub const PAT: u32 = 0x277;
/// SYSENTER code segment.
pub const SYSENTER_CS: u32 = 0x174;
/// SYSENTER stack pointer.
pub const SYSENTER_ESP: u32 = 0x175;
/// SYSENTER instruction pointer.
pub const SYSENTER_EIP: u32 = 0x176;
/// Debug control.
pub const DEBUGCTL: u32 = 0x1d9;
/// DebugCtl: branches are recorded.
pub const DEBUGCTL_LBR: u64 = 1 << 0;
/// DebugCtl: TF traps on branches only.
pub const DEBUGCTL_BTF: u64 = 1 << 1;
/// Miscellaneous features; Intel's.
pub const MISC_ENABLE: u32 = 0x1a0;
/// MISC_ENABLE: there is neither a branch trace store nor precise event sampling.
pub const MISC_ENABLE_NO_STORE: u64 = 1 << 11 | 1 << 12;
/// MISC_ENABLE: EFER.NXE is reserved.
pub const MISC_ENABLE_NO_NX: u64 = 1 << 34;
/// Precise event sampling: what is sampled; Intel's.
pub const PEBS_ENABLE: u32 = 0x3f1;
/// Precise event sampling: what is written down.
pub const PEBS_DATA_CFG: u32 = 0x3f2;
/// Architectural precise event sampling: where to.
pub const PEBS_BASE: u32 = 0x3f4;
/// Architectural precise event sampling: how far.
pub const PEBS_INDEX: u32 = 0x3f5;
/// The debug store: its linear address; Intel's.
pub const DS_AREA: u32 = 0x600;
/// The first and the last of the processor trace's; Intel's.
pub const TRACE_FIRST: u32 = 0x560;
/// See [`TRACE_FIRST`].
pub const TRACE_LAST: u32 = 0x58f;
/// Architectural last branch records: their control, and how many; Intel's.
pub const LBR_CTL: u32 = 0x14ce;
/// See [`LBR_CTL`].
pub const LBR_DEPTH: u32 = 0x14cf;
/// The timer of the local APIC in TSC-deadline mode: when; Intel's.
pub const TSC_DEADLINE: u32 = 0x6e0;
/// VMX capabilities: basic; the first of them.
pub const VMX_BASIC: u32 = 0x480;
/// VMX capabilities: pin-based controls.
pub const VMX_PIN: u32 = 0x481;
/// VMX capabilities: primary processor-based controls.
pub const VMX_PRIMARY: u32 = 0x482;
/// VMX capabilities: VM-exit controls.
pub const VMX_EXIT: u32 = 0x483;
/// VMX capabilities: VM-entry controls.
pub const VMX_ENTRY: u32 = 0x484;
/// VMX capabilities: miscellaneous.
pub const VMX_MISC: u32 = 0x485;
/// VMX capabilities: CR0 bits that must be 1.
pub const VMX_CR0_FIXED0: u32 = 0x486;
/// VMX capabilities: CR0 bits that may be 1.
pub const VMX_CR0_FIXED1: u32 = 0x487;
/// VMX capabilities: CR4 bits that must be 1.
pub const VMX_CR4_FIXED0: u32 = 0x488;
/// VMX capabilities: CR4 bits that may be 1.
pub const VMX_CR4_FIXED1: u32 = 0x489;
/// VMX capabilities: secondary processor-based controls.
pub const VMX_SECONDARY: u32 = 0x48b;
/// VMX capabilities: EPT and VPID.
pub const VMX_EPT_VPID: u32 = 0x48c;
/// VMX capabilities: pin-based controls without the default settings.
pub const VMX_TRUE_PIN: u32 = 0x48d;
/// VMX capabilities: primary processor-based controls without the default settings.
pub const VMX_TRUE_PRIMARY: u32 = 0x48e;
/// VMX capabilities: VM-exit controls without the default settings.
pub const VMX_TRUE_EXIT: u32 = 0x48f;
/// VMX capabilities: VM-entry controls without the default settings.
pub const VMX_TRUE_ENTRY: u32 = 0x490;
/// VMX capabilities: the last of them.
pub const VMX_LAST: u32 = 0x493;
/// SVM TSC ratio.
pub const TSC_RATIO: u32 = 0xc000_0104;
/// Performance counters, global (PerfMonV2): status.
pub const PERF_GLOBAL_STATUS: u32 = 0xc000_0300;
/// Performance counters, global: which count.
pub const PERF_GLOBAL_CTL: u32 = 0xc000_0301;
/// Performance counters, global: clears bits of the status.
pub const PERF_GLOBAL_STATUS_CLEAR: u32 = 0xc000_0302;
/// The first of four performance controls.
pub const PERF_LEGACY_CTL0: u32 = 0xc001_0000;
/// The first of four performance counters.
pub const PERF_LEGACY_CTR0: u32 = 0xc001_0004;
/// The first of the core extensions' performance controls; each further one is 2 on.
pub const PERF_CTL0: u32 = 0xc001_0200;
/// The first of the core extensions' performance counters; each further one is 2 on.
pub const PERF_CTR0: u32 = 0xc001_0201;
/// System configuration.
pub const SYSCFG: u32 = 0xc001_0010;
/// SYSCFG: memory is encrypted where an address asks for it (MemEncryptionModeEn).
pub const SYSCFG_ENCRYPTION: u64 = 1 << 23;
/// I/O range registers: base and mask, twice.
pub const IORR_BASE0: u32 = 0xc001_0016;
/// End of RAM below 4 GiB.
pub const TOP_MEM: u32 = 0xc001_001a;
/// End of RAM above 4 GiB.
pub const TOP_MEM2: u32 = 0xc001_001d;
/// Microcode patch loader.
pub const PATCH_LOADER: u32 = 0xc001_0020;
/// PCI configuration space.
pub const MMIO_CFG_BASE: u32 = 0xc001_0058;
/// SMM base address.
pub const SMM_BASE: u32 = 0xc001_0111;
/// SMM TSeg base.
pub const SMM_ADDR: u32 = 0xc001_0112;
/// SMM TSeg mask.
pub const SMM_MASK: u32 = 0xc001_0113;
/// AVIC doorbell.
pub const AVIC_DOORBELL: u32 = 0xc001_011b;
/// SEV page flush.
pub const VMPAGE_FLUSH: u32 = 0xc001_011e;
/// SEV-ES GHCB.
pub const SEV_ES_GHCB: u32 = 0xc001_0130;
/// SEV status.
pub const SEV_STATUS: u32 = 0xc001_0131;
/// Reverse map table, first byte.
pub const RMP_BASE: u32 = 0xc001_0132;
/// Reverse map table, last byte.
pub const RMP_END: u32 = 0xc001_0133;
/// Extended features.
pub const EFER: u32 = 0xc000_0080;
/// SYSCALL selectors.
pub const STAR: u32 = 0xc000_0081;
/// SYSCALL target, 64-bit.
pub const LSTAR: u32 = 0xc000_0082;
/// SYSCALL target, compatibility mode.
pub const CSTAR: u32 = 0xc000_0083;
/// SYSCALL flag mask.
pub const SFMASK: u32 = 0xc000_0084;
/// FS base.
pub const FS_BASE: u32 = 0xc000_0100;
/// GS base.
pub const GS_BASE: u32 = 0xc000_0101;
/// GS base that SWAPGS exchanges.
pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// SVM control (APM 2, 15.30.1).
pub const VM_CR: u32 = 0xc001_0114;
/// VM_CR: A20 masking is disabled.
pub const VM_CR_DIS_A20M: u64 = 1 << 2;
/// VM_CR: SVM is locked.
pub const VM_CR_LOCK: u64 = 1 << 3;
/// VM_CR: EFER.SVME cannot be set.
pub const VM_CR_SVMDIS: u64 = 1 << 4;
/// IGNNE (APM 2, 15.30.2).
pub const IGNNE: u32 = 0xc001_0115;
/// SMM control (APM 2, 15.30.3).
pub const SMM_CTL: u32 = 0xc001_0116;
/// Physical address of the host state-save area (APM 2, 15.30.4).
pub const VM_HSAVE_PA: u32 = 0xc001_0117;
/// SVM key (APM 2, 15.30.5).
pub const SVM_KEY: u32 = 0xc001_0118;
/// Components of the state that XSAVES and XRSTORS manage (SDM 1, 13.3).
pub const XSS: u32 = 0xda0;
/// XSS: the processor trace's state.
pub const XSS_TRACE: u64 = 1 << 8;
/// XSS: the state of architectural last branch records.
pub const XSS_BRANCH_RECORDS: u64 = 1 << 15;
