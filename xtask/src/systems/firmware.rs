//! Firmwares: other builds of SeaBIOS than the emulator brings, and what is no BIOS.

use std::path::Path;

use anyhow::Result;
use testing::Config;

use super::{Boot, Compared, Play, Step, System};
use crate::{archive::Package, build};

pub(super) const SYSTEMS: &[System] = &[
    seabios("seabios-1.14", "SeaBIOS 1.14 (bullseye)", |config, _| seabios_of(config, "bullseye")),
    seabios("seabios-1.16.2", "SeaBIOS 1.16.2 (bookworm)", |config, _| {
        seabios_of(config, "bookworm")
    }),
    seabios("seabios-1.16.3", "SeaBIOS 1.16.3 (trixie)", |config, _| seabios_of(config, "trixie")),
    seabios("seabios-1.17", "SeaBIOS 1.17 (sid)", |config, _| seabios_of(config, "sid")),
    System {
        name: "bochs-bios",
        about: "the Bochs BIOS",
        quick: false,
        play: Err("made for Bochs: on QEMU it hangs before its first line, without us too"),
    },
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

const fn seabios(
    name: &'static str,
    about: &'static str,
    machine: fn(&mut Config, &Path) -> Result<()>,
) -> System {
    System { name, about, quick: false, play: Ok(SEABIOS.on(machine)) }
}

/// What a firmware is judged by.
const SEABIOS: Play = Play::new(modes, &[Step::Serial("VERDICT "), Step::NotSerial("FAIL")])
    .comparing(&[Compared::Serial]);

fn modes(_: &Path) -> Result<Boot> {
    Ok(Boot {
        files: vec![(build::test_guest("modes")?, "guest".into())],
        commands: "multiboot /boot/guest".into(),
        disk: None,
    })
}

/// Another SeaBIOS than the emulator's own.
fn seabios_of(config: &mut Config, suite: &str) -> Result<()> {
    let file = Package::amd64(suite, "seabios").file("usr/share/seabios/bios-256k.bin")?;
    config.firmware = Some(file);
    Ok(())
}
