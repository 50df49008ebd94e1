//! One packet through `gdbstub`.

mod breakpoints;
mod console;
mod resume;

use crate::arch::{self, Slot, X86};
use crate::memory;
use crate::{Changed, Output, Regs, Target};
use core::convert::Infallible;
use gdbstub::common::Tid;
use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{MultiThreadBase, MultiThreadResumeOps};
use gdbstub::target::ext::base::single_register_access::{
    SingleRegisterAccess, SingleRegisterAccessOps,
};
use gdbstub::target::ext::breakpoints::BreakpointsOps;
use gdbstub::target::ext::monitor_cmd::MonitorCmdOps;
use gdbstub::target::{TargetError, TargetResult};

const EFAULT: u8 = 14;
const EINVAL: u8 = 22;

/// How a packet was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has its reply.
    Answered,
    /// The guest is to run; the reply is the next stop. The thread id to step, and the addresses it is to
    /// step through.
    Resume { step: Option<usize>, range: Option<(u64, u64)> },
    /// It is answered, and the machine is to be reset.
    Reset { stop: bool },
    /// `D`, answered.
    Detach,
    /// `k`, which has no answer.
    Kill,
    /// It makes no sense to `gdbstub`, which then has sent nothing or half a packet.
    Malformed,
}

/// Lets `gdbstub` serve `packet` (framed, its checksum good), with `scratch`, as long as the
/// packet buffer it was received in, to work in. `cpu` is the one chosen by `Hg`; memory is `physical`
/// or as that CPU translates it. `run_lengths` may stand in the reply.
pub(crate) fn serve(
    target: &mut dyn Target,
    (cpu, physical): (usize, bool),
    run_lengths: bool,
    packet: &[u8],
    scratch: &mut [u8],
    out: &mut dyn Output,
) -> Outcome {
    let (step, range, reset, unknown) = (None, None, None, false);
    let mut shim = Shim { target, cpu, physical, run_lengths, step, range, reset, unknown };
    let conn = Conn { out, acknowledged: false };
    let Ok(stub) = GdbStub::builder(conn).with_packet_buffer(scratch).build() else {
        return Outcome::Malformed;
    };
    let Ok(mut machine) = stub.run_state_machine(&mut shim) else { return Outcome::Malformed };
    for &byte in packet {
        let GdbStubStateMachine::Idle(idle) = machine else { return Outcome::Malformed };
        match idle.incoming_data(&mut shim, byte) {
            Ok(next) => machine = next,
            Err(_) => return Outcome::Malformed,
        }
    }
    match machine {
        GdbStubStateMachine::Idle(_) => match shim.reset {
            Some(stop) => Outcome::Reset { stop },
            None => Outcome::Answered,
        },
        GdbStubStateMachine::Running(_) if shim.unknown => Outcome::Malformed,
        GdbStubStateMachine::Running(_) => Outcome::Resume { step: shim.step, range: shim.range },
        GdbStubStateMachine::CtrlCInterrupt(_) => Outcome::Malformed,
        GdbStubStateMachine::Disconnected(gone) => match gone.get_reason() {
            DisconnectReason::Kill => Outcome::Kill,
            _ => Outcome::Detach,
        },
    }
}

/// The way out of `gdbstub`, less its acknowledgement: the session sends its own.
struct Conn<'a> {
    out: &'a mut dyn Output,
    acknowledged: bool,
}

impl Connection for Conn<'_> {
    type Error = Infallible;

    fn write(&mut self, byte: u8) -> Result<(), Infallible> {
        // A fresh machine is not in no-ack mode, so its first byte is always the '+'.
        if self.acknowledged {
            self.out.put(byte);
        }
        self.acknowledged = true;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Our target as `gdbstub`'s. The thread ids it passes for registers and memory are those of a
/// machine that has seen one packet, so they say nothing: `cpu` does.
struct Shim<'a> {
    target: &'a mut dyn Target,
    cpu: usize,
    physical: bool,
    run_lengths: bool,
    step: Option<usize>,
    range: Option<(u64, u64)>,
    reset: Option<bool>,
    /// It was asked to let a CPU run that is not there.
    unknown: bool,
}

impl gdbstub::target::Target for Shim<'_> {
    type Arch = X86;
    type Error = Infallible;

    fn base_ops(&mut self) -> BaseOps<'_, X86, Infallible> {
        BaseOps::MultiThread(self)
    }

    fn use_rle(&self) -> bool {
        self.run_lengths
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadBase for Shim<'_> {
    fn read_registers(&mut self, regs: &mut Regs, _: Tid) -> TargetResult<(), Self> {
        *regs = self.target.registers(self.cpu);
        Ok(())
    }

    fn write_registers(&mut self, regs: &Regs, _: Tid) -> TargetResult<(), Self> {
        let mut regs = *regs;
        let linear = regs.rip_linear;
        arch::change(&mut regs, crate::Register::Rip, linear);
        let done = self.target.set_registers(self.cpu, &regs, Changed::All);
        done.map_err(|_| TargetError::Errno(EINVAL))
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], _: Tid) -> TargetResult<usize, Self> {
        let asked = data.len();
        match memory::read(self.target, self.cpu, self.physical, start, data) {
            0 if asked != 0 => Err(TargetError::Errno(EFAULT)),
            read => Ok(read.min(asked)),
        }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], _: Tid) -> TargetResult<(), Self> {
        match memory::write(self.target, self.cpu, self.physical, start, data) {
            true => Ok(()),
            false => Err(TargetError::Errno(EFAULT)),
        }
    }

    fn list_active_threads(&mut self, active: &mut dyn FnMut(Tid)) -> Result<(), Infallible> {
        (1..=self.target.cpus()).filter_map(Tid::new).for_each(active);
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleRegisterAccess<Tid> for Shim<'_> {
    fn read_register(&mut self, _: Tid, slot: Slot, buf: &mut [u8]) -> TargetResult<usize, Self> {
        let Slot::Held(register) = slot else { return Ok(0) };
        let value = register.get(&self.target.registers(self.cpu)).to_le_bytes();
        for (to, from) in buf.iter_mut().zip(value) {
            *to = from;
        }
        Ok(register.bytes())
    }

    fn write_register(&mut self, _: Tid, slot: Slot, val: &[u8]) -> TargetResult<(), Self> {
        let Slot::Held(register) = slot else { return Err(TargetError::Errno(EINVAL)) };
        if val.len() != register.bytes() {
            return Err(TargetError::Errno(EINVAL));
        }
        let mut regs = self.target.registers(self.cpu);
        let value = arch::number(val);
        arch::change(&mut regs, register, value);
        if register.get(&regs) != value {
            // Wider than the register: a selector has 16 bits, whatever it is sent as.
            return Err(TargetError::Errno(EINVAL));
        }
        let done = self.target.set_registers(self.cpu, &regs, Changed::One(register));
        done.map_err(|_| TargetError::Errno(EINVAL))
    }
}
