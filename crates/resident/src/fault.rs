//! What the VMM does about its own faults: accesses that may fail go on, debug traps are ignored, all else freezes
//! the guest, is reported, and the analyst's line answers from then on.
use crate::cpu::{Failing, Local};
use crate::host::{Pc, adopt, uart};
use crate::start::{Guest, run_on_stack};
use crate::{backtrace, host};
use core::arch::asm;
use core::fmt::Arguments;
use core::panic::PanicInfo;
use core::sync::atomic::Ordering;
use handover::VMM_BASE;
use hv::{Log, Regs, Room};
use x86defs::{msr, rflags, vector};

unsafe extern "C" {
    fn msr_read_at();
    fn msr_write_at();
    fn xcr_write_at();
    fn memory_read_at();
    fn refused();
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
/// #MC.
const MC: u64 = 18;
/// Faults after which the line still answers: each may be the doing of what the analyst asked to see.
const MOST: u32 = 16;

/// The exceptions' names (APM 2, table 8-1).
const NAMES: [&str; 32] = [
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "", "#TS", "#NP", "#SS", "#GP",
    "#PF", "", "#MF", "#AC", "#MC", "#XF", "", "#CP", "", "", "", "", "", "", "#HV", "#VC", "#SX",
    "",
];

#[unsafe(no_mangle)]
extern "C" fn resident_exception(frame: &mut Frame) {
    let at = |place: unsafe extern "C" fn()| frame.rip == place as *const () as u64;
    let foreseen = match frame.vector as u8 {
        vector::GP => at(msr_read_at) || at(msr_write_at) || at(memory_read_at) || at(xcr_write_at),
        vector::PF => at(memory_read_at),
        _ => false,
    };
    if foreseen {
        frame.rip = refused as *const () as u64;
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
    fatal(frame)
}

/// A fault that the VMM does not come back from. Out of line, for what comes back may come on the NMI handler's small stack.
#[cold]
#[inline(never)]
fn fatal(frame: &Frame) -> ! {
    let mut regs = system_registers();
    let [r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax] = frame.registers;
    (regs.rax, regs.rbx, regs.rcx, regs.rdx) = (rax, rbx, rcx, rdx);
    (regs.rsi, regs.rdi, regs.rbp, regs.rsp) = (rsi, rdi, rbp, frame.rsp);
    (regs.r8, regs.r9, regs.r10, regs.r11) = (r8, r9, r10, r11);
    (regs.r12, regs.r13, regs.r14, regs.r15) = (r12, r13, r14, r15);
    (regs.rip_linear, regs.ip, regs.eflags) = (frame.rip, frame.rip, frame.rflags);
    (regs.cs.selector, regs.ss.selector) = (frame.cs as u16, frame.ss as u16);
    let number = frame.vector;
    let name = NAMES.get(number as usize).copied().unwrap_or("an interrupt nobody asked for");
    let what = format_args!(
        "VMM fault: vector {number} ({name}) error {:#x} at {:#x}, CR2 {:#x}; frozen",
        frame.error, frame.rip, regs.cr2
    );
    if number == MC {
        let (status, bank, value) = host::machine_check();
        freeze(format_args!("{what}; MCG_STATUS {status:#x}, bank {bank} {value:#x}"), regs)
    }
    freeze(what, regs)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut regs = system_registers();
    // SAFETY: reads three registers.
    unsafe {
        asm!("lea {}, [rip]", "mov {}, rsp", "mov {}, rbp",
            out(reg) regs.ip, out(reg) regs.rsp, out(reg) regs.rbp, options(nomem, nostack));
    }
    regs.rip_linear = regs.ip;
    freeze(format_args!("VMM panic: {info}; frozen"), regs)
}

/// The registers that say how the VMM itself runs.
fn system_registers() -> Regs {
    let mut regs = Regs::default();
    // SAFETY: reading control registers has no effect.
    unsafe {
        asm!("mov {}, cr0", "mov {}, cr2", "mov {}, cr3", "mov {}, cr4",
            out(reg) regs.cr0, out(reg) regs.cr2, out(reg) regs.cr3, out(reg) regs.cr4,
            options(nomem, nostack));
    }
    (regs.efer, regs.gs.base) = (read_msr(msr::EFER), read_msr(msr::GS_BASE));
    // Flat 64-bit code, so that a debugger disassembles it as such.
    (regs.cs.attributes, regs.cs.limit) = (0xa9b, u32::MAX);
    regs
}

fn read_msr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the callers name MSRs that every 64-bit CPU has, and reading them has no effect.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// What GS points to; `None` before the descriptor tables are loaded, when GS base is the loader's 0.
fn local() -> Option<&'static Local> {
    let base = read_msr(msr::GS_BASE);
    // SAFETY: the VMM sets GS base once, to this CPU's `Local`, which lives for ever in the upper half.
    (base >= VMM_BASE).then(|| unsafe { &*(base as *const Local) })
}

/// Keep what is known of the first fault, leave the stack it happened on, answer.
fn freeze(what: Arguments<'_>, regs: Regs) -> ! {
    let Some(local) = local() else { halt() };
    if !local.first {
        halt();
    }
    let failing = local.failing;
    let this = core::ptr::from_ref(local) as u64;
    // Relaxed: what it guards was written before any other CPU ran.
    let first = failing.owner.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed);
    if first.is_err_and(|owner| owner != this) {
        // Another CPU answers, and stands still with the machine.
        halt();
    }
    // Relaxed: this CPU's alone.
    let before = failing.faults.fetch_add(1, Ordering::Relaxed);
    if before >= MOST {
        halt();
    }
    // SAFETY: carved for this; whoever reads it does so afterwards, or has just failed.
    let report = unsafe { &mut *place(failing) };
    *report = hv::Report::new(regs);
    report.say(what);
    // SAFETY: the stack is for this alone. What was on it when a fault came in the answering is given up.
    unsafe { run_on_stack(core::ptr::from_ref(local).cast_mut().cast(), failing.stack, answer) }
}

