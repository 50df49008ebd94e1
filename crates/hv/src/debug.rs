//! The debugger: when the guest stops, what the analyst sees of it, and how it goes on.
mod breakpoints;
pub(crate) mod dump;
mod hardware;
mod target;

pub(crate) use breakpoints::Debugger;
pub(crate) use hardware::{Hardware, mov_dr, registers_cleared};

use crate::instruction::{advance, behind, code_address, fault, inject_db};
use crate::{Cpu, Host, Machine, nmi, step, tsc};
use emu::Opcode;
use handover::Note;
use link::Link;
use stub::{Action, Reason};
use target::View;
pub(crate) use target::{guest_registers, parts};
use vcpu::{Intercept, System, Vcpu, Wait};
use x86defs::{dr, rflags, vector};

/// Reads of an idle line before a packet that began is left to the next tick: about 2 ms on real
/// hardware, two bytes at 9,600 baud. Without it a 16-byte FIFO overruns between ticks.
const PATIENCE: u32 = 2_000;
/// Bytes taken in one tick, so that a flood cannot keep the guest from running.
const FLOOD: u32 = 4_096;

/// Why the guest stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Before its first instruction.
    Held,
    /// The analyst asked, or came.
    Interrupt,
    /// One step is done.
    Stepped,
    /// A software breakpoint.
    Software,
    /// A breakpoint of the debug registers.
    Hardware(Reason),
    /// The CPU does not run the guest as it is.
    Refused,
}

/// The tick: look at the line. True if the guest was stopped and resumed meanwhile.
pub(crate) fn poll<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) -> bool {
    let Some(mut console) = machine.console.as_ref().and_then(|console| console.try_lock()) else {
        return false;
    };
    let mut idle = PATIENCE;
    let mut flood = FLOOD;
    loop {
        let console = &mut *console;
        match console.stub.output().0.receive() {
            Some(byte) => {
                idle = 0;
                let mut view = View { machine, cpu, vcpu, debugger: &mut console.debugger };
                if console.stub.incoming(&mut view, byte) == Action::Interrupt {
                    break;
                }
                flood = flood.wrapping_sub(1);
                if flood == 0 {
                    return false;
                }
            }
            // Nothing came at all: the usual tick costs one look.
            None if idle >= PATIENCE => return false,
            None => {
                idle = idle.wrapping_add(1);
                breathe();
            }
        }
    }
    drop(console);
    stop(machine, cpu, vcpu, Stop::Interrupt);
    true
}

/// The time between two looks at an idle line: less than a microsecond, where a byte takes 87 at 115,200
/// baud. Port accesses in a tight loop would keep an emulator's own threads, which bring the bytes,
/// from the lock they share; and a bus from its other masters.
pub(crate) fn breathe() {
    for n in 0..512_u32 {
        core::hint::black_box(n);
    }
    core::hint::spin_loop();
}

/// Stop the guest and serve the analyst until it is resumed.
pub(crate) fn stop<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu, why: Stop) {
    let Some(console) = &machine.console else { return };
    let since = machine.host.tsc();
    let reason = match why {
        Stop::Held | Stop::Interrupt => Reason::Interrupt { cpu: 0 },
        Stop::Stepped => Reason::Step { cpu: 0 },
        Stop::Software => Reason::Breakpoint { cpu: 0 },
        Stop::Hardware(reason) => reason,
        Stop::Refused => Reason::Aborted { cpu: 0 },
    };
    let mut console = console.lock();
    let console = &mut *console;
    // The analyst waits for every byte, and the guest for the analyst.
    console.stub.output().0.patient(true);
    console.debugger.remove_software(&machine.host);
    let mut view = View { machine, cpu, vcpu, debugger: &mut console.debugger };
    let mut action = console.stub.stopped(&mut view, reason);
    let mut looks = 0_u32;
    let stepping = loop {
        match action {
            Action::Resume { step } => break step.is_some(),
            Action::Detached | Action::Kill => break false,
            Action::Reset { stop } => {
                console.stub.output().0.flush();
                machine.log(format_args!("reset by the analyst"));
                if stop {
                    machine.host.leave_note(Note { wait: true });
                }
                machine.host.reset();
                break false;
            }
            Action::None | Action::Interrupt => {}
        }
        action = match console.stub.output().0.receive() {
            Some(byte) => console.stub.incoming(&mut view, byte),
            None => {
                // Let SMIs and NMIs in now and then: they are held while GIF is 0, and an analyst thinks for
                // minutes. The NMI is delivered when the guest runs again.
                looks = looks.wrapping_add(1);
                if looks & 0xff == 0 {
                    view.vcpu.wait(Wait::Nmi);
                }
                breathe();
                Action::None
            }
        };
    };
    console.stub.output().0.patient(false);
    let attached = console.stub.attached();
    nmi::arrived(machine, cpu, vcpu);
    machine.set_attached(attached);
    vcpu.intercept(Intercept::Mwait, attached);
    tsc::resume(machine, vcpu, since);
    resume(machine, cpu, vcpu, &mut console.debugger, stepping);
}

