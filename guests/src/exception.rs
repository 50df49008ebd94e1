//! Exceptions of long mode: caught, or handled by a hook.

use crate::cpu::{self, Racy};
use crate::{cpu_asm, labels, low, report};

crate::assembly!("exception.S");
labels!(exception_stubs, catch_landing, catch_sp, exception_return);

/// What the entry stub saved, and IRETQ restores.
#[repr(C)]
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "the fields are the registers they are named after")]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// What ended a caught call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The vector.
    pub vector: u64,
    /// The error code, 0 where the vector has none.
    pub error: u64,
    /// The saved RIP.
    pub rip: u64,
    /// The saved CS.
    pub cs: u64,
    /// The saved RFLAGS.
    pub rflags: u64,
    /// The saved RSP.
    pub rsp: u64,
    /// CR2 at entry.
    pub cr2: u64,
}

/// #DE.
pub const DE: u64 = 0;
/// #DB.
pub const DB: u64 = 1;
/// NMI.
pub const NMI: u64 = 2;
/// #BP.
pub const BP: u64 = 3;
/// #UD.
pub const UD: u64 = 6;
/// #GP.
pub const GP: u64 = 13;
/// #PF.
pub const PF: u64 = 14;

/// A handler that returns to the interrupted code, with the frame as it leaves it.
pub type Hook = fn(&mut Frame);

const NO_FAULT: Fault = Fault { vector: 0, error: 0, rip: 0, cs: 0, rflags: 0, rsp: 0, cr2: 0 };
static FAULT: Racy<Fault> = Racy::new(NO_FAULT);
static HOOKS: [Racy<Option<Hook>>; 256] = [const { Racy::new(None) }; 256];
static IDT: Racy<[u64; 512]> = Racy::new([0; 512]);
static TSS: Racy<[u32; 26]> = Racy::new([0; 26]);
static TRAP_STACK: Racy<[u64; 2048]> = Racy::new([0; 2048]);

unsafe extern "C" {
    fn catch_enter(call: extern "C" fn(*mut u8), argument: *mut u8) -> u32;
}

/// Where IDTR and TR point in long mode.
pub(crate) fn install() {
    for vector in 0..256 {
        // Vectors from 80h on are for ring 3 too.
        set_gate(vector, exception_stubs() + 16 * vector, vector >= 0x80);
    }
    let stack = TRAP_STACK.address() + 16384;
    cpu::write64(TSS.address() + 4, stack); // RSP0
    cpu::write32(TSS.address() + 100, 104 << 16); // no I/O permission bitmap
    let base = TSS.address();
    low::set_descriptor(0x78, base & 0xff_ffff | (base >> 24 << 40), 103, 0x89, 0);
    cpu_asm!("ltr {0:x}", in(reg) 0x78_u64, options(nostack));
    reload_idt();
}

/// Loads IDTR with the table of this module.
pub fn reload_idt() {
    let pointer = Racy::new([0_u16; 5]);
    cpu::write16(pointer.address(), 4095);
    cpu::write64(pointer.address() + 2, IDT.address());
    cpu_asm!("lidt [{}]", in(reg) pointer.address(), options(nostack));
}

/// An interrupt gate of long mode.
fn set_gate(vector: u64, target: u64, user: bool) {
    let kind = if user { 0xee00 } else { 0x8e00_u64 };
    let entry = IDT.address() + vector * 16;
    cpu::write64(entry, target & 0xffff | 8 << 16 | kind << 32 | (target >> 16 & 0xffff) << 48);
    cpu::write64(entry + 8, target >> 32);
}

/// Handles a vector by `hook` from now on; `None` lets [`catch`] have it again.
pub fn hook(vector: u64, hook: Option<Hook>) {
    HOOKS[vector as usize].set(hook);
}

/// Runs `body`; an exception without a hook ends it and is returned.
pub fn catch<F: FnMut()>(mut body: F) -> Option<Fault> {
    extern "C" fn call<F: FnMut()>(body: *mut u8) {
        // SAFETY: `catch` passes its own closure, alive until `catch_enter` is back.
        let body = unsafe { &mut *body.cast::<F>() };
        body();
    }
    // SAFETY: the landing restores the stack and the registers this call must preserve.
    let faulted = unsafe { catch_enter(call::<F>, (&raw mut body).cast()) };
    (faulted != 0).then(|| FAULT.get())
}

/// Makes the frame end the surrounding [`catch`], as an exception without a hook does.
pub fn end_catch(frame: &mut Frame) {
    FAULT.set(Fault {
        vector: frame.vector,
        error: frame.error,
        rip: frame.rip,
        cs: frame.cs,
        rflags: frame.rflags,
        rsp: frame.rsp,
        cr2: cpu::cr2(),
    });
    frame.rip = catch_landing();
    frame.cs = 8;
    frame.ss = 0x10;
    frame.rflags = 2;
    frame.rsp = cpu::read64(catch_sp());
}

// SAFETY: the one definition of the symbol that exception.S calls.
#[unsafe(no_mangle)]
extern "C" fn exception_dispatch(frame: &mut Frame) {
    if let Some(hook) = HOOKS[frame.vector as usize & 255].get() {
        hook(frame);
    } else if cpu::read64(catch_sp()) != 0 {
        end_catch(frame);
    } else {
        report::fail(format_args!(
            "unexpected exception {} error {:x} rip {:x} cs {:x} cr2 {:x}",
            frame.vector,
            frame.error,
            frame.rip,
            frame.cs,
            cpu::cr2()
        ));
        report::verdict();
    }
}
