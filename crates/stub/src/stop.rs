//! Stop replies.

use crate::arch::number_of;
use crate::{Breakpoint, Reason, Register, Regs};
use core::fmt;

const SIGINT: u8 = 2;
const SIGTRAP: u8 = 5;

/// gdb asks for these after every stop unless the reply has them: then a step is one round trip.
const NEXT: [Register; 4] = [Register::Rbp, Register::Rsp, Register::Rip, Register::Eflags];

/// Why the guest stopped, as the client is told.
pub(crate) struct StopReply {
    pub(crate) why: Reason,
    /// The client knows `swbreak`.
    pub(crate) swbreak: bool,
    /// The client knows `hwbreak`.
    pub(crate) hwbreak: bool,
    /// Of the CPU that stopped.
    pub(crate) regs: Regs,
}

impl fmt::Display for StopReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal = match self.why {
            Reason::Interrupt { .. } => SIGINT,
            _ => SIGTRAP,
        };
        write!(f, "T{signal:02x}thread:{:x};", cpu_of(self.why).saturating_add(1))?;
        match self.why {
            Reason::Breakpoint { .. } if self.swbreak => f.write_str("swbreak:;")?,
            Reason::HardwareBreakpoint { .. } if self.hwbreak => f.write_str("hwbreak:;")?,
            Reason::Watch { kind: Breakpoint::Write, addr, .. } => write!(f, "watch:{addr:x};")?,
            Reason::Watch { kind: Breakpoint::Read, addr, .. } => write!(f, "rwatch:{addr:x};")?,
            Reason::Watch { kind: Breakpoint::Access, addr, .. } => write!(f, "awatch:{addr:x};")?,
            _ => {}
        }
        for register in NEXT {
            write!(f, "{:02x}:", number_of(register))?;
            let value = register.get(&self.regs).to_le_bytes();
            value.iter().take(register.bytes()).try_for_each(|byte| write!(f, "{byte:02x}"))?;
            f.write_str(";")?;
        }
        Ok(())
    }
}

/// The CPU that stopped.
pub(crate) fn cpu_of(why: Reason) -> usize {
    match why {
        Reason::Attached => 0,
        Reason::Interrupt { cpu }
        | Reason::Breakpoint { cpu }
        | Reason::HardwareBreakpoint { cpu }
        | Reason::Watch { cpu, .. }
        | Reason::Step { cpu } => cpu,
    }
}