/// Where the report of the last fault is: the first is kept.
fn place(failing: &Failing) -> *mut hv::Report {
    // Relaxed: this CPU's alone.
    if failing.faults.load(Ordering::Relaxed) <= 1 { failing.report } else { failing.later }
}

/// Answer the analyst for ever.
extern "C" fn answer(local: *mut ()) -> ! {
    // SAFETY: `freeze` passes the `Local`, which lives for ever.
    let local = unsafe { &*local.cast::<Local>() };
    let failing = local.failing;
    {
        // SAFETY: as `freeze` filled it; nobody else refers to it yet.
        let report = unsafe { &mut *place(failing) };
        let regs = report.regs;
        // Not before the fault's stack is left: the accesses refused in here are faults on that stack themselves.
        backtrace::walk(failing.image, &regs, |offset| report.called_from(offset));
    }
    // SAFETY: as `freeze` filled it.
    let (report, later) = unsafe { (&*failing.report, &*failing.later) };
    // SAFETY: null, or what runs the guest; that code does not come back, so nobody else refers to it.
    let Some(Guest { machine, cpu, vcpu }) = (unsafe { local.guest.cast::<Guest>().as_ref() })
    else {
        early(failing, report)
    };
    if machine.host.gif {
        // SAFETY: the machine is there, so SVM is on. From here SMIs are served again; an NMI or INIT sets its flag.
        unsafe { asm!("stgi", options(nomem, nostack)) };
    }
    let [frame, scratch] = failing.spare;
    // SAFETY: carved for this place; who used them before does not come back.
    let room = unsafe { Room { frame: &mut *frame, scratch: &mut *scratch } };
    // Its former user does not run again.
    let link = adopt(machine.options.link.port);
    hv::frozen::<Pc, _>(machine, (cpu, vcpu.look()), link, room, report, later)
}

/// The fault came before there was a machine to show: tell it where the log or else the link goes.
fn early(failing: &Failing, report: &hv::Report) -> ! {
    if let Some(mirror) = uart(failing.options.log).or_else(|| uart(failing.options.link)) {
        Log::new(&mut [], Some(mirror)).line(format_args!("{report}"));
    }
    halt()
}

/// Nobody can be told.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: interrupts are off; nothing wakes this CPU.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
