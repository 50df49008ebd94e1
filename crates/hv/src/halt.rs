//! HLT and MWAIT: the tick of an idle guest.
use crate::debug;
use crate::instruction::skip;
use crate::{Cpu, Host, Machine, nmi, probe, run};
use emu::Opcode;
use vcpu::{Event, Gpr, System, Vcpu, Wait};
use x86defs::rflags;

/// HLT.
pub(crate) fn hlt<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    probe::watch(machine, vcpu);
    let before = vcpu.system(System::Rip);
    skip(machine, cpu, vcpu, Opcode::Hlt);
    // A step, or the guest's own trap, ends the instruction before it sleeps.
    cpu.halted = vcpu.system(System::Rip) != before && !cpu.retired && vcpu.queued().is_none();
}

/// MWAIT, watched while a client is attached: a store that would end it ends no HLT, so it returns at
/// the first interrupt or, as the manual lets it (APM 3, MWAIT), for no reason after one look.
pub(crate) fn mwait<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    let masked_breaks = vcpu.gpr(Gpr::Rcx) & 1 != 0;
    skip(machine, cpu, vcpu, Opcode::Mwait);
    if vcpu.system(System::Rflags) & rflags::IF == 0 && !masked_breaks {
        return;
    }
    debug::poll(machine, cpu, vcpu);
}

/// Wait a little for what wakes a halted guest: an interrupt, an NMI, the analyst.
#[inline(never)]
pub(crate) fn wait<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    if debug::poll(machine, cpu, vcpu) {
        return;
    }
    let open = vcpu.system(System::Rflags) & rflags::IF != 0;
    let how = match (open, machine.attached()) {
        (false, _) => Wait::Nmi,
        (true, true) if !vcpu.capabilities().mwaitx => Wait::Look,
        (true, _) => Wait::Halt,
    };
    if how != Wait::Halt {
        debug::breathe();
    }
    let vector = vcpu.wait(how);
    nmi::arrived(machine, cpu, vcpu);
    run::init(machine, cpu, vcpu);
    if let Some(vector) = vector {
        vcpu.inject(Event::Interrupt(vector));
        cpu.halted = false;
    } else if cpu.nmi.busy() {
        cpu.nmi.deliver(vcpu, false);
        cpu.halted = vcpu.queued().is_none();
    }
}
