//! What the VMM does about its own faults: the MSR accesses that may raise #GP go on, debug traps are
//! ignored, all else is reported and freezes the machine.
use crate::cpu::Local;
use crate::start::Real;
use core::arch::asm;
use core::panic::PanicInfo;
use core::sync::atomic::Ordering;
use handover::VMM_BASE;
use x86defs::{msr, rflags, vector};

unsafe extern "C" {
    fn msr_read_at();
    fn msr_write_at();
    fn msr_refused();
}

/// What `exception_common` leaves on the stack.
#[repr(C)]
struct Frame {
    registers: [u64; 15],
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// #SX: a redirected INIT (APM 2, 15.28).
const SX: u64 = 30;

#[unsafe(no_mangle)]
extern "C" fn resident_exception(frame: &mut Frame) {
    let at = |place: unsafe extern "C" fn()| frame.rip == place as *const () as u64;
    if frame.vector == u64::from(vector::GP) && (at(msr_read_at) || at(msr_write_at)) {
        frame.rip = msr_refused as *const () as u64;
        return;
    }
    if frame.vector == SX {
        if let Some(local) = local() {
            // Relaxed: read by this CPU.
            local.init.store(true, Ordering::Relaxed);
        }
        return;
    }
    if frame.vector == u64::from(vector::DB) {
        // A breakpoint the guest or the analyst armed, met around VMRUN: pass this instruction.
        frame.rflags |= rflags::RF;
        return;
    }
    let cr2: u64;
    // SAFETY: reading CR2 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) cr2, options(nomem, nostack)) };
    report(format_args!(
        "VMM fault: vector {} error {:#x} at {:#x}, CR2 {cr2:#x}, RSP {:#x}; frozen",
        frame.vector, frame.error, frame.rip, frame.rsp
    ));
    freeze()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    report(format_args!("VMM panic: {info}; frozen"));
    freeze()
}

/// What GS points to; `None` before the descriptor tables are loaded, when GS base is the loader's 0.
fn local() -> Option<&'static Local> {
    let (low, high): (u32, u32);
    // SAFETY: every 64-bit CPU has this MSR, and reading it has no effect.
    unsafe {
        asm!("rdmsr", in("ecx") msr::GS_BASE, out("eax") low, out("edx") high, options(nomem, nostack));
    }
    let base = u64::from(high) << 32 | u64::from(low);
    // SAFETY: the VMM sets GS base once, to this CPU's `Local`, which lives for ever in the upper half.
    (base >= VMM_BASE).then(|| unsafe { &*(base as *const Local) })
}

fn report(text: core::fmt::Arguments<'_>) {
    // SAFETY: `machine` is null or the machine, which lives for ever.
    let machine = local().and_then(|local| unsafe { local.machine.cast::<Real>().as_ref() });
    if let Some(machine) = machine {
        machine.try_log(text);
    }
}

pub(crate) fn freeze() -> ! {
    loop {
        // SAFETY: interrupts are off; nothing wakes this CPU.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
