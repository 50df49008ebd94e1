//! After a fault of the VMM itself: the guest never runs again, but the analyst's line answers, so that the
//! log can be read. Nothing of the machine's own state is trusted but that: the line gets a stub of its own, and
//! no lock is waited for.
use crate::debug::{breathe, dump};
use crate::{Host, Machine, machine::Line};
use core::fmt::{self, Write};
use handover::Note;
use link::Link;
use stub::{
    Action, Breakpoint, BreakpointError, Changed, PACKET, Reason, Refused, Regs, Stub, Target,
};

/// What the dead machine shows: the VMM's registers at the fault, the guest's memory by physical address.
struct Dead<'a, H: Host> {
    machine: &'a Machine<H>,
    regs: Regs,
}

impl<H: Host> Target for Dead<'_, H> {
    fn cpus(&self) -> usize {
        1
    }

    fn registers(&mut self, _: usize) -> Regs {
        self.regs
    }

    fn set_registers(&mut self, _: usize, _: &Regs, _: Changed) -> Result<(), Refused> {
        Err(Refused)
    }

    fn read_memory(&mut self, _: usize, gpa: u64, out: &mut [u8]) -> usize {
        if self.machine.host.read_memory(gpa, out) { out.len() } else { 0 }
    }

    fn write_memory(&mut self, _: usize, _: u64, _: &[u8]) -> bool {
        false
    }

    fn add_breakpoint(&mut self, _: Breakpoint, _: u64, _: u64) -> Result<(), BreakpointError> {
        Err(BreakpointError::Unsupported)
    }

    fn remove_breakpoint(&mut self, _: Breakpoint, _: u64, _: u64) -> Result<(), BreakpointError> {
        Ok(())
    }

    fn remove_all_breakpoints(&mut self) {}

    fn monitor(&mut self, request: wire::Request, out: &mut dyn Write) {
        // A client that hangs up loses the rest.
        let _ = self.answer(request, out);
    }
}

impl<H: Host> Dead<'_, H> {
    fn answer(&self, request: wire::Request, out: &mut dyn Write) -> fmt::Result {
        match request {
            wire::Request::Help => wire::write_help(out),
            wire::Request::Version => writeln!(out, "Ramooflax {}, frozen", wire::VERSION),
            wire::Request::Log => match self.machine.log.try_lock() {
                Some(log) => log.dump(out),
                None => {
                    writeln!(out, "the fault came while the log was written: it is not readable")
                }
            },
            wire::Request::Exits => writeln!(out, "the exits went with the CPU that made them"),
            wire::Request::Physical(what) => {
                dump::write(what, out, |gpa, bytes| self.machine.host.read_memory(gpa, bytes))
            }
            wire::Request::Memory => {
                writeln!(out, "the VMM is frozen: read memory by x and xp, or reset the machine")
            }
            // The stub makes an action of it.
            wire::Request::Reset { .. } => Ok(()),
            wire::Request::Counters => writeln!(out, "the counters went with the CPU that counted"),
        }
    }
}

/// Serve the analyst for ever on `link`, which nobody else uses any more, with the VMM's registers `regs`.
pub fn frozen<H: Host, L: Link>(
    machine: &Machine<H>,
    link: L,
    frame: &'static mut [u8; PACKET],
    scratch: &'static mut [u8; PACKET],
    regs: Regs,
) -> ! {
    let mut target = Dead { machine, regs };
    let mut stub = Stub::new(frame, scratch, Line(link));
    // Whoever waits for a stop gets one; whoever comes later finds the machine stopped.
    if machine.attached() {
        stub.take_over();
    }
    let mut action = stub.stopped(&mut target, Reason::Interrupt { cpu: 0 });
    loop {
        if let Action::Reset { stop } = action {
            stub.output().0.flush();
            if stop {
                machine.host.leave_note(Note { wait: true });
            }
            machine.host.reset();
        }
        if !matches!(action, Action::None | Action::Interrupt) {
            // It does not go on: it has stopped again, at the same place.
            action = stub.stopped(&mut target, Reason::Interrupt { cpu: 0 });
            continue;
        }
        action = match stub.output().0.receive() {
            Some(byte) => stub.incoming(&mut target, byte),
            None => {
                breathe();
                Action::None
            }
        };
    }
}
