//! After a fault of the VMM itself: the guest never runs again, but the analyst's line answers, with a report of
//! the fault, the VMM's registers and memory, and the guest's. The line gets a stub of its own, and no lock is
//! waited for: whoever held it does not come back.
use crate::debug::{breathe, dump, guest_registers, parts};
use crate::report::Report;
use crate::{Cpu, Host, Machine, machine::Line};
use core::fmt::{self, Write};
use handover::{Note, VMM_BASE};
use link::Link;
use stub::{
    Action, Breakpoint, BreakpointError, Changed, PACKET, Reason, Refused, Regs, Stub, Target,
};
use vcpu::Vcpu;

/// The guest's CPU, gdb's thread 1; the other is the VMM.
const GUEST: usize = 0;
/// The VMM, gdb's thread 2.
const VMM: usize = 1;

/// Two packets' room for the stub that answers.
pub struct Room {
    /// The packet being received.
    pub frame: &'static mut [u8; PACKET],
    /// The packet being answered.
    pub scratch: &'static mut [u8; PACKET],
}

/// Reads what the VMM sees at `at`. Its lower half is the guest's physical memory, of which no device is asked anything.
pub(crate) fn as_the_vmm<H: Host>(host: &H, at: u64, out: &mut [u8]) -> bool {
    if at >= VMM_BASE { host.read_own(at, out) } else { host.read_memory(at, out) }
}

/// What the dead machine shows.
struct Dead<'a, H: Host> {
    machine: &'a Machine<H>,
    cpu: &'a Cpu,
    vcpu: &'a dyn Vcpu,
    report: &'a Report,
    /// The last fault met in the answering.
    later: &'a Report,
}

impl<H: Host> Target for Dead<'_, H> {
    fn cpus(&self) -> usize {
        2
    }

    fn registers(&mut self, cpu: usize) -> Regs {
        if cpu == VMM {
            return self.report.regs;
        }
        guest_registers(self.vcpu, self.cpu.hardware.guest(self.vcpu))
    }

    fn set_registers(&mut self, _: usize, _: &Regs, _: Changed) -> Result<(), Refused> {
        Err(Refused)
    }

    fn read_memory(&mut self, cpu: usize, address: u64, out: &mut [u8]) -> usize {
        let host = &self.machine.host;
        let paging = self.vcpu.paging();
        let len = out.len();
        parts(address, len, |at, from, to| {
            let Some(out) = out.get_mut(from..to) else { return false };
            if cpu == GUEST {
                paging.lookup(host, at).is_ok_and(|found| host.read_memory(found.gpa, out))
            } else {
                as_the_vmm(host, at, out)
            }
        })
    }

    fn write_memory(&mut self, _: usize, _: u64, _: &[u8]) -> bool {
        false
    }

    fn read_physical(&mut self, gpa: u64, out: &mut [u8]) -> usize {
        let len = out.len();
        parts(gpa, len, |at, from, to| {
            out.get_mut(from..to).is_some_and(|out| self.machine.host.read_memory(at, out))
        })
    }

    fn write_physical(&mut self, _: u64, _: &[u8]) -> bool {
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
            wire::Request::Fault => self.tell(out),
            wire::Request::Log => match self.machine.log.try_lock() {
                Some(log) => log.dump(out),
                None => {
                    writeln!(out, "the fault came while the log was written: it is not readable")
                }
            },
            wire::Request::Physical(what) => {
                dump::write(what, out, |gpa, bytes| self.machine.host.read_memory(gpa, bytes))
            }
            wire::Request::Memory | wire::Request::Disassemble(_) => {
                writeln!(out, "the VMM is frozen: read memory by x and xp, or reset the machine")
            }
            // The stub makes an action of it.
            wire::Request::Reset { .. } => Ok(()),
            wire::Request::Exits => self.cpu.exits.write(32, out),
            wire::Request::Counters => self.cpu.write_counters(out),
        }
    }

    /// The report, and the last exits before it.
    fn tell(&self, out: &mut dyn Write) -> fmt::Result {
        write!(out, "{}", self.report)?;
        if !self.later.is_empty() {
            write!(out, "and later, in the answering: {}", self.later)?;
        }
        writeln!(out, "last exits:")?;
        self.cpu.exits.write(16, out)
    }
}

/// A writer's text as one line of the log.
struct Told<'a, H: Host>(&'a Dead<'a, H>);

impl<H: Host> fmt::Display for Told<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.tell(f)
    }
}

/// Serve the analyst for ever on `link`, which nobody else uses any more. The fault is told in the log and to a
/// client that waits, unless there was a `later` one, met in the answering.
pub fn frozen<H: Host, L: Link>(
    machine: &Machine<H>,
    (cpu, vcpu): (&Cpu, &dyn Vcpu),
    link: L,
    room: Room,
    report: &Report,
    later: &Report,
) -> ! {
    const WHY: Reason = Reason::Aborted { cpu: VMM };
    let told = !later.is_empty();
    let mut target = Dead { machine, cpu, vcpu, report, later };
    let mut link = link;
    link.patient(true);
    let mut stub = Stub::new(room.frame, room.scratch, Line(link));
    if !told {
        machine.try_log(format_args!("{}", Told(&target)));
    }
    // Whoever waits for a stop gets one, whoever waits for an answer an error; whoever comes later finds the
    // machine stopped.
    let served = told || machine.console.as_ref().is_some_and(|console| console.is_locked());
    match (machine.attached(), served) {
        (true, false) => {
            stub.take_over();
            stub.say(format_args!("{}", Told(&target)));
        }
        (true, true) => stub.fail(),
        (false, _) => {}
    }
    let mut action = stub.stopped(&mut target, WHY);
    machine.set_attached(false);
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
            action = stub.stopped(&mut target, WHY);
            continue;
        }
        action = match stub.output().0.receive() {
            Some(byte) => {
                // For the stub that has to stand in for this one if the answer fails.
                machine.set_attached(stub.attached());
                let action = stub.incoming(&mut target, byte);
                machine.set_attached(false);
                action
            }
            None => {
                breathe();
                Action::None
            }
        };
    }
}
