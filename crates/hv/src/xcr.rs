//! XSETBV, where it exits whatever the VMM asks (SDM 3C, 25.1.2). XCR0 is the guest's all the time: the VMM uses no
//! extended state.
use crate::instruction::{edx_eax, inject_gp, skip};
use crate::{Cpu, Host, Machine};
use emu::Opcode;
use vcpu::{Gpr, Vcpu};

/// XSETBV. Whether the value can be had is for the CPU to say; privilege and CR4.OSXSAVE it has looked at.
pub(crate) fn write<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    let register = vcpu.gpr(Gpr::Rcx) as u32;
    let value = edx_eax(vcpu);
    if machine.host.write_xcr(register, value) {
        skip(machine, cpu, vcpu, Opcode::Xsetbv);
    } else {
        inject_gp(vcpu);
    }
}
