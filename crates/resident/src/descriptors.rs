//! The VMM's own GDT, TSS and the two IDTs (APM 2, 4.7, 8.2 and 12.2).
use core::arch::{asm, global_asm};
use core::ffi::c_void;
use core::mem::size_of;
use x86defs::{cr::CR4_MCE, msr};

global_asm!(include_str!("entry.S"));

unsafe extern "C" {
    static exception_stubs: [[u8; 8]; 256];
    static window_stubs: [[u8; 8]; 256];
    fn nmi_stub();
}

const CODE: u16 = 0x08;
const DATA: u16 = 0x10;
const TSS: u16 = 0x18;

/// The VMM's code, data and task segments.
pub(crate) const SELECTORS: (u16, u16, u16) = (CODE, DATA, TSS);

/// Interrupt stacks: top addresses. Each kind that may come while another is handled has its own.
pub(crate) struct Stacks {
    /// IST1.
    pub(crate) nmi: u64,
    /// IST2: #DF, which comes when the delivery of another exception failed, and #MC, which may come at any instruction.
    /// The VMM returns from neither, so the later of the two may have the stack of the earlier.
    pub(crate) last: u64,
    /// IST3: all others, so that one is delivered where the stack itself is what failed.
    pub(crate) fault: u64,
}

/// An operand of LGDT or LIDT.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

#[repr(C, align(16))]
#[derive(Clone, Copy, Default)]
struct Gate([u64; 2]);

impl Gate {
    fn interrupt(handler: u64, ist: u64) -> Self {
        const PRESENT_INTERRUPT: u64 = 0x8e00 << 32;
        let low = handler & 0xffff
            | u64::from(CODE) << 16
            | ist << 32
            | PRESENT_INTERRUPT
            | (handler >> 16 & 0xffff) << 48;
        Self([low, handler >> 32])
    }
}

/// The IDTs, shared by all CPUs.
pub(crate) struct Tables {
    main: [Gate; 256],
    window: [Gate; 256],
    main_pointer: Pointer,
    window_pointer: Pointer,
}

impl Tables {
    /// Fill the gates. An NMI, #MC and #SX may come in the window as well: the stubs know the latter two from the
    /// interrupts that a guest may give the same vectors.
    pub(crate) fn fill(&mut self) {
        let exception = |n: usize| &raw const exception_stubs as u64 + n as u64 * 8;
        let window = |n: usize| &raw const window_stubs as u64 + n as u64 * 8;
        for (n, gate) in self.main.iter_mut().enumerate() {
            let ist = match n {
                // It may come while TR is the guest's: Bochs (seen on 3.0) keeps the trap of a stepped instruction that
                // exits for the VMM's first instruction. It is no fault, so the stack is sound.
                1 => 0,
                8 | 18 => 2,
                _ => 3,
            };
            *gate = Gate::interrupt(exception(n), ist);
        }
        for (n, gate) in self.window.iter_mut().enumerate() {
            *gate = Gate::interrupt(window(n), 0);
        }
        for gates in [&mut self.main[..], &mut self.window[..]] {
            gates[2] = Gate::interrupt(nmi_stub as *const () as u64, 1);
        }
        self.main_pointer = Pointer {
            limit: size_of::<[Gate; 256]>() as u16 - 1,
            base: &raw const self.main as u64,
        };
        self.window_pointer = Pointer {
            limit: size_of::<[Gate; 256]>() as u16 - 1,
            base: &raw const self.window as u64,
        };
    }

    pub(crate) fn main_idtr(&self) -> *const c_void {
        (&raw const self.main_pointer).cast()
    }

    pub(crate) fn window_idtr(&self) -> *const c_void {
        (&raw const self.window_pointer).cast()
    }
}

/// One CPU's GDT and TSS.
#[repr(C, align(16))]
pub(crate) struct Descriptors {
    gdt: [u64; 5],
    /// 64-bit TSS, 104 bytes: RSP0-2 at 4, IST1-7 at 36.
    tss: [u32; 26],
}

impl Descriptors {
    pub(crate) fn new() -> Self {
        Self { gdt: [0; 5], tss: [0; 26] }
    }

    /// Where the TSS is.
    pub(crate) fn task(&self) -> u64 {
        &raw const self.tss as u64
    }

    /// Load GDT, TR, segment registers, IDT and GS base.
    ///
    /// # Safety
    /// `self` and `tables` stay where they are for ever; `local` is what the handlers expect.
    pub(crate) unsafe fn load(&'static mut self, stacks: &Stacks, tables: &Tables, local: u64) {
        let tops = [stacks.nmi, stacks.last, stacks.fault];
        for (n, top) in tops.into_iter().enumerate() {
            self.tss[9 + 2 * n] = top as u32;
            self.tss[10 + 2 * n] = (top >> 32) as u32;
        }
        // No I/O permission map: its offset is the limit.
        self.tss[25] = 104 << 16;
        let tss = &raw const self.tss as u64;
        let code: u64 = 0x00af_9b00_0000_ffff;
        let data: u64 = 0x00cf_9300_0000_ffff;
        let busy_later = 0x0000_8900_0000_0067 | (tss & 0xff_ffff) << 16 | (tss >> 24 & 0xff) << 56;
        self.gdt = [0, code, data, busy_later, tss >> 32];
        let pointer =
            Pointer { limit: size_of::<[u64; 5]>() as u16 - 1, base: &raw const self.gdt as u64 };
        // SAFETY: the tables are complete and permanent by contract; the code segment is flat 64-bit as
        // the one in use.
        unsafe {
            asm!(
                "lgdt [{pointer}]",
                "push {code}",
                "lea {scratch}, [rip + 2f]",
                "push {scratch}",
                "retfq",
                "2:",
                "mov ds, {data:e}",
                "mov es, {data:e}",
                "mov ss, {data:e}",
                "mov fs, {zero:e}",
                "mov gs, {zero:e}",
                "lldt {zero:x}",
                "ltr {tss:x}",
                "lidt [{idt}]",
                pointer = in(reg) &raw const pointer,
                code = const CODE as u64,
                scratch = out(reg) _,
                data = in(reg) u32::from(DATA),
                zero = in(reg) 0_u32,
                tss = in(reg) TSS,
                idt = in(reg) tables.main_idtr(),
            );
            // A machine check would otherwise shut the CPU down without a word (APM 2, 9.3).
            asm!("mov {0}, cr4", "or {0}, {mce}", "mov cr4, {0}", out(reg) _, mce = const CR4_MCE);
            asm!("wrmsr", in("ecx") msr::GS_BASE, in("eax") local as u32, in("edx") (local >> 32) as u32);
        }
    }
}
