//! One case: a piece of code, a mode, registers; and what ended it.

use crate::Page;
use guests::cpu::{self, Racy};
use guests::{exception, labels, low};

guests::assembly!("runner.S");
labels!(
    torture_in,
    torture_out,
    torture_fpu,
    torture_home,
    torture_stubs64,
    torture_stubs32,
    torture_stubs16,
    torture_double_fault,
    torture_protected,
    torture_real,
);

unsafe extern "C" {
    fn torture_long();
}

/// Tables and pages below the image, where nothing else is after the start.
const IDT64: u64 = 0x1000;
const IDT32: u64 = 0x2000;
const IVT16: u64 = 0x2800;
const TSS32: u64 = 0x2c00;
const TSS_DOUBLE_FAULT: u64 = 0x2d00;
const TSS64: u64 = 0x2e00;
const TABLES_END: u64 = 0x3000;
/// Code and data of 16-bit modes: segments from which nothing of the above is reached.
pub(crate) const CODE16: u64 = 0x1_0000;
pub(crate) const DATA16: u64 = 0x2_0000;
/// SP, in the segment of the data.
pub(crate) const STACK16: u64 = 0x5f00;
/// Descriptors of these segments.
const CODE16_SELECTOR: u64 = 0x70;
pub(crate) const DATA16_SELECTOR: u64 = 0x98;
/// Code and data of the others, physical.
pub(crate) const DATA: u64 = 0x100_0000;
pub(crate) const CODE: u64 = 0x120_0000;
/// Where long mode sees them and what else there is to meet, 2 MiB each.
pub(crate) const WINDOWS: u64 = 0x80_0000_0000;
const WINDOW: u64 = 0x20_0000;
pub(crate) const DATA_WINDOW: u64 = WINDOWS;
pub(crate) const CODE_WINDOW: u64 = WINDOWS + WINDOW;
/// The RAM before the hole, then the hole.
pub(crate) const HOLE_WINDOW: u64 = WINDOWS + 5 * WINDOW;
pub(crate) const APIC_WINDOW: u64 = WINDOWS + 6 * WINDOW;

const STUBS: u64 = 33;
const PG: u64 = 1 << 31;
const WP: u64 = 1 << 16;
const PE: u64 = 0x11;
const PSE: u64 = 1 << 4;
const PAE: u64 = 1 << 5;
const OSFXSR: u64 = 3 << 9;
const LARGE: u64 = 0x83;
const USER: u64 = 4;
const VM: u64 = 1 << 17;

/// What the CPU is in when the case begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Long0,
    Long3,
    Compat0,
    Compat3,
    Flat0,
    Flat3,
    Pse0,
    Pae0,
    Pae3,
    Segment16,
    Real,
    Virtual86,
}

pub(crate) const MODES: [Mode; 12] = [
    Mode::Long0,
    Mode::Long3,
    Mode::Compat0,
    Mode::Compat3,
    Mode::Flat0,
    Mode::Flat3,
    Mode::Pse0,
    Mode::Pae0,
    Mode::Pae3,
    Mode::Segment16,
    Mode::Real,
    Mode::Virtual86,
];

impl Mode {
    /// In long mode or its compatibility mode.
    pub(crate) fn long(self) -> bool {
        matches!(self, Self::Long0 | Self::Long3 | Self::Compat0 | Self::Compat3)
    }

    pub(crate) fn bits16(self) -> bool {
        matches!(self, Self::Segment16 | Self::Real | Self::Virtual86)
    }

    pub(crate) fn user(self) -> bool {
        matches!(self, Self::Long3 | Self::Compat3 | Self::Flat3 | Self::Pae3 | Self::Virtual86)
    }

    /// CS and SS.
    fn selectors(self) -> (u64, u64) {
        match self {
            Self::Long0 => (0x08, 0x10),
            Self::Long3 => (0x43, 0x3b),
            Self::Compat0 | Self::Flat0 | Self::Pse0 | Self::Pae0 => (0x18, 0x10),
            Self::Compat3 | Self::Flat3 | Self::Pae3 => (0x33, 0x3b),
            Self::Segment16 => (CODE16_SELECTOR, DATA16_SELECTOR),
            Self::Real | Self::Virtual86 => (CODE16 >> 4, DATA16 >> 4),
        }
    }
}

/// What a case begins with, as runner.S reads it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct In {
    pub(crate) regs: [u64; 16],
    pub(crate) ip: u64,
    pub(crate) cs: u64,
    pub(crate) flags: u64,
    pub(crate) sp: u64,
    pub(crate) ss: u64,
    pub(crate) cr0: u64,
    pub(crate) cr3: u64,
    pub(crate) cr4: u64,
    /// DS, ES, FS, GS.
    pub(crate) segments: [u16; 4],
    /// Instructions that are let pass with TF set.
    pub(crate) budget: u64,
}

