//! The contract between the neutral core and the vendors' crates: a virtual CPU, why it stopped
//! ([`Exit`]), what the CPU can do ([`Capabilities`]), what can be delivered to it ([`Event`]).
//! Nothing here names a VMCB or a VMCS.
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

use core::fmt;

mod exit;
mod maps;
mod meet;
pub use exit::{Exit, NestedFault, PortIo, TaskSource, TaskSwitch};
pub use maps::{IoMap, set_bit};
pub use meet::{Meeting, meet};
pub use paging::walk::Paging;
pub use x86defs::segment::Segment;

/// General registers by their encoding in instructions (APM 3, 1.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names of the registers say all")]
pub enum Gpr {
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

impl Gpr {
    /// All sixteen, in encoding order.
    pub const ALL: [Self; 16] = [
        Self::Rax,
        Self::Rcx,
        Self::Rdx,
        Self::Rbx,
        Self::Rsp,
        Self::Rbp,
        Self::Rsi,
        Self::Rdi,
        Self::R8,
        Self::R9,
        Self::R10,
        Self::R11,
        Self::R12,
        Self::R13,
        Self::R14,
        Self::R15,
    ];

    /// The register an instruction names by the low four bits of `number`.
    #[must_use]
    pub fn from_encoding(number: u8) -> Self {
        Self::ALL.get(usize::from(number & 15)).copied().unwrap_or(Self::Rax)
    }
}

/// Segment and descriptor-table registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the registers say all")]
pub enum Seg {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
    Ldtr,
    Tr,
    Gdtr,
    Idtr,
}

/// Registers that are neither general nor segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the registers say all")]
pub enum System {
    Rip,
    Rflags,
    Cr0,
    Cr2,
    Cr3,
    Cr4,
    Cr8,
    Efer,
    Dr6,
    Dr7,
    DebugCtl,
    KernelGsBase,
    Star,
    Lstar,
    Cstar,
    Sfmask,
    Pat,
}

/// What is delivered to the guest on its next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An external interrupt, already acknowledged.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// An exception with the error code it pushes, if it does.
    Exception(u8, Option<u32>),
    /// INT n; RIP is already behind the instruction.
    Software(u8),
}

/// What an exit may be asked for beyond those that are always on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intercept {
    /// MONITOR and MWAIT.
    Mwait,
    /// Reads and writes of the debug registers.
    DebugRegisters,
    /// The ICEBP instruction (F1h), our software breakpoint.
    Icebp,
    /// All exceptions and INT n: while one instruction is stepped.
    Everything,
    /// The end of an NMI handler: [`Exit::Iret`] before it, or [`Exit::NmiWindow`] after it.
    Iret,
    /// The next instruction or the delivery of the queued event, where [`Capabilities::monitor_trap`] says so.
    Step,
}

/// What this CPU offers; differences of vendors and models are data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The exit tells the address of the next instruction.
    pub next_rip: bool,
    /// The exit tells operands and instruction bytes.
    pub decode_assists: bool,
    /// One guest's translations can be flushed alone.
    pub flush_by_asid: bool,
    /// MWAITX with a timer.
    pub mwaitx: bool,
    /// INVLPGB must be enabled for the guest.
    pub invlpgb: bool,
    /// A timer of the CPU's own ends the run ([`Exit::Tick`]): neither interrupts nor HLT exit.
    pub timer: bool,
    /// [`Intercept::Step`] ends the run after one instruction, unseen by the guest.
    pub monitor_trap: bool,
    /// The extension is Intel's: its MSRs are concealed, not AMD's.
    pub vmx: bool,
    /// What CPUID reports and the guest cannot have.
    pub absent: Absent,
}

/// Instructions and features that are #UD in a guest of this CPU, and must be concealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the features say all")]
pub struct Absent {
    pub rdtscp: bool,
    pub invpcid: bool,
    pub xsaves: bool,
    /// TPAUSE, UMONITOR, UMWAIT.
    pub user_wait: bool,
    /// Processor trace, whose output would not go through the nested tables.
    pub trace: bool,
    /// Architectural last branch records, which would go on in the VMM.
    pub branch_records: bool,
}