fn resume<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
    debugger: &mut Debugger,
    stepping: bool,
) {
    cpu.hardware.take(debugger.hardware, &machine.host, vcpu);
    vcpu.intercept(Intercept::Icebp, debugger.has_software());
    let here = code_address(vcpu, vcpu.system(System::Rip));
    cpu.hardware.pass_instruction_breakpoint(vcpu, here);
    if stepping {
        step::begin(machine, cpu, vcpu, step::Why::Analyst);
    } else if debugger.software_at(here) {
        step::begin(machine, cpu, vcpu, step::Why::OverBreakpoint);
    } else {
        debugger.insert_software(&machine.host);
    }
}

/// The step off a breakpoint is done: all breakpoints again.
pub(crate) fn insert<H: Host>(machine: &Machine<H>) {
    if let Some(console) = &machine.console {
        console.lock().debugger.insert_software(&machine.host);
    }
}

/// Whether a software breakpoint of ours is in memory at RIP.
fn breakpoint_here<H: Host>(machine: &Machine<H>, vcpu: &dyn Vcpu) -> bool {
    let here = code_address(vcpu, vcpu.system(System::Rip));
    machine.console.as_ref().is_some_and(|it| it.lock().debugger.inserted_at(here))
}

/// ICEBP: a software breakpoint of ours, or the guest's own.
pub(crate) fn icebp<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    if breakpoint_here(machine, vcpu) {
        stop(machine, cpu, vcpu, Stop::Software);
    } else if let Some(next) = behind(machine, vcpu, Opcode::Icebp) {
        // #DB with RIP behind the instruction and nothing new in DR6, not even for TF (APM 3, INT1): the handler begins
        // with TF clear (APM 2, 8.9.1). So a step ends as one that raised something.
        advance(cpu, vcpu, next);
        cpu.retired = false;
        inject_db(vcpu);
    } else {
        poll(machine, cpu, vcpu);
    }
}

/// An exception that is intercepted: the end of a step, a breakpoint of ours, or the guest's own.
pub(crate) fn exception<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
    number: u8,
    error: u32,
    address: u64,
) {
    if number == vector::DB {
        let stepped = step::ends(cpu, vcpu.system(System::Dr6));
        debug_exception(machine, cpu, vcpu, stepped);
        return;
    }
    if number == vector::UD && breakpoint_here(machine, vcpu) {
        // A CPU that does not know ICEBP.
        stop(machine, cpu, vcpu, Stop::Software);
        return;
    }
    if vcpu.queued().is_some() {
        // Raised by the delivery of an event: without our intercepts it comes about as on the bare CPU.
        step::finish(machine, cpu, vcpu);
        if number == vector::AC {
            poll(machine, cpu, vcpu);
        }
        return;
    }
    if matches!(number, vector::BP | 4) {
        step::software_interrupt(machine, cpu, vcpu);
        return;
    }
    if number == vector::PF {
        vcpu.set_system(System::Cr2, address);
    }
    fault(vcpu, number, error);
    step::raised(machine, cpu, vcpu);
    if number == vector::AC {
        // It may come again at once and for ever: the tick does not, so look at the line here.
        poll(machine, cpu, vcpu);
    }
}

/// A step by the monitor trap flag is done, perhaps with a #DB for breakpoints to come.
pub(crate) fn stepped<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    let met = vcpu.take_breakpoints();
    if met == 0 {
        step::finish(machine, cpu, vcpu);
        return;
    }
    let dr6 = vcpu.system(System::Dr6);
    vcpu.set_system(System::Dr6, dr6 & !dr::DR6_B | met);
    debug_exception(machine, cpu, vcpu, true);
}

/// #DB with its reasons in DR6; `stepped`: one of them is that the instruction being stepped is done.
fn debug_exception<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
    stepped: bool,
) {
    let dr6 = vcpu.system(System::Dr6);
    let hit = cpu.hardware.hit(&machine.host, vcpu, dr6);
    let (_, dr7) = cpu.hardware.guest(vcpu);
    let ours = hit.map_or(0, |(bits, _)| bits);
    vcpu.set_system(System::Dr6, dr6 & !ours);
    // What the guest is owed beside ours: its own breakpoints, its own step.
    let enabled = (0..4_u32).filter(|n| dr7.wrapping_shr(n.wrapping_mul(2)) & 3 != 0);
    let theirs = enabled.fold(0, |bits, n| bits | 1_u64.wrapping_shl(n)) & !ours;
    let trap = vcpu.system(System::Rflags) & rflags::TF != 0 && dr6 & dr::DR6_BS != 0;
    if stepped {
        // The trap of a step by TF is the VMM's.
        if dr6 & theirs != 0 || trap && !step::trapping(cpu) {
            inject_db(vcpu);
        }
        if matches!(hit, Some((_, Some(_)))) {
            step::untold(cpu);
        }
        step::trapped(machine, cpu, vcpu);
    } else if hit.is_none() || dr6 & (theirs | dr::DR6_BD) != 0 || trap {
        inject_db(vcpu);
        step::raised(machine, cpu, vcpu);
    }
    match hit {
        Some((_, Some(reason))) => {
            step::ends_at_breakpoint(machine, cpu, vcpu);
            stop(machine, cpu, vcpu, Stop::Hardware(reason));
        }
        Some((_, None)) => {}
        None if stepped || cpu.step.is_some() => {}
        // It may come again at once and for ever, as #AC.
        None => _ = poll(machine, cpu, vcpu),
    }
}
