//! The run loop, and what each exit means.
use crate::debug::{self, Stop};
use crate::instruction::{inject_ud, skip, skip_cpuid};
use crate::{
    Cpu, Host, Machine, apic, counter, cpuid, halt, msr, nested, nmi, ports, probe, step, task,
    tsc, xcr,
};
use core::fmt;
use emu::Opcode;
use vcpu::{Event, Exit, System, Vcpu, Wait};
use x86defs::rflags;

/// Run the guest on this CPU for ever.
pub fn run<H: Host, V: Vcpu>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut V) -> ! {
    ports::watch(machine, vcpu);
    msr::watch(machine, vcpu);
    apic::watch(machine, vcpu);
    tsc::watch(machine, vcpu);
    if !vcpu.capabilities().timer {
        counter::start(machine, cpu, vcpu);
    }
    if machine.options.wait {
        machine.log(format_args!("waiting for an analyst before the first instruction"));
        debug::stop(machine, cpu, vcpu, Stop::Held);
    }
    loop {
        once(machine, cpu, vcpu);
    }
}

/// Let the guest run once and handle why it stopped.
#[inline]
pub(crate) fn once<H: Host, V: Vcpu>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut V) {
    if cpu.halted {
        halt::wait(machine, cpu, vcpu);
        return;
    }
    // Each kind is counted in its own arm: what is known there costs nothing.
    match vcpu.run() {
        Exit::Cpuid => {
            cpu.count(&Exit::Cpuid, vcpu);
            cpuid::emulate(&machine.host, vcpu);
            skip_cpuid(machine, cpu, vcpu);
        }
        // The rest is kept out of line, so that the loop itself stays in registers.
        Exit::Interrupt => {
            cpu.count(&Exit::Interrupt, vcpu);
            interrupt(machine, cpu, vcpu);
        }
        // Likewise the tick of a CPU with a timer.
        Exit::Tick => {
            cpu.count(&Exit::Tick, vcpu);
            tick(machine, cpu, vcpu);
        }
        other => {
            cpu.count(&other, vcpu);
            dispatch(machine, cpu, vcpu, other);
        }
    }
    if cpu.step.is_some() || cpu.nmi.busy() {
        settle(machine, cpu, vcpu);
    }
}

/// The timer: look at the line, unless an instruction is being stepped.
#[inline(never)]
fn tick<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    // It comes with interrupts off too, and so within the boot loader's own moment of paging (decision 0015).
    if vcpu.system(System::Rflags) & rflags::IF != 0 {
        probe::watch(machine, vcpu);
    }
    nmi::arrived(machine, cpu, vcpu);
    if cpu.step.is_none() {
        debug::poll(machine, cpu, vcpu);
    }
}

/// A physical interrupt is pending and the guest could take it: the tick, then the interrupt.
#[inline(never)]
fn interrupt<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    probe::watch(machine, vcpu);
    counter::tick(machine, cpu, vcpu);
    if debug::poll(machine, cpu, vcpu) {
        // The analyst had the machine: the interrupt is still pending and comes again if it should.
        nmi::arrived(machine, cpu, vcpu);
        return;
    }
    if vcpu.queued().is_some() {
        // One that was acknowledged before is still to be delivered.
        return;
    }
    // An NMI goes first (APM 2, 8.5); the interrupt stays pending then.
    vcpu.wait(Wait::Nmi);
    nmi::arrived(machine, cpu, vcpu);
    if cpu.nmi.due() {
        return;
    }
    if let Some(vector) = vcpu.wait(Wait::Look) {
        vcpu.inject(Event::Interrupt(vector));
    }
    // The window that takes an interrupt lets an NMI and an INIT in as well.
    nmi::arrived(machine, cpu, vcpu);
    init(machine, cpu, vcpu);
}

/// The INIT that came since the last look.
pub(crate) fn init<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    if vcpu.take_init() {
        step::abandon(machine, cpu, vcpu);
        cpu.halted = false;
        nmi::forget(cpu, vcpu);
        vcpu.init();
        debug::registers_cleared(cpu, vcpu);
    }
}

