//! Guest linear addresses to guest-physical ones (`AMD APM 2, 5`; `Intel SDM 3A, 4`).
//!
//! The walker knows the registers and the tables, not the CPU: address bits above MAXPHYADDR are
//! not taken for reserved (such an address is no RAM, so the reader refuses it), and protection keys
//! are not applied. It sets no accessed or dirty bit: looking leaves no trace.

mod access;
mod bits32;
mod bits64;
mod extent;

pub use access::Access;

use crate::entry::{NX, USER, WRITE};

const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_LA57: u64 = 1 << 12;
const EFER_LMA: u64 = 1 << 10;
const EFER_NXE: u64 = 1 << 11;

/// Guest-physical memory as the walker reads it.
///
/// `None`: the address is not RAM, or it is the VMM's own. An entry never straddles a page, so a check
/// of `gpa & !0xFFF` is enough; the walker's own masks then fold into it.
pub trait PhysRead {
    /// The 4 bytes at `gpa`, which is a multiple of 4.
    fn read_u32(&self, gpa: u64) -> Option<u32>;
    /// The 8 bytes at `gpa`, which is a multiple of 8.
    fn read_u64(&self, gpa: u64) -> Option<u64>;
}

/// The registers that govern translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paging {
    /// CR0, of which PG and WP matter.
    pub cr0: u64,
    /// CR3: the address of the root; its low bits (PCID, PWT, PCD) are ignored.
    pub cr3: u64,
    /// CR4, of which PSE, PAE, LA57, SMEP and SMAP matter.
    pub cr4: u64,
    /// EFER, of which LMA and NXE matter.
    pub efer: u64,
}

/// The paging mode (`AMD APM 2, 5.1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// CR0.PG clear: linear addresses, of 32 bits, are physical ones.
    Off,
    /// Two levels of 32-bit entries.
    Bits32,
    /// Three levels of 64-bit entries outside long mode.
    Pae,
    /// Long mode, 48-bit linear addresses.
    Level4,
    /// Long mode, 57-bit linear addresses.
    Level5,
}

/// Where a linear address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The guest-physical address, page offset included.
    pub gpa: u64,
    /// Bytes in the page that holds it: the translation is good to the page's end. 4 KiB with paging off.
    pub page_size: u64,
    /// R/W is set at every level.
    pub writable: bool,
    /// U/S is set at every level.
    pub user: bool,
    /// NX is clear at every level, or not in force.
    pub executable: bool,
}

/// Why there is no translation. Levels count from 1, the page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkError {
    /// An entry is not present: a page fault.
    NotPresent {
        /// The level of the entry.
        level: u8,
    },
    /// A present entry has a reserved bit set: a page fault with RSVD.
    Reserved {
        /// The level of the entry.
        level: u8,
    },
    /// The address is not canonical: a general protection or stack fault.
    NonCanonical,
    /// A table lies where there is no RAM for the guest.
    NotRam {
        /// The guest-physical address of the entry that could not be read.
        gpa: u64,
    },
    /// The page is there but does not allow this access: a page fault with P.
    Protection,
}

impl Paging {
    /// The paging mode in force.
    #[inline]
    pub const fn mode(&self) -> Mode {
        // LMA first: it implies PG and PAE (`AMD APM 2, 14.6.1`), and long mode is the hot case.
        if self.efer & EFER_LMA != 0 {
            if self.cr4 & CR4_LA57 == 0 { Mode::Level4 } else { Mode::Level5 }
        } else if self.cr0 & CR0_PG == 0 {
            Mode::Off
        } else if self.cr4 & CR4_PAE != 0 {
            Mode::Pae
        } else {
            Mode::Bits32
        }
    }

    /// Translates as the CPU would for this access, reserved bits and rights included.
    ///
    /// Outside long mode `linear` is cut to 32 bits. PAE's four top entries are read from memory, as
    /// a CPU under nested paging does (`AMD APM 2, 15.25.10`), and not from the copies an Intel CPU
    /// made when CR3 was loaded.
    ///
    /// # Errors
    /// Any of [`WalkError`]; `Protection` only when the whole walk succeeded.
    pub fn translate<M: PhysRead + ?Sized>(
        &self,
        mem: &M,
        linear: u64,
        access: Access,
    ) -> Result<Translation, WalkError> {
        let found = self.walk(mem, linear, |entry, level| self.check(entry, level))?;
        if self.mode() == Mode::Off || self.allows(&found, access) {
            Ok(found)
        } else {
            Err(WalkError::Protection)
        }
    }

