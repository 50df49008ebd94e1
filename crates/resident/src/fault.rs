//! What the VMM does about its own faults: the MSR accesses that may raise #GP go on, debug traps are
//! ignored, all else is reported and freezes the machine.
use crate::cpu::Local;
use crate::start::Real;
use core::arch::asm;
use core::panic::PanicInfo;
use x86defs::vector;

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

/// #SX: a redirected INIT (APM 2, 15.28). The exit that announced it has dealt with it.
const SX: u64 = 30;

#[unsafe(no_mangle)]
extern "C" fn resident_exception(frame: &mut Frame) {
    let at = |place: unsafe extern "C" fn()| frame.rip == place as *const () as u64;
    if frame.vector == u64::from(vector::GP) && (at(msr_read_at) || at(msr_write_at)) {
        frame.rip = msr_refused as *const () as u64;
        return;
    }
    // A breakpoint the guest or the analyst armed, met in the few instructions around VMRUN.
    if matches!(frame.vector, SX) || frame.vector == u64::from(vector::DB) {
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

fn report(text: core::fmt::Arguments<'_>) {
    let local: *const Local;
    // SAFETY: GS base is this CPU's `Local` from the moment the handlers can run.
    unsafe {
        asm!("mov {}, gs:[8]", out(reg) local, options(readonly, nostack));
    }
    // SAFETY: as above; `machine` is null or the machine, which lives for ever.
    unsafe {
        if let Some(machine) = local.as_ref().and_then(|it| it.machine.cast::<Real>().as_ref()) {
            machine.try_log(text);
        }
    }
}

pub(crate) fn freeze() -> ! {
    loop {
        // SAFETY: interrupts are off; nothing wakes this CPU.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
