//! Linux: Debian's kernels of five suites, the kernel's own tests of the CPU, Debian as it is installed on a
//! disk, hypervisors as guests.
//!
//! What is compared is all that the guest tells of its machine: the kernel's log and what it makes of CPU,
//! ports, interrupts, PCI and SMBIOS, line by line. The order of the lines is not: the kernel's threads
//! print as they come. The bare machine has no SVM or VMX either, for that is what a guest is told.

mod differs;
mod disk;
mod hypervisors;
mod kernels;
mod kselftest;

use std::path::Path;

use anyhow::Result;
use testing::Config;

use super::{Compared, Play, Step, System};
use crate::machine_args::Cpu;
use kernels::Kernel;

/// Words for the userland: work, tell all of the machine, power off.
const ALL: &str = "ramooflax.work ramooflax.iomem ramooflax.machine ramooflax.do=poweroff";
/// The stated point: the userland of the kernel `$version` has done its work, and the machine has powered off.
macro_rules! to_the_end {
    ($version:literal) => {
        &[
            Step::Serial(concat!("USERLAND ", $version)),
            Step::Serial("WORKLOAD OK"),
            Step::Serial("READY"),
            Step::Serial("Power down"),
            Step::Off,
        ]
    };
}

/// A machine as every guest of this file has it: a reset does not go unseen as another boot.
fn once(config: &mut Config, _: &Path) -> Result<()> {
    config.no_reboot = true;
    Ok(())
}

/// The same without CMPXCHG16B, which QEMU 7.2 gets wrong on the bare machine too: the memory allocator of Linux
/// 6.12 and later dies of it.
fn without_cx16(config: &mut Config, dir: &Path) -> Result<()> {
    if config.bochs.is_none() {
        config.cpu += ",-cx16";
    }
    once(config, dir)
}

/// Linux on another firmware than the emulator's own, which `machine` puts in.
pub(super) const fn on_firmware(machine: fn(&mut Config, &Path) -> Result<()>) -> Play {
    linux(|dir| CLOUD_6_1.boot(dir, ALL), to_the_end!("6.1."), 150).on(machine)
}

/// The steps where the firmware leaves ACPI's tables to the machine and that has none: the kernel only halts.
pub(super) const TO_A_HALT: &[Step] = &[
    Step::Serial("USERLAND 6.1."),
    Step::Serial("WORKLOAD OK"),
    Step::Serial("READY"),
    Step::Serial("reboot: System halted"),
];

/// A play of a Linux, in `limit` seconds.
const fn linux(boot: super::BootFn, steps: &'static [Step], limit: u64) -> Play {
    Play::new(boot, steps)
        .on(once)
        .bare(Cpu::without_extension)
        .comparing(&[Compared::Lines])
        .within(limit)
        .but(differs::LINUX)
}

/// A kernel from its start through `steps`, to a power-off.
const fn kernel(
    name: &'static str,
    about: &'static str,
    steps: &'static [Step],
    boot: super::BootFn,
) -> System {
    System { name, about, quick: false, play: Ok(linux(boot, steps, 150)) }
}

/// The same, newer than 6.11.
const fn newer(
    name: &'static str,
    about: &'static str,
    steps: &'static [Step],
    boot: super::BootFn,
) -> System {
    System { name, about, quick: false, play: Ok(linux(boot, steps, 150).on(without_cx16)) }
}

const CLOUD_6_1: Kernel = Kernel::amd64("bookworm", "linux-image-cloud-amd64");
const CLOUD_6_12: Kernel = Kernel::amd64("trixie", "linux-image-cloud-amd64");
const CLOUD_7_2: Kernel = Kernel::amd64("sid", "linux-image-cloud-amd64");

pub(super) const SYSTEMS: &[System] = &[
    newer(
        "linux-7.2",
        "Linux 7.2, 64-bit (sid, cloud), to its power-off",
        to_the_end!("7."),
        |dir| CLOUD_7_2.boot(dir, ALL),
    ),
    newer(
        "linux-6.12",
        "Linux 6.12, 64-bit (trixie, cloud), to its power-off",
        to_the_end!("6.12."),
        |dir| CLOUD_6_12.boot(dir, ALL),
    ),
    kernel(
        "linux-6.1",
        "Linux 6.1, 64-bit (bookworm), to its power-off",
        to_the_end!("6.1."),
        |dir| Kernel::amd64("bookworm", "linux-image-amd64").boot(dir, ALL),
    ),
    kernel(
        "linux-5.10",
        "Linux 5.10, 64-bit (bullseye, cloud), to its power-off",
        to_the_end!("5.10."),
        |dir| Kernel::amd64("bullseye", "linux-image-cloud-amd64").boot(dir, ALL),
    ),
    System {
        quick: true,
        ..kernel(
            "linux-6.1-686-pae",
            "Linux 6.1, 32-bit with PAE (bookworm), to its power-off",
            to_the_end!("6.1."),
            |d| Kernel::i386("bookworm", "linux-image-686-pae").boot(d, ALL),
        )
    },
    kernel(
        "linux-6.1-686",
        "Linux 6.1, 32-bit, two levels (bookworm), to its power-off",
        to_the_end!("6.1."),
        |dir| Kernel::i386("bookworm", "linux-image-686").boot(dir, ALL),
    ),
    kernel(
        "linux-5.10-686-pae",
        "Linux 5.10, 32-bit with PAE (bullseye), to its power-off",
        to_the_end!("5.10."),
        |dir| Kernel::i386("bullseye", "linux-image-686-pae").boot(dir, ALL),
    ),
    kernel(
        "linux-5.10-686",
        "Linux 5.10, 32-bit, two levels (bullseye), to its power-off",
        to_the_end!("5.10."),
        |dir| Kernel::i386("bullseye", "linux-image-686").boot(dir, ALL),
    ),
    System {
        name: "linux-la57",
        about: "Linux 6.1 (bookworm, cloud) with five levels of paging, to its power-off",
        quick: false,
        play: Ok(linux(
            |dir| CLOUD_6_1.boot(dir, ALL),
            // The kernel takes the flag away when it does not use them.
            &[Step::Serial(" la57"), Step::Serial("READY"), Step::Serial("Power down"), Step::Off],
            150,
        )
        .on(|config, dir| {
            config.cpu += ",+la57";
            once(config, dir)
        })),
    },
    disk::AMD64,
    disk::I386,
    kselftest::ON_64_BITS,
    kselftest::OF_32_BITS,
    kselftest::ON_686,
    hypervisors::KVM,
    hypervisors::XEN_4_17,
    hypervisors::XEN_4_20,
];
