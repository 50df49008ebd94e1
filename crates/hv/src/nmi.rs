//! Non-maskable interrupts: taken by the VMM's handler, which sets a flag, and given to the guest; blocked
//! from then until its IRET is complete (APM 2, 8.2.3 and 15.20).
use crate::{Cpu, Host, Machine, counter, debug, step};
use vcpu::{Event, Intercept, Vcpu, Wait};

/// Where the guest stands with NMIs.
#[derive(Debug, Default)]
pub(crate) struct Nmi {
    /// One is waiting. Further ones merge with it, as on the CPU.
    pending: bool,
    /// The guest is in its handler.
    blocked: bool,
}

impl Nmi {
    /// Whether [`Self::deliver`] may have something to do.
    pub(crate) fn busy(&self) -> bool {
        self.pending
    }

    /// Whether one is waiting that the guest can take.
    pub(crate) fn due(&self) -> bool {
        self.pending && !self.blocked
    }

    /// Deliver what is pending, if the guest can take it now.
    pub(crate) fn deliver(&mut self, vcpu: &mut dyn Vcpu, stepping: bool) {
        if self.due() && !stepping && vcpu.queued().is_none() {
            self.pending = false;
            self.blocked = true;
            vcpu.inject(Event::Nmi);
            vcpu.intercept(Intercept::Iret, true);
        }
    }

    /// The handler's IRET is complete.
    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
    }
}

/// After an INIT none is waiting, and none is blocked.
pub(crate) fn forget(cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    cpu.nmi = Nmi::default();
    vcpu.intercept(Intercept::Iret, false);
}

/// A physical NMI may have been taken. The guest gets it, unless it was the VMM's own.
pub(crate) fn arrived<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    if vcpu.take_nmi() && !counter::took(machine, cpu, vcpu) {
        cpu.nmi.pending = true;
    }
}

/// An NMI exits whatever the guest does: a tick as well, and the only one of a guest with interrupts off.
pub(crate) fn exit<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    arrived(machine, cpu, vcpu);
    if cpu.step.is_none() {
        debug::poll(machine, cpu, vcpu);
    }
}

/// IRET at the end of the handler: NMIs are blocked until it has completed, so step over it.
pub(crate) fn iret<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    vcpu.intercept(Intercept::Iret, false);
    match &mut cpu.step {
        None => step::begin(machine, cpu, vcpu, step::Why::Iret),
        // Already stepped for another reason: the exit came first, so the IRET is still to come.
        Some(_) => cpu.nmi.unblock(),
    }
}

/// An IRET was done for the guest. The CPU, which saw none, may still block NMIs since the one that was injected: the
/// next look lets in what waits.
#[cold]
pub(crate) fn returned<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    window(cpu, vcpu);
    vcpu.wait(Wait::Nmi);
    arrived(machine, cpu, vcpu);
}

/// The handler's IRET is complete, where the CPU tells.
pub(crate) fn window(cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    vcpu.intercept(Intercept::Iret, false);
    cpu.nmi.unblock();
}
