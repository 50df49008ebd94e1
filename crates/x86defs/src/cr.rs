//! Bits of the control registers, EFER and the feature leaves that govern them.

/// Protection enable.
pub const CR0_PE: u64 = 1;
/// Task switched: the next x87 or SSE instruction raises #NM.
pub const CR0_TS: u64 = 1 << 3;
/// Extension type: reads as one.
pub const CR0_ET: u64 = 1 << 4;
/// Numeric errors raise #MF.
pub const CR0_NE: u64 = 1 << 5;
/// Write protect.
pub const CR0_WP: u64 = 1 << 16;
/// Not write-through.
pub const CR0_NW: u64 = 1 << 29;
/// Cache disable.
pub const CR0_CD: u64 = 1 << 30;
/// Paging.
pub const CR0_PG: u64 = 1 << 31;

/// Physical address extension.
pub const CR4_PAE: u64 = 1 << 5;
/// Machine-check exceptions.
pub const CR4_MCE: u64 = 1 << 6;
/// VMX enable.
pub const CR4_VMXE: u64 = 1 << 13;
/// SMX enable.
pub const CR4_SMXE: u64 = 1 << 14;
/// Process-context identifiers.
pub const CR4_PCIDE: u64 = 1 << 17;
/// The OS uses XSAVE.
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// Key locker.
pub const CR4_KL: u64 = 1 << 19;
/// Protection keys for user pages.
pub const CR4_PKE: u64 = 1 << 22;
/// Control-flow enforcement.
pub const CR4_CET: u64 = 1 << 23;

/// System-call extensions.
pub const EFER_SCE: u64 = 1;
/// Long mode enable.
pub const EFER_LME: u64 = 1 << 8;
/// Long mode active.
pub const EFER_LMA: u64 = 1 << 10;
/// No-execute pages.
pub const EFER_NXE: u64 = 1 << 11;
/// Secure virtual machine enable.
pub const EFER_SVME: u64 = 1 << 12;
/// Long mode segment limits.
pub const EFER_LMSLE: u64 = 1 << 13;
/// Fast FXSAVE.
pub const EFER_FFXSR: u64 = 1 << 14;
/// Translation cache extension.
pub const EFER_TCE: u64 = 1 << 15;
/// Interruptible WBINVD and WBNOINVD.
pub const EFER_INTWB: u64 = 1 << 18;
/// Upper address ignore.
pub const EFER_UAIE: u64 = 1 << 20;
/// Automatic IBRS.
pub const EFER_AIBRSE: u64 = 1 << 21;
