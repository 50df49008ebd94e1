//! Saying why the CPU refused a guest: the VM-instruction errors (SDM 3C, 30.4), and the check that failed.
use crate::check::{Failed, guest_state};
use crate::parts::{Refused, Vmx};
use crate::switch::vmread;
use core::fmt;
use x86defs::vmx::{exit, field};

/// What a VM-instruction error means (SDM 3C, table 30-1).
const fn instruction_error(number: u32) -> &'static str {
    match number {
        4 => "VMLAUNCH with a VMCS that was launched",
        5 => "VMRESUME with a VMCS that was not launched",
        6 => "VMRESUME after VMXOFF",
        7 => "VM entry with a control field that is not allowed",
        8 => "VM entry with a host-state field that is not allowed",
        26 => "VM entry in the shadow of MOV SS",
        _ => "an error that VM entries do not have",
    }
}

impl Vmx {
    /// Says why the last run did not enter the guest.
    pub(crate) fn explain(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self.refused {
            None => out.write_str("nothing was refused"),
            Some(Refused::Instruction(number)) => {
                write!(out, "{} (VM-instruction error {number})", instruction_error(number))?;
                self.name_check(out, 0)
            }
            Some(Refused::Exit(reason)) => match reason & 0xffff {
                exit::ENTRY_GUEST_STATE => {
                    out.write_str("VM entry failed: invalid guest state")?;
                    self.name_check(out, vmread(field::QUALIFICATION))
                }
                exit::ENTRY_MSR_LOADING => out.write_str("VM entry failed: MSR loading"),
                exit::ENTRY_MACHINE_CHECK => out.write_str("VM entry failed: machine check"),
                exit::EPT_MISCONFIGURATION => write!(
                    out,
                    "EPT misconfiguration at guest-physical {:#x}",
                    vmread(field::GUEST_PHYSICAL)
                ),
                other => write!(out, "VM entry failed: exit reason {other}"),
            },
        }
    }

    /// The check that failed; `told` is the exit qualification, by which the CPU tells of some itself (SDM 3C, 26.8). An
    /// instruction error leaves the one of before.
    fn name_check(&self, out: &mut dyn fmt::Write, told: u64) -> fmt::Result {
        match guest_state(&self.parts.controls, &vmread) {
            Err(Failed(name, what)) => write!(out, ": {name}: {what}"),
            Ok(()) => match told {
                2 => out.write_str(": PAE's page-directory pointers"),
                3 => out.write_str(": an NMI is injected where it cannot be"),
                4 => out.write_str(": VMCS link pointer"),
                _ => out.write_str(": none of the checks known fails"),
            },
        }
    }
}
