//! The options that describe the machine, shared by the commands.

use std::{fmt, sync::OnceLock};

use anyhow::Result;
use clap::{Args, ValueEnum};
use testing::Config;

use crate::bochs;

/// CPUs there is support for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cpu {
    /// An AMD EPYC with SVM and nested paging, under QEMU.
    #[default]
    Amd,
    /// An older AMD Phenom, for what newer CPUs have and it has not.
    Phenom,
    /// An Intel Core i7-4770 with VMX, EPT and unrestricted guest, under Bochs.
    Intel,
    /// An AMD Ryzen under Bochs, which has what QEMU's AMD CPUs have not: saved next RIP, decode assists.
    Ryzen,
    /// An AMD FX (family 15h) under Bochs.
    Zambezi,
}

/// The CPU that was asked for where nobody says more, once it is known.
static CHOSEN: OnceLock<Cpu> = OnceLock::new();

impl Cpu {
    /// The CPU, as its emulator names it.
    fn model(self) -> &'static str {
        match self {
            Self::Amd => "EPYC,+svm,+npt",
            Self::Phenom => "phenom,+svm,+npt",
            Self::Intel => "corei7_haswell_4770",
            Self::Ryzen => "ryzen",
            Self::Zambezi => "zambezi",
        }
    }

    /// The same CPU without a feature, by the name that CPUID's flags usually have.
    pub(crate) fn without(self, feature: &str) -> String {
        format!("{},-{feature}", self.model())
    }

    /// Whether it is Intel's, and not AMD's.
    pub(crate) fn is_intel(self) -> bool {
        self == Self::Intel
    }

    /// Whether Bochs is its emulator, and not QEMU.
    pub(crate) fn is_bochs(self) -> bool {
        matches!(self, Self::Intel | Self::Ryzen | Self::Zambezi)
    }

    /// The emulator and its version, as in `QEMU 7.2`.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(crate) fn emulator(self) -> Result<String> {
        if self.is_bochs() { bochs::version() } else { crate::bench::qemu_version() }
    }

    /// Makes it the CPU of all machines of this process that are not told another.
    pub(crate) fn choose(self) {
        // The first one counts: a process is told once.
        let _ = CHOSEN.set(self);
    }

    /// The CPU of this process's machines.
    pub(crate) fn chosen() -> Self {
        CHOSEN.get().copied().unwrap_or_default()
    }

    /// Takes from `config` the extension that the VMM conceals from its guest.
    pub(crate) fn without_extension(config: &mut Config) {
        if config.bochs.is_some() {
            let extension = if Self::chosen() == Self::Intel { "vmx" } else { "svm" };
            config.cpu += &format!(",-{extension}");
        } else {
            config.cpu = config.cpu.replace(",+svm", "").replace(",+npt", "") + ",-svm";
        }
    }

    /// Puts it into `config`.
    ///
    /// # Errors
    /// When its emulator cannot be had.
    pub(crate) fn put(self, config: &mut Config) -> Result<()> {
        config.cpu = self.model().to_owned();
        config.bochs = if self.is_bochs() { Some(bochs::root()?) } else { None };
        Ok(())
    }
}

/// Firmwares there is support for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Firmware {
    /// Legacy BIOS: SeaBIOS.
    #[default]
    Bios,
}

/// Links there is support for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Link {
    /// The UART at 3F8h.
    #[default]
    Uart,
}

macro_rules! show_as_typed {
    ($($name:ty),*) => { $(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let value = self.to_possible_value();
                f.write_str(value.as_ref().map_or("", |value| value.get_name()))
            }
        }
    )* };
}

show_as_typed!(Cpu, Firmware, Link);

/// The machine.
#[derive(Args, Clone, Debug)]
pub(crate) struct MachineArgs {
    /// The CPU.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) cpu: Cpu,
    /// The firmware.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) firmware: Firmware,
    /// The link.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) link: Link,
    /// Number of CPUs.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub(crate) smp: u32,
    /// RAM in MiB; GRUB and the VMM need 64.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(64..))]
    pub(crate) memory: u64,
    /// Count instructions: one is a nanosecond of the machine's time.
    #[arg(long)]
    pub(crate) icount: bool,
}

impl MachineArgs {
    /// Puts the options into `config`.
    ///
    /// # Errors
    /// When the emulator cannot be had.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<()> {
        // There is one firmware and one link so far: both are what `config` already has.
        let (Firmware::Bios, Link::Uart) = (self.firmware, self.link);
        self.cpu.put(config)?;
        config.smp = self.smp;
        config.memory = self.memory;
        config.icount = self.icount;
        Ok(())
    }
}