    /// Translates for the debugger: rights and reserved bits are ignored, only presence matters.
    ///
    /// # Errors
    /// `NotPresent`, `NonCanonical` or `NotRam`.
    // Always: one caller is on a hot exit and uses `gpa` alone, which only pays when inlined.
    #[inline(always)]
    pub fn lookup<M: PhysRead + ?Sized>(
        &self,
        mem: &M,
        linear: u64,
    ) -> Result<Translation, WalkError> {
        if self.mode() == Mode::Level4 {
            canonical(linear, 48)?;
            return bits64::walk(mem, linear, self.cr3, 4, |_, _| Ok(()))
                .map(|leaf| self.long(leaf));
        }
        self.find(mem, linear)
    }

    /// [`lookup`](Self::lookup) for those who are in no hurry, and in all modes but one: a call, and no code of theirs.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    #[cold]
    #[inline(never)]
    pub fn find<M: PhysRead + ?Sized>(
        &self,
        mem: &M,
        linear: u64,
    ) -> Result<Translation, WalkError> {
        self.walk(mem, linear, |_, _| Ok(()))
    }

    /// The walk itself; `check` sees each present entry of 64 bits, or of 32 widened, with its level.
    fn walk<M: PhysRead + ?Sized>(
        &self,
        mem: &M,
        linear: u64,
        check: impl Fn(u64, u8) -> Result<(), WalkError>,
    ) -> Result<Translation, WalkError> {
        match self.mode() {
            Mode::Level4 => {
                canonical(linear, 48)?;
                bits64::walk(mem, linear, self.cr3, 4, check).map(|leaf| self.long(leaf))
            }
            Mode::Level5 => {
                canonical(linear, 57)?;
                bits64::walk(mem, linear, self.cr3, 5, check).map(|leaf| self.long(leaf))
            }
            Mode::Pae => bits64::walk_pae(mem, linear & 0xFFFF_FFFF, self.cr3, check)
                .map(|leaf| self.long(leaf)),
            Mode::Bits32 => {
                let pse = self.cr4 & CR4_PSE != 0;
                bits32::walk(mem, linear & 0xFFFF_FFFF, self.cr3, pse, check)
            }
            Mode::Off => Ok(Translation {
                gpa: linear & 0xFFFF_FFFF,
                page_size: 4096,
                writable: true,
                user: true,
                executable: true,
            }),
        }
    }

    #[inline(always)]
    const fn long(&self, leaf: bits64::Leaf) -> Translation {
        Translation {
            gpa: leaf.gpa,
            page_size: leaf.page_size,
            writable: leaf.rights & WRITE != 0,
            user: leaf.rights & USER != 0,
            executable: leaf.rights & NX != 0 || self.efer & EFER_NXE == 0,
        }
    }

    fn check(&self, entry: u64, level: u8) -> Result<(), WalkError> {
        let reserved = match self.mode() {
            Mode::Off => 0,
            Mode::Bits32 => bits32::reserved(entry, level, self.cr4 & CR4_PSE != 0),
            mode => bits64::reserved(entry, level, mode == Mode::Pae, self.efer & EFER_NXE != 0),
        };
        if entry & reserved == 0 { Ok(()) } else { Err(WalkError::Reserved { level }) }
    }
}

/// Bits 63 to `bits - 1` must be all alike (`AMD APM 2, 5.3.1`).
#[inline(always)]
const fn canonical(linear: u64, bits: u32) -> Result<(), WalkError> {
    let half = 1u64.wrapping_shl(bits.wrapping_sub(1));
    if linear.wrapping_add(half) < half.wrapping_mul(2) {
        Ok(())
    } else {
        Err(WalkError::NonCanonical)
    }
}
