//! Basic exit reasons (SDM 3D, table C-1).

/// The entry failed: bit 31 of the exit reason.
pub const ENTRY_FAILED: u32 = 1 << 31;
/// An intercepted exception, or an NMI.
pub const EXCEPTION_OR_NMI: u32 = 0;
/// External interrupt.
pub const INTERRUPT: u32 = 1;
/// Triple fault.
pub const TRIPLE_FAULT: u32 = 2;
/// INIT signal.
pub const INIT: u32 = 3;
/// Start-up IPI.
pub const SIPI: u32 = 4;
/// Interrupt window.
pub const INTERRUPT_WINDOW: u32 = 7;
/// NMI window.
pub const NMI_WINDOW: u32 = 8;
/// Task switch.
pub const TASK_SWITCH: u32 = 9;
/// CPUID.
pub const CPUID: u32 = 10;
/// GETSEC.
pub const GETSEC: u32 = 11;
/// HLT.
pub const HLT: u32 = 12;
/// INVD.
pub const INVD: u32 = 13;
/// VMCALL.
pub const VMCALL: u32 = 18;
/// VMCLEAR, the first of the other VM instructions.
pub const VMCLEAR: u32 = 19;
/// VMXON, the last of them.
pub const VMXON: u32 = 27;
/// Access to a control register.
pub const CR: u32 = 28;
/// MOV DR.
pub const MOV_DR: u32 = 29;
/// I/O instruction.
pub const IO: u32 = 30;
/// RDMSR.
pub const RDMSR: u32 = 31;
/// WRMSR.
pub const WRMSR: u32 = 32;
/// The entry failed: guest state.
pub const ENTRY_GUEST_STATE: u32 = 33;
/// The entry failed: MSR loading.
pub const ENTRY_MSR_LOADING: u32 = 34;
/// MWAIT.
pub const MWAIT: u32 = 36;
/// Monitor trap flag.
pub const MONITOR_TRAP: u32 = 37;
/// MONITOR.
pub const MONITOR: u32 = 39;
/// The entry failed: machine check.
pub const ENTRY_MACHINE_CHECK: u32 = 41;
/// EPT violation.
pub const EPT_VIOLATION: u32 = 48;
/// EPT misconfiguration.
pub const EPT_MISCONFIGURATION: u32 = 49;
/// INVEPT.
pub const INVEPT: u32 = 50;
/// Preemption timer.
pub const PREEMPTION_TIMER: u32 = 52;
/// INVVPID.
pub const INVVPID: u32 = 53;
/// XSETBV.
pub const XSETBV: u32 = 55;
/// XSAVES, of a component that is to exit.
pub const XSAVES: u32 = 63;
/// XRSTORS, of a component that is to exit.
pub const XRSTORS: u32 = 64;
/// VMFUNC.
pub const VMFUNC: u32 = 59;
