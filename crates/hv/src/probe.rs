//! The probe: a boot loader that the firmware starts again, inside the guest, asks whether the VMM is
//! there. Once an operating system has turned on paging the instruction is #UD for ever, as on
//! the bare machine.
use crate::instruction::{inject_ud, skip};
use crate::{Cpu, Host, Machine};
use emu::Opcode;
use handover::{ANSWER, PROBE};
use vcpu::{Gpr, System, Vcpu};
use x86defs::{cr, rflags};

/// Note that the guest has paging on, if it has. Called where exits happen anyway and time is not
/// counted: the tick, HLT, EFER.
#[inline]
pub(crate) fn watch<H: Host>(machine: &Machine<H>, vcpu: &dyn Vcpu) {
    if vcpu.system(System::Cr0) & cr::CR0_PG != 0 {
        machine.close_to_probes();
    }
}

/// VMMCALL or VMCALL.
pub(crate) fn hypercall<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    watch(machine, vcpu);
    let user = vcpu.cpl() != 0 || vcpu.system(System::Rflags) & rflags::VM != 0;
    if user || machine.closed_to_probes() || vcpu.gpr(Gpr::Rax) as u32 != PROBE {
        inject_ud(vcpu);
        return;
    }
    machine.log(format_args!("the boot loader was started again and found the VMM"));
    vcpu.set_gpr(Gpr::Rax, ANSWER.into());
    vcpu.set_gpr(Gpr::Rbx, machine.next_disk.into());
    vcpu.set_gpr(Gpr::Rcx, (!PROBE).into());
    skip(machine, cpu, vcpu, Opcode::Vmmcall);
}
