//! What a multiboot loader hands over: Multiboot Specification 0.6.96 and Multiboot2 2.0.
use core::fmt;

use crate::e820::{Entry, Full, Kind, Map};
use crate::{Phys, le};

mod one;
mod two;

/// Most modules that are kept; later ones are passed over.
pub const MAX_MODULES: usize = 4;
/// Longest string believed, its final 0 included.
const MAX_STRING: usize = 4096;

/// Which specification the loader follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Multiboot 1.
    One,
    /// Multiboot 2.
    Two,
}

impl Protocol {
    /// The protocol whose value a loader left in EAX.
    #[must_use]
    pub const fn from_magic(magic: u32) -> Option<Self> {
        match magic {
            0x2bad_b002 => Some(Self::One),
            0x36d7_6289 => Some(Self::Two),
            _ => None,
        }
    }
}

/// A file the loader put into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Module<'a> {
    /// Physical address of its first byte.
    pub start: u32,
    /// Physical address after its last byte; never below `start`.
    pub end: u32,
    /// Its command line, without the final 0.
    pub string: &'a [u8],
}

/// Why the loader's information is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// EAX holds neither protocol's value.
    Magic(u32),
    /// A structure lies where memory cannot be read.
    Unreadable {
        /// What should be there.
        what: &'static str,
        /// Physical address.
        at: u32,
    },
    /// A structure's length or address is impossible.
    Malformed {
        /// The structure.
        what: &'static str,
        /// Physical address.
        at: u32,
    },
    /// The loader gave neither a memory map nor memory sizes.
    NoMemoryMap,
    /// The memory map has too many entries.
    MapFull,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic(magic) => write!(
                f,
                "not started by a multiboot loader: EAX = {magic:#x}, expected 0x2badb002 or 0x36d76289"
            ),
            Self::Unreadable { what, at } => {
                write!(
                    f,
                    "multiboot {what} at {at:#x} is outside the memory that can be read; expected below 4 GiB"
                )
            }
            Self::Malformed { what, at } => {
                write!(
                    f,
                    "multiboot {what} at {at:#x} makes no sense: not the expected length or address"
                )
            }
            Self::NoMemoryMap => {
                write!(f, "the loader gave no memory map; expected one, or at least memory sizes")
            }
            Self::MapFull => Full.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl From<Full> for Error {
    fn from(_: Full) -> Self {
        Self::MapFull
    }
}

/// What the loader said.
#[derive(Clone, Debug)]
pub struct Info<'a> {
    /// The specification it follows.
    pub protocol: Protocol,
    /// The image's command line, without the final 0; empty if there is none.
    pub command_line: &'a [u8],
    /// The memory map, normalised.
    pub map: Map,
    /// A copy of the ACPI RSDP, the newer one if there are two; multiboot 2 only.
    pub acpi_rsdp: Option<&'a [u8]>,
    /// The BIOS drive the machine was booted from.
    pub boot_drive: Option<u8>,
    modules: [Module<'a>; MAX_MODULES],
    modules_len: usize,
}

impl<'a> Info<'a> {
    /// Reads what the loader left: `magic` is EAX and `info` EBX at the image's entry.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse<P: Phys + ?Sized>(mem: &'a P, magic: u32, info: u32) -> Result<Info<'a>, Error> {
        let mut out = Self::empty();
        out.gather(mem, magic, info)?;
        Ok(out)
    }

    /// What can be understood of information that [`Info::parse`] refuses, up to where it stopped: the
    /// command line and the boot drive come first.
    #[must_use]
    pub fn at_least<P: Phys + ?Sized>(mem: &'a P, magic: u32, info: u32) -> Info<'a> {
        let mut out = Self::empty();
        // Whoever asks has been told the error.
        let _ = out.gather(mem, magic, info);
        out
    }

    const fn empty() -> Self {
        Self {
            protocol: Protocol::One,
            command_line: &[],
            map: Map::new(),
            acpi_rsdp: None,
            boot_drive: None,
            modules: [Module { start: 0, end: 0, string: &[] }; MAX_MODULES],
            modules_len: 0,
        }
    }

    fn gather<P: Phys + ?Sized>(&mut self, mem: &'a P, magic: u32, info: u32) -> Result<(), Error> {
        self.protocol = Protocol::from_magic(magic).ok_or(Error::Magic(magic))?;
        let sizes = match self.protocol {
            Protocol::One => one::parse(mem, info, self)?,
            Protocol::Two => two::parse(mem, info, self)?,
        };
        if self.map.entries().is_empty() {
            let (lower, upper) = sizes.ok_or(Error::NoMemoryMap)?;
            self.add_range(0, u64::from(lower) << 10, Kind::USABLE)?;
            self.add_range(1 << 20, u64::from(upper) << 10, Kind::USABLE)?;
        }
        self.map.normalise();
        Ok(())
    }

    /// The first modules, at most [`MAX_MODULES`].
    #[must_use]
    pub fn modules(&self) -> &[Module<'a>] {
        self.modules.get(..self.modules_len).unwrap_or(&[])
    }

    /// Adds a module if there is room.
    fn add_module(&mut self, module: Module<'a>, at: u32) -> Result<(), Error> {
        if module.end < module.start {
            return Err(Error::Malformed { what: "module", at });
        }
        if let Some(slot) = self.modules.get_mut(self.modules_len) {
            *slot = module;
            self.modules_len = self.modules_len.saturating_add(1);
        }
        Ok(())
    }

    /// Adds a range of memory; merges the map when it is full of pieces.
    fn add_range(&mut self, base: u64, len: u64, kind: u32) -> Result<(), Error> {
        let entry = Entry::new(base, len, kind);
        if self.map.push(entry).is_err() {
            self.map.normalise();
            self.map.push(entry)?;
        }
        Ok(())
    }

    /// Adds a range as both protocols' maps hold it: base, length, e820 type.
    fn add_entry(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let fields = (le::u64_at(bytes, 0), le::u64_at(bytes, 8), le::u32_at(bytes, 16));
        if let (Some(base), Some(len), Some(kind)) = fields {
            self.add_range(base, len, kind)?;
        }
        Ok(())
    }
}
