//! Firmwares: other builds of SeaBIOS than the emulator brings, and what is no BIOS.

use std::{fs, path::Path};

use anyhow::{Result, ensure as must};
use testing::Config;

use super::{Boot, Compared, Play, Step, System, linux};
use crate::{archive::Package, build};

pub(super) const SYSTEMS: &[System] = &[
    seabios(
        "seabios-1.14",
        "SeaBIOS 1.14 (bullseye) under the test guest `modes`, to its verdict",
        SEABIOS.on(v1_14),
    ),
    seabios(
        "seabios-1.14-linux",
        "SeaBIOS 1.14 (bullseye) under Linux 6.1, to its power-off",
        linux::on_firmware(v1_14),
    ),
    seabios(
        "seabios-1.16.2",
        "SeaBIOS 1.16.2 (bookworm) under the test guest `modes`, to its verdict",
        SEABIOS.on(v1_16_2),
    ),
    seabios(
        "seabios-1.16.2-linux",
        "SeaBIOS 1.16.2 (bookworm) under Linux 6.1, to its power-off",
        linux::on_firmware(v1_16_2),
    ),
    seabios(
        "seabios-1.16.3",
        "SeaBIOS 1.16.3 (trixie) under the test guest `modes`, to its verdict",
        SEABIOS.on(v1_16_3),
    ),
    seabios(
        "seabios-1.16.3-linux",
        "SeaBIOS 1.16.3 (trixie) under Linux 6.1, to its power-off",
        linux::on_firmware(v1_16_3),
    ),
    seabios(
        "seabios-1.17",
        "SeaBIOS 1.17 (sid) under the test guest `modes`, to its verdict",
        SEABIOS.on(v1_17),
    ),
    seabios(
        "seabios-1.17-linux",
        "SeaBIOS 1.17 (sid) under Linux 6.1, to its power-off",
        linux::on_firmware(v1_17).on_bochs(linux::TO_A_HALT),
    ),
    System {
        name: "bochs-bios",
        about: "the Bochs BIOS",
        quick: false,
        play: Err(
            "made for Bochs, and not for this emulator: here it hangs before its first line, without us too",
        ),
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

const fn seabios(name: &'static str, about: &'static str, play: Play) -> System {
    System { name, about, quick: false, play: Ok(play) }
}

fn v1_14(config: &mut Config, _: &Path) -> Result<()> {
    seabios_of(config, "bullseye", "1.14.")
}

fn v1_16_2(config: &mut Config, _: &Path) -> Result<()> {
    seabios_of(config, "bookworm", "1.16.2")
}

fn v1_16_3(config: &mut Config, _: &Path) -> Result<()> {
    seabios_of(config, "trixie", "1.16.3")
}

fn v1_17(config: &mut Config, _: &Path) -> Result<()> {
    seabios_of(config, "sid", "1.17.")
}

/// What a firmware is judged by. These start no VGA on Bochs, whose video BIOS they find neither in a ROM of the PCI
/// device's nor in QEMU's fw_cfg.
const SEABIOS: Play = Play::new(modes, &[Step::Serial("VERDICT "), Step::NotSerial("FAIL")])
    .comparing(&[Compared::Screen, Compared::Serial])
    .dark_on_bochs();

fn modes(_: &Path) -> Result<Boot> {
    Ok(Boot {
        files: vec![(build::test_guest("modes")?, "guest".into())],
        commands: "multiboot /boot/guest".into(),
        disk: None,
    })
}

/// Another SeaBIOS than the emulator's own: that of `suite`, which must be `version`.
fn seabios_of(config: &mut Config, suite: &str, version: &str) -> Result<()> {
    let file = Package::amd64(suite, "seabios").file("usr/share/seabios/bios-256k.bin")?;
    let bytes = fs::read(&file)?;
    must!(
        bytes.windows(version.len()).any(|part| part == version.as_bytes()),
        "SeaBIOS of {suite} is not {version}: name the row after what it is now"
    );
    config.firmware = Some(file);
    config.no_reboot = true;
    Ok(())
}
