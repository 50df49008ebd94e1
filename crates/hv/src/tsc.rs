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
        if has_deadlines(machine) {
            vcpu.watch_msr(msr::TSC_DEADLINE, true, true);
        }
    }
}

/// Whether the local APIC's timer has deadlines. They are compared with the counter that runs on, without the offset
/// (SDM 3C, 25.3): a deadline of the guest's, behind as its counter is, would always have passed.
fn has_deadlines<H: Host>(machine: &Machine<H>) -> bool {
    let [.., ecx, _] = machine.host.cpuid(1, 0);
    ecx & 1 << 24 != 0
}

/// RDMSR of the deadline; 0 is none.
pub(crate) fn read_deadline<H: Host>(machine: &Machine<H>, vcpu: &dyn Vcpu) -> Option<u64> {
    let deadline = machine.host.read_msr(msr::TSC_DEADLINE)?;
    Some(if deadline == 0 { 0 } else { deadline.wrapping_add(vcpu.tsc_offset()) })
}

/// WRMSR of the deadline.
pub(crate) fn write_deadline<H: Host>(machine: &Machine<H>, vcpu: &dyn Vcpu, value: u64) -> bool {
    let own = if value == 0 { 0 } else { value.wrapping_sub(vcpu.tsc_offset()).max(1) };
    machine.host.write_msr(msr::TSC_DEADLINE, own)
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
        let armed = has_deadlines(machine).then(|| read_deadline(machine, vcpu)).flatten();
        vcpu.set_tsc_offset(vcpu.tsc_offset().wrapping_sub(stood));
        if let Some(deadline) = armed.filter(|deadline| *deadline != 0) {
            write_deadline(machine, vcpu, deadline);
        }
    }
}
