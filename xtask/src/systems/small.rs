//! Small programs that live on what the BIOS offers: network boot, boot loaders, diagnosis, a game.

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use testing::Config;

use super::{Boot, Differs, Play, Step, System};
use crate::{archive::Package, sh};

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
        name: "ipxe-2.0",
        about: "iPXE 2.0 (sid), by DHCP and TFTP to a script and its command line",
        quick: false,
        play: Ok(Play::new(
            |_| linux16("sid", "ipxe", "usr/lib/ipxe/ipxe.lkrn"),
            &[Step::Screen("iPXE>")],
        )
        .on(net)
        .within(30)),
    },
    System {
        name: "grub-rescue",
        about: "GRUB's rescue disk 2.06 (bookworm), at its shell: disks, memory, PCI devices",
        quick: false,
        play: Ok(Play::new(
            rescue,
            &[
                Step::Screen("load the kernel first"),
                Step::Type("\n"),
                Step::Screen("Failed to boot both"),
                Step::Type("\n"),
                Step::Screen("GNU GRUB"),
                Step::Type("c"),
                Step::Screen("grub>"),
                Step::Type("clear\nls\n"),
                LISTED,
                Step::Type("lsmmap\nlspci\n"),
                Step::Screen("Unknown Bridge"),
            ],
        )
        .but(LSMMAP)
        .within(120)),
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
                Step::Type("ls\n"),
                LISTED,
                Step::Type("ls (fd0)/boot/grub\n"),
                Step::Screen("fonts"),
            ],
        )
        .within(120)),
    },
    System {
        name: "geodsp",
        about: "syslinux's geodsp (bookworm): what the BIOS says of a disk, all told",
        quick: true,
        play: Ok(Play::new(geodsp, &[Step::Screen("\nend")])),
    },
    System {
        name: "invaders",
        about: "grub-invaders 1.0.0 (bookworm), a game, to its start",
        quick: true,
        play: Ok(Play::new(invaders, &[Step::Screen("/ \\")]).but(STARS)),
    },
];

/// GRUB has looked for all devices, some of which let it wait, longer than a BIOS keeps keys.
const LISTED: Step = Step::Screen(")\ngrub>");

/// Two kinds of lines of GRUB's `lsmmap`.
const LSMMAP: &[Differs] = &[Differs::Map {
    pattern: r"base_addr = 0x(?<first>\w+), length = 0x(?<length>\w+), (?<kind>\w+) RAM",
    usable: "available",
}];

/// Stars pass by.
const STARS: &[Differs] =
    &[Differs::Varies { pattern: r"[ *-]+|$", why: "stars move by the clock" }];

/// A kernel that a 16-bit Linux would be started like.
pub(super) fn linux16(suite: &str, package: &str, file: &str) -> Result<Boot> {
    let kernel = Package::amd64(suite, package).file(file)?;
    Ok(Boot {
        files: vec![(kernel, "kernel".into())],
        commands: "linux16 /boot/kernel".into(),
        disk: None,
    })
}

fn net(config: &mut Config, dir: &Path) -> Result<()> {
    let script =
        "#!ipxe\necho fetched by TFTP\nshow net0/mac\nshow net0/ip\nshow net0/chip\nshell\n";
    fs::write(dir.join("go.ipxe"), script)?;
    config.extra.extend([
        "-netdev".to_owned(),
        format!("user,id=net,restrict=on,tftp={},bootfile=go.ipxe", dir.display()),
        "-device".to_owned(),
        "e1000,netdev=net,romfile=".to_owned(),
    ]);
    Ok(())
}

fn rescue(_: &Path) -> Result<Boot> {
    let floppy = Package::amd64("bookworm", "grub-rescue-pc")
        .file("usr/lib/grub-rescue/grub-rescue-floppy.img")?;
    Ok(Boot {
        commands: "set root=(hd1)\ndrivemap -s hd0 hd1\nchainloader +1".into(),
        disk: Some(floppy),
        ..Boot::default()
    })
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

fn geodsp(dir: &Path) -> Result<Boot> {
    let packed = Package::amd64("bookworm", "syslinux-common")
        .file("usr/lib/syslinux/mbr/diag/geodsp/geodsp1s.img.xz")?;
    // xz unpacks beside what it finds.
    let disk = dir.join("geodsp.img");
    fs::copy(packed, disk.with_extension("img.xz"))?;
    sh::output(Command::new("xz").arg("-d").arg(disk.with_extension("img.xz")))?;
    Ok(Boot {
        commands: "set root=(hd1)\ndrivemap -s hd0 hd1\nchainloader +1".into(),
        disk: Some(disk),
        ..Boot::default()
    })
}

fn invaders(_: &Path) -> Result<Boot> {
    let kernel = Package::amd64("bookworm", "grub-invaders").file("boot/invaders.exec")?;
    Ok(Boot {
        files: vec![(kernel, "invaders".into())],
        commands: "multiboot /boot/invaders".into(),
        disk: None,
    })
}
