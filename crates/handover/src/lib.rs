//! The contract between setup and the resident image: plain data with a fixed layout, written once
//! by setup into the hole, read once by the resident before the guest's first instruction.
//!
//! All addresses named `hpa` or held in a [`Span`] are host-physical; all lengths are bytes.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod note;

pub mod seal;

pub use note::Note;

/// First word of a [`HandOver`]; the low byte is the layout's version. A resident that finds another
/// value was built from other sources than the setup that loaded it, and refuses to start.
pub const MAGIC: u64 = 0x5241_4d4f_4f46_4c08;

/// Where the hole is mapped in the VMM's address space: byte `hpa` of the hole is at
/// `VMM_BASE + (hpa - hole.base)`. The first address of the upper canonical half, so that every
/// 48-bit lower-half address keeps the identity meaning below.
pub const VMM_BASE: u64 = 0xffff_8000_0000_0000;

/// Bytes of zeroed memory the resident carves its pools from, for all CPUs together.
pub const SHARED_BYTES: u64 = 512 * 1024;

/// Bytes of zeroed memory the resident carves one CPU's block from (stacks, vCPU, counters).
pub const PER_CPU_BYTES: u64 = 64 * 1024;

/// Most CPUs the VMM runs on: their local APIC IDs fill a page. Others stay as the firmware left them.
pub const MAX_CPUS: usize = 1024;

/// Most ranges of the memory map that are handed over; what is behind them is not shown to the analyst.
pub const MAX_MAP: usize = 96;

/// Most ranges of guest RAM that are handed over.
pub const MAX_RAM_SPANS: usize = 64;

/// EAX of the VMMCALL by which a loader that the firmware starts again finds the VMM that it runs
/// under. It is answered as long as no operating system has turned on paging.
pub const PROBE: u32 = 0x8f52_6d66;

/// EAX of the answer; EBX is then [`HandOver::next_disk`], ECX is [`PROBE`] inverted. No other
/// hypervisor changes three registers so.
pub const ANSWER: u32 = 0x9d4f_6c78;

/// EAX of the VMMCALL by which the code that starts a disk tells the VMM that it could not, for the
/// log; BL is the disk, BH 0 if it cannot be read and 1 if it has no boot sector. Answered as long
/// as [`PROBE`] is; no register is changed.
pub const NO_DISK: u32 = 0xb1c7_6478;

/// A range of host-physical memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub base: u64,
    /// Length in bytes.
    pub len: u64,
}

impl Span {
    /// First byte after the range; saturates.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.base.saturating_add(self.len)
    }

    /// Whether all of `base .. base + len` lies inside; false if that range wraps.
    #[must_use]
    pub const fn contains(self, base: u64, len: u64) -> bool {
        match base.checked_add(len) {
            Some(end) => base >= self.base && end <= self.end(),
            None => false,
        }
    }

    /// Whether any byte of `base .. base + len` lies inside.
    #[must_use]
    pub const fn overlaps(self, base: u64, len: u64) -> bool {
        len != 0 && self.len != 0 && base < self.end() && base.saturating_add(len) > self.base
    }
}

/// A 16550 and its speed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uart {
    /// First of its eight ports; 0 = none.
    pub port: u16,
    /// Bits a second.
    pub baud: u32,
}

/// The command line, parsed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `link=uart:PORT,BAUD`: the analyst's line.
    pub link: Uart,
    /// `log=uart:PORT[,BAUD]`: where the log is mirrored.
    pub log: Uart,
    /// `wait`: hold the machine before its first instruction until an analyst lets it go.
    pub wait: bool,
    /// `tsc=freeze`: the guest's time-stamp counter stands still while the analyst has it stopped.
    pub tsc_freeze: bool,
}

/// The registers a real-mode guest starts with; all others are as after reset but EFLAGS.IF = 0,
/// and every segment's base is `selector << 4`, its limit FFFFh.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealModeStart {
    /// Code segment.
    pub cs: u16,
    /// Instruction pointer.
    pub ip: u16,
    /// Stack segment.
    pub ss: u16,
    /// Stack pointer.
    pub sp: u16,
    /// General register DL: the BIOS drive the machine was booted from, if known.
    pub dl: u8,
}

/// How the machine is reset by ACPI (FADT RESET_REG, an I/O port), if it can be.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// I/O port; 0 = none.
    pub port: u16,
    /// Value to write.
    pub value: u8,
}

/// A range of the memory map, as the guest's `int 15h, E820h` tells it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Where it lies.
    pub span: Span,
    /// ACPI 6.5, table 15.2: 1 is usable, 2 reserved, 3 ACPI tables, 4 NVS.
    pub kind: u32,
}

/// What setup tells the resident. It lies in the hole, mapped like the rest of it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HandOver {
    /// [`MAGIC`].
    pub magic: u64,
    /// All of the VMM's memory, hidden from the guest; 2 MiB-aligned base.
    pub hole: Span,
    /// The image inside the hole.
    pub image: Span,
    /// What is left of the hole for the resident: zeroed, page-aligned,
    /// `SHARED_BYTES` long, and `PER_CPU_BYTES` for each of `processors`.
    pub free: Span,
    /// The CPU's extension is Intel's, and the nested tables have EPT's format; otherwise it is AMD's.
    pub vmx: bool,
    /// Root of the nested tables (a PML4); all table pages lie in the hole.
    pub npt_root: u64,
    /// Root of the VMM's own tables: entries 0..256 are those of `npt_root` or, where that has a format of its
    /// own, map the same (the guest's memory, at its guest-physical address, as the guest sees it), entry 256 maps
    /// the hole.
    pub host_cr3: u64,
    /// The FFh page that the nested tables show, read-only, in place of the hole.
    pub ff_page: u64,
    /// CPUs the firmware reports, this one included.
    pub cpus: u32,
    /// The local APIC IDs of those that can be started, a `u32` each, this one's first; at most [`MAX_CPUS`].
    pub processors: Span,
    /// The command line, parsed.
    pub options: Options,
    /// Where the guest begins.
    pub start: RealModeStart,
    /// Far pointer (segment in the upper half) to the guest's own 16-bit code that starts the disk
    /// whose BIOS number is in DL as disk 80h; CX, SI and DH are 0.
    pub next_disk: u32,
    /// The ACPI reset register.
    pub reset: Reset,
    /// Guest memory that still holds the loader and the image it loaded: the resident zeroes it
    /// before the guest runs.
    pub wipe: [Span; 2],
    /// Number of valid entries in `ram`.
    pub ram_len: u32,
    /// The guest's memory that is RAM: usable, ACPI and NVS ranges without the hole, and all of the
    /// first MiB; ascending, disjoint.
    pub ram: [Span; MAX_RAM_SPANS],
    /// Number of valid entries in `map`.
    pub map_len: u32,
    /// The guest's memory map, ascending.
    pub map: [Range; MAX_MAP],
}
