//! What the VMM does about its own faults: the MSR accesses that may raise #GP go on, debug traps are
//! ignored, all else freezes the guest, is logged, and the analyst's line answers from then on.
use crate::cpu::Local;
use crate::start::Real;
use core::arch::asm;
use core::panic::PanicInfo;
use core::sync::atomic::Ordering;
use handover::VMM_BASE;
use hv::Regs;
use link::{CpuPorts, uart::Uart};
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
    let text = format_args!(
        "VMM fault: vector {} error {:#x} at {:#x}, CR2 {cr2:#x}, RSP {:#x}; frozen",
        frame.vector, frame.error, frame.rip, frame.rsp
    );
    let [r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax] = frame.registers;
    let (rip_linear, ip, eflags, rsp) = (frame.rip, frame.rip, frame.rflags, frame.rsp);
    let general =
        Regs { rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, ..Regs::default() };
    report(text, Regs { r12, r13, r14, r15, rip_linear, ip, eflags, cr2, ..general })
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    report(format_args!("VMM panic: {info}; frozen"), Regs::default())
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

/// Log the fault, and answer the analyst from now on.
fn report(text: core::fmt::Arguments<'_>, regs: Regs) -> ! {
    let Some(local) = local() else { halt() };
    // SAFETY: `machine` is null or the machine, which lives for ever.
    let machine = unsafe { local.machine.cast::<Real>().as_ref() };
    let Some(machine) = machine else { halt() };
    if local.frozen.swap(true, Ordering::Relaxed) {
        halt();
    }
    machine.try_log(text);
    let link = machine.options.link;
    // SAFETY: the UART is the VMM's; its former user does not run again.
    let ports = unsafe { CpuPorts::new() };
    let [frame, scratch] = local.spare;
    // SAFETY: carved for this place, which is reached once.
    let (frame, scratch) = unsafe { (&mut *frame, &mut *scratch) };
    hv::frozen(machine, Uart::adopt(ports, link.port), frame, scratch, regs)
}

/// Nobody can be told.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: interrupts are off; nothing wakes this CPU.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
