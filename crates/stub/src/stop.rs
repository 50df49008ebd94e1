//! Stop replies.

use crate::arch::number_of;
use crate::{Breakpoint, Reason, Register, Regs};
use core::fmt;

const SIGINT: u8 = 2;
const SIGTRAP: u8 = 5;
const SIGABRT: u8 = 6;

/// gdb asks for these after every stop unless the reply has them: then a step is one round trip.
const NEXT: [Register; 4] = [Register::Rbp, Register::Rsp, Register::Rip, Register::Eflags];

/// Why the guest stopped, as the client is told.
pub(crate) struct StopReply {
    /// The CPU spoken of.
    pub(crate) cpu: usize,
    /// `None` if it only stands still because another stopped.
    pub(crate) why: Option<Reason>,
    /// The client knows `swbreak`.
    pub(crate) swbreak: bool,
    /// The client knows `hwbreak`.
    pub(crate) hwbreak: bool,
    /// With its name, which LLDB takes from here.
    pub(crate) named: bool,
    /// Its registers, if they are to be in it.
    pub(crate) regs: Option<Regs>,
    /// There is no other CPU.
    pub(crate) alone: bool,
}

impl fmt::Display for StopReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal = match self.why {
            Some(Reason::Interrupt { .. }) => SIGINT,
            Some(Reason::Aborted { .. }) => SIGABRT,
            Some(_) => SIGTRAP,
            None => 0,
        };
        let plain = matches!(self.why, Some(Reason::Step { .. } | Reason::Interrupt { .. }));
        if self.alone && self.regs.is_none() && plain {
            // Nothing more is to be said, and each byte takes its time on a UART.
            return write!(f, "S{signal:02x}");
        }
        write!(f, "T{signal:02x}thread:{:x};", self.cpu.saturating_add(1))?;
        if self.named {
            write!(f, "name:CPU {};", self.cpu)?;
        }
        let watch = |kind: Breakpoint| match kind {
            Breakpoint::Write => Some("watch"),
            Breakpoint::Read => Some("rwatch"),
            Breakpoint::Access => Some("awatch"),
            _ => None,
        };
        match self.why {
            Some(Reason::Breakpoint { .. }) if self.swbreak => f.write_str("swbreak:;")?,
            Some(Reason::HardwareBreakpoint { .. }) if self.hwbreak => f.write_str("hwbreak:;")?,
            Some(Reason::Watch { kind, addr, .. }) => {
                watch(kind).map_or(Ok(()), |name| write!(f, "{name}:{addr:x};"))?;
            }
            _ => {}
        }
        let Some(regs) = &self.regs else { return Ok(()) };
        for register in NEXT {
            write!(f, "{:02x}:", number_of(register))?;
            let value = register.get(regs).to_le_bytes();
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
        | Reason::Aborted { cpu }
        | Reason::Step { cpu } => cpu,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString as _;

    #[test]
    fn the_only_cpu_says_no_more_than_it_must() {
        let reply = |why, regs, alone| {
            let (swbreak, hwbreak, named) = (true, true, false);
            StopReply { cpu: 0, why: Some(why), swbreak, hwbreak, named, regs, alone }.to_string()
        };
        let step = Reason::Step { cpu: 0 };
        assert_eq!(reply(step, None, true), "S05");
        assert_eq!(reply(Reason::Interrupt { cpu: 0 }, None, true), "S02");
        assert_eq!(reply(step, None, false), "T05thread:1;");
        assert_eq!(reply(Reason::Breakpoint { cpu: 0 }, None, true), "T05thread:1;swbreak:;");
        let full = reply(step, Some(Regs::default()), true);
        assert!(full.starts_with("T05thread:1;06:"), "{full}");
    }
}