#[inline(never)]
fn dispatch<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu, exit: Exit) {
    cpu.exits.explain(&exit, vcpu);
    match exit {
        Exit::PortIo(io) => ports::access(machine, cpu, vcpu, io),
        Exit::Rdmsr => msr::read(machine, cpu, vcpu),
        Exit::Wrmsr => msr::write(machine, cpu, vcpu),
        Exit::NestedFault(fault) => nested::fault(machine, cpu, vcpu, fault),
        Exit::Hlt => halt::hlt(machine, cpu, vcpu),
        Exit::Mwait => halt::mwait(machine, cpu, vcpu),
        Exit::Monitor => skip(machine, cpu, vcpu, Opcode::Monitor),
        Exit::Invd => {
            // INVD would drop the VMM's own dirty lines: write them back as well.
            machine.host.write_back_caches();
            skip(machine, cpu, vcpu, Opcode::Invd);
        }
        Exit::Nmi => nmi::exit(machine, cpu, vcpu),
        Exit::Iret => nmi::iret(machine, cpu, vcpu),
        Exit::Init => init(machine, cpu, vcpu),
        Exit::Icebp => debug::icebp(machine, cpu, vcpu),
        Exit::MovDr { register, write, gpr } => {
            debug::mov_dr(machine, cpu, vcpu, register, write, gpr);
        }
        Exit::Exception { vector, error, address } => {
            debug::exception(machine, cpu, vcpu, vector, error, address);
        }
        Exit::SoftwareInterrupt => step::software_interrupt(machine, cpu, vcpu),
        Exit::Hypercall => probe::hypercall(machine, cpu, vcpu),
        Exit::Virtualisation => inject_ud(vcpu),
        Exit::TripleFault => triple_fault(machine),
        Exit::NmiWindow => nmi::window(cpu, vcpu),
        Exit::Stepped => debug::stepped(machine, cpu, vcpu),
        Exit::Xsetbv => xcr::write(machine, cpu, vcpu),
        Exit::TaskSwitch(switch) => task::switch(machine, cpu, vcpu, switch),
        Exit::Invalid => refused(machine, cpu, vcpu),
        Exit::Unknown(code) => {
            machine.log(format_args!("unknown exit {code:#x}: #UD given to the guest"));
            inject_ud(vcpu);
            debug::poll(machine, cpu, vcpu);
        }
        // The vendor's crate has dealt with it.
        Exit::ControlRegister => {}
        // Handled in `once`.
        Exit::Cpuid | Exit::Interrupt | Exit::Tick => {}
    }
    // Ports are accessed, and lines waited for, with NMIs let in: one that came then would wait for another exit.
    nmi::arrived(machine, cpu, vcpu);
}

/// The CPU did not enter the guest: the machine stands still as it is, for the analyst, who is told why at once and may put it
/// right. It is not reset.
#[cold]
fn refused<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    machine.log(format_args!("the CPU refused to run the guest: {}; frozen", Why(vcpu)));
    match &machine.console {
        Some(console) => {
            let said = format_args!("the CPU refused to run the guest: {}\n", Why(vcpu));
            console.lock().stub.say(said);
        }
        // Nobody can come.
        None => loop {
            debug::breathe();
        },
    }
    // What was being stepped has not begun.
    step::abandon(machine, cpu, vcpu);
    debug::stop(machine, cpu, vcpu, Stop::Refused);
}

/// Why the CPU refused.
struct Why<'a>(&'a dyn Vcpu);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.why_invalid(f)
    }
}

/// What an exit may have finished: a step, or what held an NMI back.
#[cold]
fn settle<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    // Again: the analyst's next step may be over a SYSCALL, which is complete as it begins.
    while core::mem::take(&mut cpu.retired) {
        step::finish(machine, cpu, vcpu);
    }
    if step::trapping(cpu) && vcpu.queued().is_some() {
        step::raised(machine, cpu, vcpu);
    }
    step::completed(machine, cpu, vcpu);
    cpu.nmi.deliver(vcpu, cpu.step.is_some());
}

/// A triple fault shuts the CPU down, and a PC's chipset answers with a reset.
pub(crate) fn triple_fault<H: Host>(machine: &Machine<H>) {
    machine.log(format_args!("triple fault: machine reset"));
    machine.host.reset();
}
