//! Firmwares: other builds of SeaBIOS than the emulator brings, and what is no BIOS.

use std::path::Path;

use anyhow::Result;
use testing::Config;

use super::{Boot, Compared, Play, Step, System};
use crate::{archive::Package, build};

pub(super) const SYSTEMS: &[System] = &[
    seabios("seabios-1.14", "SeaBIOS 1.14 (bullseye)", |config, _| firmware(config, "bullseye")),
    seabios("seabios-1.16.2", "SeaBIOS 1.16.2 (bookworm)", |config, _| {
        firmware(config, "bookworm")
    }),
    seabios("seabios-1.16.3", "SeaBIOS 1.16.3 (trixie)", |config, _| firmware(config, "trixie")),
    seabios("seabios-1.17", "SeaBIOS 1.17 (sid)", |config, _| firmware(config, "sid")),
    bochs("bochs-bios-2.7", "the Bochs BIOS 2.7 (bookworm)"),
    System {
        name: "u-boot",
        about: "U-Boot for x86",
        quick: false,
        play: Err(
            "it offers no BIOS services and loads no multiboot kernel: nothing of ours can be started from it",
        ),
    },
    System {
        name: "ovmf",
        about: "OVMF and the EFI shells",
        quick: false,
        play: Err("UEFI without a BIOS part: the loader needs a BIOS so far"),
    },
    System {
        name: "dos-windows-bsd",
        about: "FreeDOS, Windows, the BSDs, Minix, Haiku, ReactOS, Debian before 11",
        quick: false,
        play: Err("neither Debian's archive nor crates.io has them"),
    },
];

const fn bochs(name: &'static str, about: &'static str) -> System {
    System {
        name,
        about,
        quick: false,
        play: Ok(SEABIOS.on(|config, _| {
            config.firmware = Some(
                Package::amd64("bookworm", "bochsbios")
                    .file("usr/share/bochs/BIOS-bochs-latest")?,
            );
            Ok(())
        })),
    }
}

const fn seabios(
    name: &'static str,
    about: &'static str,
    machine: fn(&mut Config, &Path) -> Result<()>,
) -> System {
    System { name, about, quick: false, play: Ok(SEABIOS.on(machine)) }
}

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
