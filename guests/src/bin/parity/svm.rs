//! SVM's instructions and registers: concealed by the VMM, so each of these is an invalid opcode
//! (SVME clear: AMD APM 2, 15.4) or #GP. On a CPU with SVM and without the VMM the instructions are
//! #UD as well, for EFER.SVME is clear.

use crate::msrs::{Outcome, read, write};
use guests::cpu_asm;
use guests::exception;
use guests::report::value;

const VM_CR: u32 = 0xc001_0114;
const VM_HSAVE_PA: u32 = 0xc001_0117;

/// All lines begin with `svm.`.
pub(crate) fn all() {
    let outcome = |name: &str, body: &mut dyn FnMut()| {
        let fault = exception::catch(body);
        value(format_args!("svm.{name}"), format_args!("{}", Outcome(fault.map_or(Ok(None), Err))));
    };
    let page = 0x30_0000_u64;
    outcome("vmrun", &mut || cpu_asm!("vmrun", in("rax") page));
    outcome("vmload", &mut || cpu_asm!("vmload", in("rax") page));
    outcome("vmsave", &mut || cpu_asm!("vmsave", in("rax") page));
    outcome("vmmcall", &mut || cpu_asm!("vmmcall"));
    outcome("stgi", &mut || cpu_asm!("stgi"));
    outcome("clgi", &mut || cpu_asm!("clgi"));
    outcome("invlpga", &mut || cpu_asm!("invlpga", in("rax") page, in("ecx") 0));
    outcome("skinit", &mut || cpu_asm!("skinit", in("eax") 0x30_0000));
    for (name, msr) in [
        ("vm-cr", VM_CR),
        ("ignne", 0xc001_0115),
        ("smm-ctl", 0xc001_0116),
        ("hsave", VM_HSAVE_PA),
        ("key", 0xc001_0118),
    ] {
        value(format_args!("svm.{name}-read"), format_args!("{}", read(msr)));
    }
    for (name, msr) in [("vm-cr", VM_CR), ("hsave", VM_HSAVE_PA)] {
        let before = read(msr);
        let done = write(msr, 0);
        value(format_args!("svm.{name}-write"), format_args!("{done} then {}", read(msr)));
        if let Ok(Some(v)) = before.0 {
            write(msr, v);
        }
    }
}
