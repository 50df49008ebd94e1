//! XSETBV, where it exits whatever the VMM asks (SDM 3C, 25.1.2). XCR0 is the guest's all the time: the VMM uses no
//! extended state.
use crate::instruction::{edx_eax, inject_gp, skip};
use crate::{Cpu, Host, Machine};
use emu::Opcode;
use vcpu::{Gpr, Vcpu};

/// XSETBV. Whether the value can be had is for the CPU to say; CR4.OSXSAVE it has looked at. So it has at privilege, before
/// the exit (SDM 3C, 25.1.1), but not Bochs 3.0: there the kernel of a Xen's PV guest, in ring 3, would get by its Xen.
pub(crate) fn write<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    let register = vcpu.gpr(Gpr::Rcx) as u32;
    let value = edx_eax(vcpu);
    if vcpu.cpl() == 0 && machine.host.write_xcr(register, value) {
        skip(machine, cpu, vcpu, Opcode::Xsetbv);
    } else {
        inject_gp(vcpu);
    }
}
