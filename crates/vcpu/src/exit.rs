//! Why the guest stopped, decoded once by the vendor's crate.

/// An access to an I/O port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortIo {
    /// The port.
    pub port: u16,
    /// IN or INS.
    pub input: bool,
    /// Bytes of one access: 1, 2 or 4.
    pub size: u8,
    /// INS or OUTS.
    pub string: bool,
    /// With a REP prefix.
    pub repeat: bool,
    /// Address size in bytes of a string instruction: 2, 4 or 8; 0 if the CPU does not tell.
    pub address_size: u8,
    /// Segment that OUTS reads; `None` if the CPU does not tell.
    pub segment: Option<crate::Seg>,
    /// Address of the next instruction.
    pub next_rip: u64,
}

/// An access that the nested tables refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NestedFault {
    /// Guest-physical address.
    pub gpa: u64,
    /// The entry was present: the access right was missing.
    pub present: bool,
    /// It was a write.
    pub write: bool,
    /// It was an instruction fetch.
    pub fetch: bool,
    /// It was made by a walk of the guest's own page tables.
    pub table_walk: bool,
}

/// What asks for a task switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskSource {
    /// CALL.
    Call,
    /// IRET.
    Iret,
    /// JMP.
    Jump,
    /// An event through a task gate.
    Gate,
}

/// A task switch, not yet begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskSwitch {
    /// Selector of the new task's segment.
    pub selector: u16,
    /// What asks for it.
    pub source: TaskSource,
    /// For an event: it is raised by an instruction, INT n, INT3, INTO or INT1, that RIP points to.
    pub software: bool,
    /// For an event that is an exception no instruction asked for: its vector.
    pub exception: Option<u8>,
    /// For an event: the error code it pushes.
    pub error: Option<u32>,
}

/// Why the guest stopped. Unless said otherwise RIP is at the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// CPUID.
    Cpuid,
    /// RDMSR.
    Rdmsr,
    /// WRMSR.
    Wrmsr,
    /// IN, OUT, INS, OUTS on a port that is watched.
    PortIo(PortIo),
    /// The timer that has the VMM look at the line.
    Tick,
    /// A physical interrupt that the guest could take is pending: see [`crate::Vcpu::wait`].
    Interrupt,
    /// A physical NMI came: see [`crate::Vcpu::take_nmi`].
    Nmi,
    /// A physical INIT came: see [`crate::Vcpu::take_init`].
    Init,
    /// An access that the nested tables refuse.
    NestedFault(NestedFault),
    /// An exception that is intercepted, with its error code; for #PF with the address.
    Exception {
        /// Vector, 0 to 31.
        vector: u8,
        /// Error code, as the vendor reports it.
        error: u32,
        /// Address of a page fault; CR2 is not yet written.
        address: u64,
    },
    /// INT n.
    SoftwareInterrupt,
    /// ICEBP.
    Icebp,
    /// HLT.
    Hlt,
    /// MONITOR.
    Monitor,
    /// MWAIT.
    Mwait,
    /// INVD.
    Invd,
    /// IRET, not yet executed.
    Iret,
    /// The guest can take an NMI again: its handler's IRET is complete. See [`crate::Intercept::Iret`].
    NmiWindow,
    /// One instruction, or the delivery of one event, is complete. See [`crate::Intercept::Step`].
    Stepped,
    /// XSETBV.
    Xsetbv,
    /// A task switch, where the CPU leaves it to the VMM.
    TaskSwitch(TaskSwitch),
    /// A write of a control register that the CPU left to the vendor's crate, which has dealt with it.
    ControlRegister,
    /// MOV from or to a debug register.
    MovDr {
        /// Debug register number.
        register: u8,
        /// MOV to the debug register.
        write: bool,
        /// General register's encoding, where the CPU tells it.
        gpr: Option<u8>,
    },
    /// VMMCALL or VMCALL: the guest asks for its hypervisor.
    Hypercall,
    /// Another instruction of the virtualisation extension itself.
    Virtualisation,
    /// Triple fault.
    TripleFault,
    /// The CPU refused to enter the guest.
    Invalid,
    /// A code nobody asked for.
    Unknown(u64),
}

impl Exit {
    /// Number of rows of the exit counters.
    pub const REASONS: usize = 28;

    /// Names of the rows of the exit counters, by [`Self::reason`].
    pub const NAMES: [&'static str; Self::REASONS] = [
        "cpuid",
        "rdmsr",
        "wrmsr",
        "port-io",
        "interrupt",
        "nmi",
        "init",
        "nested-fault",
        "exception",
        "int-n",
        "icebp",
        "hlt",
        "monitor",
        "mwait",
        "invd",
        "iret",
        "mov-dr",
        "virtualisation",
        "triple-fault",
        "invalid",
        "unknown",
        "hypercall",
        "tick",
        "nmi-window",
        "stepped",
        "xsetbv",
        "task-switch",
        "control-register",
    ];

    /// Row of the exit counters.
    #[must_use]
    pub const fn reason(&self) -> usize {
        match self {
            Self::Cpuid => 0,
            Self::Rdmsr => 1,
            Self::Wrmsr => 2,
            Self::PortIo(_) => 3,
            Self::Interrupt => 4,
            Self::Nmi => 5,
            Self::Init => 6,
            Self::NestedFault(_) => 7,
            Self::Exception { .. } => 8,
            Self::SoftwareInterrupt => 9,
            Self::Icebp => 10,
            Self::Hlt => 11,
            Self::Monitor => 12,
            Self::Mwait => 13,
            Self::Invd => 14,
            Self::Iret => 15,
            Self::MovDr { .. } => 16,
            Self::Virtualisation => 17,
            Self::TripleFault => 18,
            Self::Invalid => 19,
            Self::Unknown(_) => 20,
            Self::Hypercall => 21,
            Self::Tick => 22,
            Self::NmiWindow => 23,
            Self::Stepped => 24,
            Self::Xsetbv => 25,
            Self::TaskSwitch(_) => 26,
            Self::ControlRegister => 27,
        }
    }
}
