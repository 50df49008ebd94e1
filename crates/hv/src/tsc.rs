//! The guest's time-stamp counter while the analyst has it stopped. `tsc=run` leaves it alone: it goes on, as every
//! other clock of the machine does. `tsc=freeze` turns it back by the time the guest stood still.
use crate::{Host, Machine};
use vcpu::Vcpu;
use x86defs::msr;

/// Ask for the exits this module handles: the MSR that is the counter itself, for the offset is added
/// in RDTSC and RDTSCP (APM 2, table B-1), and only where there may be one.
pub(crate) fn watch<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu) {
    if machine.options.tsc_freeze {
        vcpu.watch_msr(msr::TSC, true, true);
    }
}

/// RDMSR of the counter.
pub(crate) fn read<H: Host>(machine: &Machine<H>, vcpu: &dyn Vcpu) -> Option<u64> {
    Some(machine.host.read_msr(msr::TSC)?.wrapping_add(vcpu.tsc_offset()))
}

/// WRMSR of the counter: the CPU's own is set, with all that follows from it (TSC_ADJUST, where there is one).
pub(crate) fn write<H: Host>(machine: &Machine<H>, vcpu: &dyn Vcpu, value: u64) -> bool {
    machine.host.write_msr(msr::TSC, value.wrapping_sub(vcpu.tsc_offset()))
}

/// The guest goes on after it was stopped when the CPU's counter was `since`.
pub(crate) fn resume<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu, since: u64) {
    if machine.options.tsc_freeze {
        let stood = machine.host.tsc().wrapping_sub(since);
        vcpu.set_tsc_offset(vcpu.tsc_offset().wrapping_sub(stood));
    }
}
