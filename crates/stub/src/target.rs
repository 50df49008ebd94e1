//! What the stub asks of the debugger behind it, and what it tells it to do.

use crate::{Register, Regs};
use core::fmt;

/// The kinds of breakpoint gdb can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakpoint {
    /// `Z0`, gdb's `break`: how is the target's choice.
    Software,
    /// `Z1`, gdb's `hbreak`.
    Hardware,
    /// `Z2`, gdb's `watch`: stop after a write.
    Write,
    /// `Z3`, gdb's `rwatch`: stop after a read.
    Read,
    /// `Z4`, gdb's `awatch`: stop after either.
    Access,
}

/// Why a breakpoint was not set or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakpointError {
    /// No slot is free (`ENOSPC`).
    Full,
    /// This kind, length or alignment is not offered, or no such breakpoint is set (`EINVAL`).
    Unsupported,
    /// The address is not mapped, or not to be written (`EFAULT`).
    Memory,
}

/// A register the target does not let be changed, or a value it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What differs in the register file handed to [`Target::set_registers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Any of them (`G`): what the target cannot change it leaves alone.
    All,
    /// This one (`P`); for `Rip` and `Ip` both `rip_linear` and `ip` are new and agree.
    One(Register),
}

/// Why the guest stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A client came ([`Action::Interrupt`] while nobody was attached): `SIGTRAP`.
    Attached,
    /// The client asked (Ctrl-C): `SIGINT`.
    Interrupt {
        /// The CPU to show first.
        cpu: usize,
    },
    /// A [`Breakpoint::Software`] was reached.
    Breakpoint {
        /// The CPU that reached it.
        cpu: usize,
    },
    /// A [`Breakpoint::Hardware`] was reached.
    HardwareBreakpoint {
        /// The CPU that reached it.
        cpu: usize,
    },
    /// A watchpoint was hit.
    Watch {
        /// The CPU that made the access.
        cpu: usize,
        /// The kind that was set; one that is no watchpoint is told as a plain `SIGTRAP`.
        kind: Breakpoint,
        /// The linear address accessed.
        addr: u64,
    },
    /// The VMM itself failed, and nothing runs again, or the CPU refuses to run the guest as it is: `SIGABRT`.
    Aborted {
        /// The CPU that stands for the VMM.
        cpu: usize,
    },
    /// The step is done.
    Step {
        /// The CPU that stepped.
        cpu: usize,
    },
}

/// What the caller has to do after a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Nothing.
    None,
    /// Stop every CPU, then call `Stub::stopped`.
    Interrupt,
    /// Let the guest run; the client waits for `Stub::stopped`.
    Resume {
        /// This CPU executes one instruction only.
        step: Option<usize>,
    },
    /// The client wants the machine reset, and is told that it has to come anew.
    Reset {
        /// To be held before the first instruction of the guest that comes then.
        stop: bool,
    },
    /// The client left: let the guest run.
    Detached,
    /// The client wants the guest dead, and left.
    Kill,
}

/// What may be done with readable memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// It can be written.
    pub write: bool,
    /// It can be executed.
    pub execute: bool,
}

/// A range of linear addresses that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// Last address.
    pub last: u64,
    /// `None` where nothing is mapped.
    pub rights: Option<Rights>,
}

impl fmt::Display for Region {
    /// The reply to LLDB's `qMemoryRegionInfo`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All of the address space has one byte more than can be said.
        let size = self.last.wrapping_sub(self.start).saturating_add(1);
        write!(f, "start:{:x};size:{size:x};", self.start)?;
        match self.rights {
            None => Ok(()),
            Some(Rights { write, execute }) => {
                let (w, x) = (if write { "w" } else { "" }, if execute { "x" } else { "" });
                write!(f, "permissions:r{w}{x};")
            }
        }
    }
}

/// The debugger, as the stub sees it. CPUs count from 0; gdb's thread ids are one more.
///
/// The stub passes only indices below [`cpus`](Target::cpus), and calls nothing but `cpus` while the guest runs.
pub trait Target {
    /// How many CPUs there are: at least one, and the same for the whole session.
    fn cpus(&self) -> usize;

    /// The register file of one CPU.
    fn registers(&mut self, cpu: usize) -> Regs;

    /// Changes registers of one CPU; those not in `changed` have the value last read.
    ///
    /// # Errors
    /// [`Refused`] if `changed` names one register that cannot have this value.
    fn set_registers(&mut self, cpu: usize, regs: &Regs, changed: Changed) -> Result<(), Refused>;

    /// Reads memory at a linear address as this CPU translates it; returns the bytes read, counted
    /// from the start, 0 if the first is not mapped.
    fn read_memory(&mut self, cpu: usize, gva: u64, out: &mut [u8]) -> usize;

    /// Writes memory at a linear address as this CPU translates it; `false` if any byte could not
    /// be written.
    fn write_memory(&mut self, cpu: usize, gva: u64, data: &[u8]) -> bool;

    /// Reads guest-physical memory; returns the bytes read, counted from the start. By default as
    /// [`read_memory`](Target::read_memory): where nothing is translated there is one kind of address.
    fn read_physical(&mut self, gpa: u64, out: &mut [u8]) -> usize {
        self.read_memory(0, gpa, out)
    }

    /// Writes guest-physical memory; `false` if any byte could not be written. By default as
    /// [`write_memory`](Target::write_memory).
    fn write_physical(&mut self, gpa: u64, data: &[u8]) -> bool {
        self.write_memory(0, gpa, data)
    }

    /// What is around a linear address as this CPU translates it. By default all is one and may be everything.
    fn region(&mut self, _cpu: usize, _gva: u64) -> Region {
        Region { start: 0, last: u64::MAX, rights: Some(Rights { write: true, execute: true }) }
    }

    /// Writes what a CPU is and does, for a list of threads, without a line's end.
    ///
    /// # Errors
    /// Those of `out`.
    fn describe(&mut self, cpu: usize, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "CPU {cpu}")
    }

    /// Whether the guest would stop before the instruction at linear address `addr`, for a breakpoint.
    fn breakpoint_at(&mut self, _addr: u64) -> bool {
        false
    }

    /// Sets a breakpoint on every CPU. `addr` is linear; `len` is the bytes watched, or gdb's
    /// breakpoint kind, which is 1 on x86.
    ///
    /// # Errors
    /// See [`BreakpointError`].
    fn add_breakpoint(
        &mut self,
        kind: Breakpoint,
        addr: u64,
        len: u64,
    ) -> Result<(), BreakpointError>;

    /// Removes what [`add_breakpoint`](Target::add_breakpoint) set with the same arguments.
    ///
    /// # Errors
    /// See [`BreakpointError`].
    fn remove_breakpoint(
        &mut self,
        kind: Breakpoint,
        addr: u64,
        len: u64,
    ) -> Result<(), BreakpointError>;

    /// Removes every breakpoint: the client left, or a new one came after one that died.
    fn remove_all_breakpoints(&mut self);

    /// Serves a request of the control vocabulary but [`wire::Request::Reset`], which becomes an
    /// [`Action`]; `out` goes to the client's console.
    fn monitor(&mut self, request: wire::Request, out: &mut dyn fmt::Write);
}

/// Where the stub's bytes go. Must take every byte (wait, queue or drop: the link's business).
pub trait Output {
    /// Sends one byte to the client.
    fn put(&mut self, byte: u8);
}
