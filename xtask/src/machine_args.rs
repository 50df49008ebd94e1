//! The options that describe the machine, shared by the commands.

use std::fmt;

use clap::{Args, ValueEnum};
use testing::Config;

/// CPUs there is support for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cpu {
    /// An AMD EPYC with SVM and nested paging, under QEMU.
    #[default]
    Amd,
    /// An older AMD Phenom, for what newer CPUs have and it has not.
    Phenom,
}

impl Cpu {
    /// The CPU, as QEMU's `-cpu` takes it.
    pub(crate) fn model(self) -> &'static str {
        match self {
            Self::Amd => "EPYC,+svm,+npt",
            Self::Phenom => "phenom,+svm,+npt",
        }
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
    pub(crate) fn apply(&self, config: &mut Config) {
        // There is one firmware and one link so far: both are what `config` already has.
        let (Firmware::Bios, Link::Uart) = (self.firmware, self.link);
        config.cpu = self.cpu.model().to_owned();
        config.smp = self.smp;
        config.memory = self.memory;
        config.icount = self.icount;
    }
}