/// How it ended, as runner.S writes it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Out {
    pub(crate) regs: [u64; 16],
    pub(crate) frame: [u64; 6],
    pub(crate) vector: u64,
    pub(crate) cr2: u64,
    pub(crate) dr6: u64,
    pub(crate) ticks: u64,
}

static PML4: Racy<Page> = Racy::new(Page::EMPTY);
static LOW_PDPT: Racy<Page> = Racy::new(Page::EMPTY);
static LOW_PD: Racy<Page> = Racy::new(Page::EMPTY);
static WINDOW_PDPT: Racy<Page> = Racy::new(Page::EMPTY);
static WINDOW_PD: Racy<Page> = Racy::new(Page::EMPTY);
static PSE_PD: Racy<Page> = Racy::new(Page::EMPTY);
static PAE_PDPT: Racy<Page> = Racy::new(Page::EMPTY);

/// Tables of all modes; `hole` is the VMM's range, or where none is some RAM.
pub(crate) fn install(hole: u64) {
    let table = |page: &Racy<Page>, n: u64, entry: u64| cpu::write64(page.address() + 8 * n, entry);
    table(&PML4, 0, LOW_PDPT.address() | 7);
    table(&LOW_PDPT, 0, LOW_PD.address() | 7);
    table(&LOW_PD, 0, LARGE);
    // Compatibility mode has nothing above 4 GiB.
    table(&LOW_PD, DATA / WINDOW, DATA | LARGE | USER);
    table(&LOW_PD, CODE / WINDOW, CODE | LARGE | USER);
    table(&PML4, 1, WINDOW_PDPT.address() | 7);
    table(&WINDOW_PDPT, 0, WINDOW_PD.address() | 7);
    // The APICs read-only: an INIT that the CPU sends itself ends any VMM under TCG.
    let windows = [
        DATA | LARGE | USER,
        CODE | LARGE | USER,
        0,
        0,
        (hole - WINDOW) | LARGE | USER,
        hole | LARGE | USER,
        0xfee0_0000 | 0x81 | USER,
        0xfec0_0000 | 0x81 | USER,
    ];
    for (n, entry) in windows.into_iter().enumerate() {
        table(&WINDOW_PD, n as u64, entry);
    }
    for n in 0..1024 {
        cpu::write32(PSE_PD.address() + 4 * n, (n << 22 | LARGE | USER) as u32);
    }
    for n in 0..4 {
        table(&PAE_PDPT, n, (guests::start::boot_pd() + n * 4096) | 1);
    }
    cpu::set_cr0(cpu::cr0() & !0xc | 0x22);
    cpu::set_cr4(cpu::cr4() | OSFXSR);
    guests::cpu_asm!("fninit", "fxsave [{}]", in(reg) torture_fpu());
    cpu::write32(torture_fpu() + 24, 0x1f80);
    let home = torture_home() + 8;
    for (n, value) in [cpu::cr0(), cpu::cr3(), cpu::cr4()].into_iter().enumerate() {
        cpu::write64(home + 8 * n as u64, value);
    }
}

/// Puts everything back that a case may have destroyed: the low part, gates, task states.
fn repair() {
    let fpu: [u64; 64] = core::array::from_fn(|n| cpu::read64(torture_fpu() + 8 * n as u64));
    let home: [u64; 3] = core::array::from_fn(|n| cpu::read64(torture_home() + 8 + 8 * n as u64));
    low::install();
    for (n, value) in fpu.into_iter().enumerate() {
        cpu::write64(torture_fpu() + 8 * n as u64, value);
    }
    for (n, value) in home.into_iter().enumerate() {
        cpu::write64(torture_home() + 8 + 8 * n as u64, value);
    }
}

