//! The memory-type range registers: which memory type they give an address (`Intel SDM 3A, 12.11`).
//!
//! Under EPT the CPU asks the tables and not its MTRRs (`Intel SDM 3C, 29.3.7.2`), so the tables must say
//! what the guest's MTRRs say, and follow when the guest changes those. PAT stays the guest's own: the CPU
//! combines it with a leaf's type as it would with that of the MTRRs. Nor is CR0.CD a matter of the
//! tables: while it is set the CPU takes all memory for uncacheable whatever they say (the same section).
//!
//! SMRRs (`3C, 32.4.2.1`) are not among these: they count in system management mode, which does not use EPT,
//! and outside of it show SMRAM as the chipset does.

mod fixed;
mod registers;
mod runs;
mod variable;

pub use registers::Refused;
pub use runs::{MAX_STEPS, Run, Runs};

use variable::Variable;

/// IA32_MTRRCAP.
pub const MTRR_CAP: u32 = 0xFE;
/// IA32_MTRR_DEF_TYPE.
pub const MTRR_DEF_TYPE: u32 = 0x2FF;
/// IA32_MTRR_PHYSBASE0; its mask is one on, the next pair two on.
pub const MTRR_PHYSBASE0: u32 = 0x200;
/// The MSRs of the fixed ranges, in the order of their addresses (`12.11.2.2`).
pub const MTRR_FIX: [u32; fixed::REGISTERS] =
    [0x250, 0x258, 0x259, 0x268, 0x269, 0x26A, 0x26B, 0x26C, 0x26D, 0x26E, 0x26F];
/// The most pairs of variable MTRRs there is room for among the MSRs.
pub const MAX_VARIABLE: usize = 32;

/// MTRRCAP.FIX: there are fixed ranges.
const CAP_FIX: u64 = 1 << 8;
/// MTRRCAP.WC: there is the type WC.
const CAP_WC: u64 = 1 << 10;
/// DEF_TYPE.FE: the fixed ranges are in force.
const DEF_FE: u64 = 1 << 10;
/// DEF_TYPE.E: MTRRs are in force; without it all memory is UC.
const DEF_E: u64 = 1 << 11;
/// Physical addresses have 52 bits at most.
const MAX_BITS: u32 = 52;

/// A memory type, with the value MTRRs and EPT have for it (`12.11`, table 12-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MemoryType {
    /// UC.
    Uncacheable = 0,
    /// WC.
    WriteCombining = 1,
    /// WT.
    WriteThrough = 4,
    /// WP.
    WriteProtected = 5,
    /// WB.
    WriteBack = 6,
}

impl MemoryType {
    /// The type with this value; `None` for the reserved ones.
    #[must_use]
    pub const fn new(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Uncacheable,
            1 => Self::WriteCombining,
            4 => Self::WriteThrough,
            5 => Self::WriteProtected,
            6 => Self::WriteBack,
            _ => return None,
        })
    }

    /// The type where ranges with these two overlap (`12.11.4.1`): UC wins, WT over WB; all else is
    /// undefined, and UC is the one that is never wrong.
    #[must_use]
    pub const fn overlap(self, other: Self) -> Self {
        match (self, other) {
            (Self::WriteBack, Self::WriteBack) => Self::WriteBack,
            (Self::WriteThrough | Self::WriteBack, Self::WriteThrough | Self::WriteBack) => {
                Self::WriteThrough
            }
            (Self::WriteCombining, Self::WriteCombining) => Self::WriteCombining,
            (Self::WriteProtected, Self::WriteProtected) => Self::WriteProtected,
            _ => Self::Uncacheable,
        }
    }
}

/// The MTRRs of one CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mtrrs {
    cap: u64,
    def_type: u64,
    fixed: [u64; fixed::REGISTERS],
    variable: [Variable; MAX_VARIABLE],
    /// One more than the last physical address: MAXPHYADDR is its logarithm.
    limit: u64,
}

impl Mtrrs {
    /// A CPU without MTRRs (CPUID 1 EDX.MTRR): memory is what PAT says, as with WB everywhere.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            cap: 0,
            def_type: DEF_E | MemoryType::WriteBack as u64,
            fixed: [0; fixed::REGISTERS],
            variable: [Variable { base: 0, mask: 0 }; MAX_VARIABLE],
            limit: 1 << MAX_BITS,
        }
    }

    /// What `msr` reads from a CPU that has MTRRs; `bits` is its MAXPHYADDR (CPUID 8000_0008h EAX).
    pub fn read_from(bits: u8, mut msr: impl FnMut(u32) -> u64) -> Self {
        let mut this = Self::none();
        this.limit = 1_u64.wrapping_shl(u32::from(bits).clamp(32, MAX_BITS));
        this.cap = msr(MTRR_CAP);
        this.def_type = msr(MTRR_DEF_TYPE);
        if this.cap & CAP_FIX != 0 {
            for (register, number) in this.fixed.iter_mut().zip(MTRR_FIX) {
                *register = msr(number);
            }
        }
        let count = this.count();
        for (pair, number) in
            this.variable.iter_mut().zip((MTRR_PHYSBASE0..).step_by(2)).take(count)
        {
            *pair = Variable { base: msr(number), mask: msr(number.wrapping_add(1)) };
        }
        this
    }

    /// Pairs of variable MTRRs.
    fn count(&self) -> usize {
        ((self.cap & 0xFF) as usize).min(MAX_VARIABLE)
    }

    /// The memory type of the byte at `gpa`.
    #[must_use]
    pub fn type_of(&self, gpa: u64) -> MemoryType {
        self.step(gpa).0
    }

    /// The memory type at `gpa`, and an address behind it up to which no MTRR begins or ends.
    fn step(&self, gpa: u64) -> (MemoryType, u64) {
        if self.def_type & DEF_E == 0 {
            return (MemoryType::Uncacheable, u64::MAX);
        }
        if self.def_type & DEF_FE != 0
            && self.cap & CAP_FIX != 0
            && let Some(found) = fixed::step(&self.fixed, gpa)
        {
            return found;
        }
        let mut kind: Option<MemoryType> = None;
        let mut end = u64::MAX;
        for pair in self.variable.iter().take(self.count()) {
            let (inside, until) = pair.step(gpa, self.limit);
            end = end.min(until);
            if inside {
                let one = pair.kind();
                kind = Some(kind.map_or(one, |sofar| sofar.overlap(one)));
            }
        }
        (kind.unwrap_or(named(self.def_type)), end)
    }

    /// The ranges of one type each that `from..to` is made of.
    pub fn runs(&self, from: u64, to: u64) -> Runs<'_> {
        Runs::new(self, None, from, to)
    }

    /// The ranges of `from..to` whose type is another than under `before`, and the type they have now: what
    /// changes in EPT when the guest has written an MTRR.
    pub fn changes<'a>(&'a self, before: &'a Self, from: u64, to: u64) -> Runs<'a> {
        Runs::new(self, Some(before), from, to)
    }
}

/// The type in the low byte of a register; a reserved one, which no CPU accepts, is UC.
const fn named(register: u64) -> MemoryType {
    match MemoryType::new(register as u8) {
        Some(kind) => kind,
        None => MemoryType::Uncacheable,
    }
}
