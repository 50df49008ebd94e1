//! GNU Mach, the microkernel of the Hurd, with a task of ours as its only program.

use std::{ops::Range, path::PathBuf};

use anyhow::Result;

use super::{Boot, Compared, Differs, Play, Step, System};
use crate::{archive::Package, build, machine_args::Cpu};

pub(super) const SYSTEMS: &[System] = &[
    System {
        name: "mach-none",
        about: "GNU Mach 1.8 of 2022, 64-bit (bookworm), on the screen, until it finds no task to run",
        quick: true,
        play: Ok(Play::new(
            |_| mach(Package::amd64("bookworm", "gnumach-image-1-486"), "", None),
            &[Step::Screen("No bootstrap code loaded")],
        )
        .but(MACH)),
    },
    System {
        name: "mach-486",
        about: "GNU Mach 1.8 of 2022 for the 486 (bookworm) with a task of ours, to its last line",
        quick: true,
        play: Ok(
            MACH_TASK.boots(|_| with_task(Package::i386("bookworm", "gnumach-image-1-486"), 32))
        ),
    },
    System {
        name: "mach-pae",
        about: "GNU Mach 1.8 of 2025 with PAE (trixie) with a task of ours, to its last line",
        quick: false,
        play: Ok(
            MACH_TASK.boots(|_| with_task(Package::i386("trixie", "gnumach-image-1-486-pae"), 32))
        ),
    },
    System {
        name: "mach-amd64",
        about: "GNU Mach 1.8 of 2025, 64-bit (trixie) with a task of ours, to its last line",
        quick: false,
        play: Ok(
            MACH_TASK.boots(|_| with_task(Package::amd64("trixie", "gnumach-image-1-amd64"), 64))
        ),
    },
    System {
        name: "mach-debugger",
        about: "GNU Mach 1.8 of 2022 with its kernel debugger (bookworm) with a task of ours, to its last line",
        quick: false,
        play: Ok(MACH_TASK
            .boots(|_| with_task(Package::i386("bookworm", "gnumach-image-1.8-486-dbg"), 32))),
    },
];

/// What lies between the hole's start and where the RAM of a machine with 512 MiB ends: the firmware has its ACPI
/// tables above.
fn above(hole: &Range<u64>) -> u64 {
    let end = if Cpu::chosen().is_bochs() { 0x1fff_0000 } else { 0x1ffe_0000 };
    end - hole.start
}

/// What GNU Mach says of the machine.
const MACH: &[Differs] = &[
    Differs::Map {
        pattern: r"^biosmem: (?<first>[0-9a-f]+):(?<end>[0-9a-f]+), (?<kind>\w+)",
        usable: "available",
    },
    // Of the memory below 4 GiB it uses one range, so what is above the hole is lost to it too.
    Differs::Memory {
        pattern: r"(?:DMA32|DIRECTMAP): pages: \d+ \(\d+M\), free: (\d+)",
        unit: 4096.0,
        rounding: 0.0,
        less: above,
    },
    Differs::Memory {
        pattern: r"(?:DMA32|DIRECTMAP): pages: \d+ \(\d+M\), free: \d+ \((\d+)M\)",
        unit: 1048576.0,
        rounding: 1.0,
        less: above,
    },
    Differs::Lines {
        pattern: "^com0: at atbus0, port = 3f8x",
        why: "the UART of the link is hidden",
    },
    Differs::Varies {
        pattern: "^(?:com1|lpr0): at atbus([01]),",
        why: "its number is less by one where com0 is hidden",
    },
    Differs::Varies {
        pattern: r"^ELF section header table at (\w+)",
        why: "where GRUB puts it: behind a map of memory that is longer by the hole",
    },
    Differs::Varies { pattern: r"^RTC time is ([-\d]+ [:\d]+)", why: "the time" },
];

/// GNU Mach that runs a task of ours, its console on the serial port.
const MACH_TASK: Play = Play::new(
    |_| Ok(Boot { files: Vec::new(), commands: String::new(), disk: None }),
    &[Step::Serial("in ring 3"), Step::Serial("ports are two"), Step::Serial("traps, done")],
)
.comparing(&[Compared::Screen, Compared::Serial])
.but(MACH);

fn with_task(package: Package<'_>, bits: u32) -> Result<Boot> {
    mach(package, "console=com1", Some(build::mach_task(bits)?))
}

/// GNU Mach by the name of its package.
fn mach(package: Package<'_>, words: &str, task: Option<PathBuf>) -> Result<Boot> {
    let names = package.depends()?;
    // A meta package, or the kernel itself.
    let name = names.iter().find(|name| name.starts_with("gnumach-image-"));
    let package = Package { name: name.map_or(package.name, |name| name), ..package };
    let mut files = vec![(package.find(|path| path.starts_with("boot/gnumach"))?, "kernel".into())];
    let mut commands = format!("multiboot /boot/kernel {words}");
    if let Some(task) = task {
        files.push((task, "task".into()));
        commands += "\nmodule /boot/task task '$(task-create)' '$(task-resume)'";
    }
    Ok(Boot { files, commands, disk: None })
}