fn gates(cr3: u64) {
    for vector in 0..256 {
        let stub = 16 * vector.min(STUBS - 1);
        let (to64, to32) = (torture_stubs64() + stub, torture_stubs32() + stub);
        let stack = match vector {
            2 => 2,
            8 => 3,
            _ => 1,
        };
        let user = if vector >= 0x80 || matches!(vector, 3 | 4) { 0x60 } else { 0 };
        let kind = 0x8e | user;
        let gate = |to: u64, selector: u64| {
            to & 0xffff | selector << 16 | kind << 40 | (to >> 16 & 0xffff) << 48
        };
        cpu::write64(IDT64 + 16 * vector, gate(to64, 8) | stack << 32);
        cpu::write64(IDT64 + 16 * vector + 8, 0);
        cpu::write64(IDT32 + 8 * vector, gate(to32, 0x18));
        cpu::write32(IVT16 + 4 * vector, (torture_stubs16() + stub) as u32);
    }
    // A double fault has no stack: it is a task.
    cpu::write64(IDT32 + 8 * 8, 0x90 << 16 | 0x85 << 40);
    for at in (TSS32..TABLES_END).step_by(8) {
        cpu::write64(at, 0);
    }
    cpu::write32(TSS32 + 4, 0x6c00);
    cpu::write32(TSS32 + 8, 0x10);
    cpu::write32(TSS32 + 28, cr3 as u32);
    cpu::write32(TSS32 + 100, 104 << 16);
    cpu::write32(TSS_DOUBLE_FAULT + 28, cr3 as u32);
    cpu::write32(TSS_DOUBLE_FAULT + 32, torture_double_fault() as u32);
    cpu::write32(TSS_DOUBLE_FAULT + 36, 2);
    cpu::write32(TSS_DOUBLE_FAULT + 56, 0x7000);
    for (n, selector) in [0x10, 0x18, 0x10, 0x10, 0x10, 0x10].into_iter().enumerate() {
        cpu::write32(TSS_DOUBLE_FAULT + 72 + 4 * n as u64, selector);
    }
    cpu::write32(TSS_DOUBLE_FAULT + 100, 104 << 16);
    for top in [0x6400, 0x6800, 0x6c00] {
        cpu::write64(top, 0); // looked at where there is no error code
    }
    for (at, stack) in [(4, 0x6c00), (36, 0x6400), (44, 0x6800), (52, 0x6c00)] {
        cpu::write64(TSS64 + at, stack);
    }
    cpu::write32(TSS64 + 100, 104 << 16);
    low::set_descriptor(CODE16_SELECTOR, CODE16, 0xffff, 0x9b, 0);
    low::set_descriptor(DATA16_SELECTOR, DATA16, 0xffff, 0x93, 0);
    low::set_tss32(0x78, TSS64);
    low::set_tss32(0x88, TSS32);
    low::set_tss32(0x90, TSS_DOUBLE_FAULT);
    guests::cpu_asm!("ltr {0:x}", in(reg) 0x78_u64, options(nostack));
}

/// Runs one case. The code lies at `CODE` or `CODE16` already.
pub(crate) fn run(mode: Mode, mut given: In) -> Out {
    repair();
    (given.cs, given.ss) = mode.selectors();
    (given.cr0, given.cr3, given.cr4) = match mode {
        Mode::Pse0 => (PG | WP | PE, PSE_PD.address(), PSE | OSFXSR),
        Mode::Pae0 | Mode::Pae3 => (PG | WP | PE, PAE_PDPT.address(), PAE | OSFXSR),
        _ if mode.long() => (0, PML4.address(), 0),
        _ => (PE, 0, OSFXSR),
    };
    if mode == Mode::Virtual86 {
        given.flags |= VM;
    }
    gates(given.cr3);
    let efer = cpu::rdmsr(0xc000_0080);
    cpu::write64(torture_home() + 32, efer);
    let words = |at: u64, n: usize| cpu::read64(at + 8 * n as u64);
    put(torture_in(), &given);
    cpu::set_dr6(0xffff_0ff0);
    cpu::set_cr2(0);
    guests::cpu_asm!("fxrstor [{}]", in(reg) torture_fpu(), options(nostack));
    if mode.long() {
        // SAFETY: it comes back by whatever ends the case, with the registers a call preserves.
        unsafe { torture_long() };
        exception::reload_idt();
    } else if mode == Mode::Real {
        low::real(torture_real());
    } else {
        low::protected(torture_protected());
    }
    let out = torture_out();
    Out {
        regs: core::array::from_fn(|n| words(out, n)),
        frame: core::array::from_fn(|n| words(out + 128, n)),
        vector: words(out + 176, 0),
        cr2: words(out + 184, 0),
        dr6: words(out + 192, 0),
        ticks: words(out + 200, 0),
    }
}

/// Writes a structure of runner.S.
fn put(at: u64, given: &In) {
    for (n, value) in given.regs.into_iter().enumerate() {
        cpu::write64(at + 8 * n as u64, value);
    }
    let fields =
        [given.ip, given.cs, given.flags, given.sp, given.ss, given.cr0, given.cr3, given.cr4];
    for (n, value) in fields.into_iter().enumerate() {
        cpu::write64(at + 128 + 8 * n as u64, value);
    }
    for (n, value) in given.segments.into_iter().enumerate() {
        cpu::write16(at + 192 + 2 * n as u64, value);
    }
    cpu::write64(at + 200, given.budget);
}
