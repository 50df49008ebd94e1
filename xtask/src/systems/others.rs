//! Systems that are no Linux.

use std::path::Path;

use anyhow::{Context as _, Result};
use testing::Config;

use super::{Boot, Compared, Differs, Play, Step, System};
use crate::{archive::Package, build};

/// Where the RAM of a machine with 512 MiB ends: QEMU has its ACPI tables above.
const RAM_END: u64 = 0x1ffe_0000;

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
        less: |hole| RAM_END - hole.start,
    },
    Differs::Memory {
        pattern: r"(?:DMA32|DIRECTMAP): pages: \d+ \(\d+M\), free: \d+ \((\d+)M\)",
        unit: 1048576.0,
        rounding: 1.0,
        less: |hole| RAM_END - hole.start,
    },
    Differs::Lines {
        pattern: "^com0: at atbus0, port = 3f8x",
        why: "the UART of the link is hidden",
    },
    Differs::Varies {
        pattern: "^com1: at atbus([01]),",
        why: "it is the first one where the other is hidden",
    },
    Differs::Varies { pattern: r"^RTC time is ([-\d]+ [:\d]+)", why: "the time" },
];

pub(super) const SYSTEMS: &[System] = &[
    System {
        name: "ipxe-1.0",
        about: "iPXE 1.0 (bookworm), until it finds no network and the BIOS finds nothing more to boot",
        quick: true,
        play: Ok(Play::new(
            |_| linux16("bookworm", "ipxe", "boot/ipxe.lkrn"),
            &[Step::Screen("No bootable device.")],
        )),
    },
    System {
        name: "mach-64",
        about: "GNU Mach 1.8 of 2022, 64-bit (bookworm), until it finds no task to run",
        quick: true,
        play: Ok(Play::new(
            |_| mach(Package::amd64("bookworm", "gnumach-image-1-486"), ""),
            &[Step::Screen("No bootstrap code loaded")],
        )
        .but(MACH)),
    },
    System {
        name: "mach-32",
        about: "GNU Mach 1.8 of 2022, 32-bit (bookworm), until it finds no task to run",
        quick: true,
        play: Ok(Play::new(
            |_| mach(Package::i386("bookworm", "gnumach-image-1-486"), "console=com1"),
            &[Step::Serial("No bootstrap code loaded")],
        )
        .comparing(&[Compared::Serial])
        .but(MACH)),
    },
    System {
        name: "memdisk",
        about: "GRUB's rescue floppy 2.06 in syslinux's memdisk (bookworm), to what its shell lists",
        quick: false,
        play: Ok(Play::new(
            memdisk,
            &[
                Step::Screen("load the kernel first"),
                Step::Type("\n"),
                Step::Screen("Failed to boot both"),
                Step::Type("\n"),
                Step::Screen("GNU GRUB"),
                Step::Type("c"),
                Step::Screen("grub>"),
                Step::Type("ls\nls (fd0)/boot/grub\n"),
                Step::Screen("fonts"),
            ],
        )
        .within(120)),
    },
    System {
        name: "seabios-1.14",
        about: "SeaBIOS 1.14 (bullseye) under the test guest `modes`, to its verdict",
        quick: true,
        play: Ok(SEABIOS.on(|config| firmware(config, "bullseye"))),
    },
];

/// What a firmware is judged by.
const SEABIOS: Play = Play::new(modes, &[Step::Serial("VERDICT ")]).comparing(&[Compared::Serial]);

fn modes(_: &Path) -> Result<Boot> {
    Ok(Boot {
        files: vec![(build::test_guest("modes")?, "guest".into())],
        commands: "multiboot /boot/guest".into(),
        disk: None,
    })
}

/// Another SeaBIOS than the emulator's own.
fn firmware(config: &mut Config, suite: &str) -> Result<()> {
    let file = Package::amd64(suite, "seabios").file("usr/share/seabios/bios-256k.bin")?;
    config.firmware = Some(file);
    Ok(())
}

/// A floppy as a disk in memory.
fn memdisk(_: &Path) -> Result<Boot> {
    let memdisk = Package::amd64("bookworm", "syslinux-common").file("usr/lib/syslinux/memdisk")?;
    let floppy = Package::amd64("bookworm", "grub-rescue-pc")
        .file("usr/lib/grub-rescue/grub-rescue-floppy.img")?;
    Ok(Boot {
        files: vec![(memdisk, "memdisk".into()), (floppy, "floppy".into())],
        commands: "linux16 /boot/memdisk floppy raw\ninitrd16 /boot/floppy".into(),
        disk: None,
    })
}

fn mach(package: Package<'_>, words: &str) -> Result<Boot> {
    let names = package.depends()?;
    let name = names.iter().find(|name| name.starts_with("gnumach-image-"));
    let package = Package { name: name.context("no kernel of GNU Mach")?, ..package };
    let kernel = package.find(|path| path.starts_with("boot/gnumach"))?;
    Ok(Boot {
        files: vec![(kernel, "kernel".into())],
        commands: format!("multiboot /boot/kernel {words}"),
        disk: None,
    })
}

/// A kernel that a 16-bit Linux would be started like.
fn linux16(suite: &str, package: &str, file: &str) -> Result<Boot> {
    let kernel = Package::amd64(suite, package).file(file)?;
    Ok(Boot {
        files: vec![(kernel, "kernel".into())],
        commands: "linux16 /boot/kernel".into(),
        disk: None,
    })
}