/// How long [`Vcpu::wait`] may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Look once whether an interrupt is pending.
    Look,
    /// Halt the CPU until the next interrupt, or about a millisecond where MWAITX has a timer.
    Halt,
    /// Look once whether an NMI is pending, even if one that was injected blocks it; interrupts stay pending.
    Nmi,
}

/// One virtual CPU. Every method is called on the CPU that owns it.
pub trait Vcpu {
    /// What the CPU offers.
    fn capabilities(&self) -> Capabilities;
    /// Put the vCPU into the state INIT leaves (APM 2, table 14-1): real mode at F000:FFF0.
    fn init(&mut self);
    /// Let the guest run until something happens. An event that was being delivered when the exit
    /// came is queued again, unless [`Self::inject`] replaces it.
    fn run(&mut self) -> Exit;

    /// A general register.
    fn gpr(&self, register: Gpr) -> u64;
    /// Set a general register.
    fn set_gpr(&mut self, register: Gpr, value: u64);
    /// A system register. EFER is as the VM control has it, unshadowed.
    fn system(&self, register: System) -> u64;
    /// Set a system register.
    fn set_system(&mut self, register: System, value: u64);
    /// A segment register; of GDTR and IDTR only base and limit mean anything.
    fn segment(&self, register: Seg) -> Segment;
    /// Set a segment register.
    fn set_segment(&mut self, register: Seg, value: Segment);
    /// Current privilege level.
    fn cpl(&self) -> u8;
    /// Debug address register 0 to 3.
    fn debug_address(&self, n: usize) -> u64;
    /// Set debug address register 0 to 3.
    fn set_debug_address(&mut self, n: usize, value: u64);

    /// What is added to the time-stamp counter the guest reads.
    fn tsc_offset(&self) -> u64;
    /// Set what is added to the time-stamp counter the guest reads.
    fn set_tsc_offset(&mut self, offset: u64);
    /// Address of the next instruction, if the last exit told it.
    fn next_rip(&self) -> Option<u64>;
    /// Leave the interrupt shadow of STI or MOV SS: an instruction has been completed for the guest.
    fn clear_interrupt_shadow(&mut self);
    /// The registers that govern address translation.
    fn paging(&self) -> Paging {
        Paging {
            cr0: self.system(System::Cr0),
            cr3: self.system(System::Cr3),
            cr4: self.system(System::Cr4),
            efer: self.system(System::Efer),
        }
    }

    /// Deliver an event on the next entry; replaces one that was queued.
    fn inject(&mut self, event: Event);
    /// The event queued for the next entry.
    fn queued(&self) -> Option<Event>;
    /// Ask for exits, or no longer.
    fn intercept(&mut self, what: Intercept, on: bool);
    /// Ask for an exit on each access to `count` ports from `first` on, or no longer.
    fn watch_ports(&mut self, first: u16, count: u16, on: bool);
    /// Ask for exits on RDMSR and WRMSR of one MSR. MSRs outside the ranges a permission map covers
    /// exit always.
    fn watch_msr(&mut self, msr: u32, read: bool, write: bool);
    /// Keep physical interrupts pending, without exits, while the guest runs.
    fn hold_interrupts(&mut self, on: bool);
    /// Acknowledge a pending physical interrupt and give its vector; `None` if there is none.
    fn wait(&mut self, how: Wait) -> Option<u8>;
    /// Whether a physical NMI arrived since the last call.
    fn take_nmi(&mut self) -> bool;
    /// Whether a physical INIT arrived since the last call.
    fn take_init(&mut self) -> bool;

    /// After [`Exit::Stepped`]: the bits of DR6 of a #DB for breakpoints that the instruction met, and that would come
    /// next; it no longer does. 0 if there is none.
    fn take_breakpoints(&mut self) -> u64 {
        0
    }

    /// The four page-directory pointers of PAE paging, 0 for one that is not present, where the vCPU keeps them beside CR3.
    fn set_pae_pointers(&mut self, pointers: [u64; 4]) {
        let _ = pointers;
    }

    /// Use these nested tables from the next entry on (host-physical root).
    fn set_nested_root(&mut self, root: u64);
    /// The nested tables changed: forget this guest's translations, and our own of its memory.
    fn flush(&mut self);

    /// After [`Exit::Invalid`]: say what the CPU refused.
    ///
    /// # Errors
    /// Those of `out`.
    fn why_invalid(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("the CPU does not say why")
    }
}
