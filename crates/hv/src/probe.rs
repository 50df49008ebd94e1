//! The probe: a boot loader that the firmware starts again, inside the guest, asks whether the VMM is there, and what
//! starts a disk for it tells why it cannot. Once an operating system has turned on paging the instruction is #UD for
//! ever, as on the bare machine.
use crate::instruction::{inject_ud, skip};
use crate::{Cpu, Host, Machine};
use emu::Opcode;
use handover::{ANSWER, NO_DISK, PROBE};
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
    match vcpu.gpr(Gpr::Rax) as u32 {
        _ if user || machine.closed_to_probes() => return inject_ud(vcpu),
        PROBE => {
            machine.log(format_args!("the boot loader was started again and found the VMM"));
            vcpu.set_gpr(Gpr::Rax, ANSWER.into());
            vcpu.set_gpr(Gpr::Rbx, machine.next_disk.into());
            vcpu.set_gpr(Gpr::Rcx, (!PROBE).into());
        }
        NO_DISK => {
            let [disk, why, ..] = vcpu.gpr(Gpr::Rbx).to_le_bytes();
            let why = if why == 0 { "cannot be read" } else { "has no boot sector" };
            machine.log(format_args!("disk {disk:02X} {why}, the firmware goes on"));
        }
        _ => return inject_ud(vcpu),
    }
    skip(machine, cpu, vcpu, Opcode::Vmmcall);
}
