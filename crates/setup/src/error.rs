//! Why the VMM could not be started.

use core::fmt;

use handover::seal::Misfit;
use paging::table::MapError;

use crate::cpu::Unfit;
use crate::image;

/// Why the VMM could not be started. Shown to a person: what happened, what was expected, what
/// to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The CPU lacks something.
    Cpu(Unfit),
    /// The boot module is not the resident image of this build.
    Module(Misfit),
    /// The boot module cannot be loaded.
    Image(image::Error),
    /// More CPUs than memory below 4 GiB could serve.
    TooManyCpus(u32),
    /// No range of usable RAM below 4 GiB holds this many bytes.
    NoRoom(u64),
    /// No usable page below the end of conventional memory, this many KiB.
    NoLowMemory(u16),
    /// The BIOS data area or the interrupt vectors cannot be read or written.
    BiosData,
    /// The memory map has more ranges than can be passed on.
    MapFull,
    /// A firmware table could not be changed.
    Firmware(firmware::Error),
    /// The memory sized for the page tables did not hold them.
    Tables(MapError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Cpu(unfit) => write!(f, "{unfit}"),
            Error::Module(misfit) => write!(
                f,
                "the boot module {}. Expected: the resident image built together with this loader. \
                 Install both anew.",
                match misfit {
                    Misfit::NoNote => "is not Ramooflax's resident image, or only its beginning",
                    Misfit::Version => "is a resident image of another build",
                    Misfit::Damaged => "is damaged: its checksum is wrong",
                }
            ),
            Error::Image(error) => write!(
                f,
                "the boot module cannot be loaded: {error}. Expected: the resident image built \
                 together with this loader. Install both anew."
            ),
            Error::TooManyCpus(cpus) => write!(
                f,
                "the firmware reports {cpus} CPUs. Expected: as many as fit a gigabyte of VMM \
                 memory. Switch some off in the firmware's setup."
            ),
            Error::NoRoom(len) => write!(
                f,
                "no room for the VMM. Expected: {} KiB of usable RAM in one piece between 1 MiB \
                 and 4 GiB. Give the machine more memory.",
                len >> 10
            ),
            Error::NoLowMemory(kib) => write!(
                f,
                "no free page of conventional memory. Expected: 4 KiB of usable RAM below the \
                 end the BIOS reports, {kib} KiB. Start Ramooflax before other programs that stay \
                 resident."
            ),
            Error::BiosData => f.write_str(
                "the interrupt vectors or the BIOS data area below 500h cannot be changed. \
                 Expected: RAM. Start Ramooflax on a PC with a BIOS.",
            ),
            Error::MapFull => f.write_str(
                "the firmware's memory map has too many ranges. Expected: at most 96, of which \
                 64 are RAM. Please report this machine.",
            ),
            Error::Firmware(error) => write!(
                f,
                "{error}. Expected: ACPI tables that let the other CPUs be disabled, for they \
                 would run unsupervised. Switch them off in the firmware's setup."
            ),
            Error::Tables(error) => write!(
                f,
                "page tables could not be built ({error:?}). Expected: as many pages as were \
                 computed before. Please report this machine."
            ),
        }
    }
}

impl core::error::Error for Error {}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        Error::Cpu(unfit)
    }
}

impl From<Misfit> for Error {
    fn from(misfit: Misfit) -> Self {
        Error::Module(misfit)
    }
}

impl From<image::Error> for Error {
    fn from(error: image::Error) -> Self {
        Error::Image(error)
    }
}

impl From<firmware::Error> for Error {
    fn from(error: firmware::Error) -> Self {
        Error::Firmware(error)
    }
}

impl From<firmware::e820::Full> for Error {
    fn from(_: firmware::e820::Full) -> Self {
        Error::MapFull
    }
}

impl From<MapError> for Error {
    fn from(error: MapError) -> Self {
        Error::Tables(error)
    }
}
