//! The mode a CPU is in, for people (APM 2, 1.3).
use crate::instruction::code_size;
use core::fmt;
use emu::CodeSize;
use vcpu::{System, Vcpu};
use x86defs::{cr, rflags};

/// Writes the mode's name, and the size of the code in it where that is not one with the mode.
pub(super) fn write(vcpu: &dyn Vcpu, out: &mut dyn fmt::Write) -> fmt::Result {
    let size = code_size(vcpu);
    let real = vcpu.system(System::Cr0) & cr::CR0_PE == 0;
    let name = if real {
        "real mode"
    } else if vcpu.system(System::Efer) & cr::EFER_LMA != 0 {
        if size == CodeSize::Bits64 { "64-bit mode" } else { "compatibility mode" }
    } else if vcpu.system(System::Rflags) & rflags::VM != 0 {
        "virtual-8086 mode"
    } else {
        "protected mode"
    };
    out.write_str(name)?;
    match size {
        CodeSize::Bits16 if name == "protected mode" || name == "compatibility mode" => {
            out.write_str(", 16-bit code")
        }
        CodeSize::Bits32 => out.write_str(", 32-bit code"),
        _ => Ok(()),
    }
}
