//! Debian 12 as it is installed on a disk: systemd, GRUB in the MBR, a login on the serial console. Made by
//! debootstrap without a loop device; it needs root (through sudo) for the files of root's.
//!
//! Root logs in by itself and runs the tools that look for a virtual machine or describe the real one: they
//! must find the same with the VMM and without it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{differs, linux};
use crate::{
    archive, disk,
    ensure::{self, as_root},
    paths, sh,
    systems::{Boot, Step, System},
};

/// The tools, and what an installed system has.
const PACKAGES: &str = "systemd-sysv,dbus,udev,initramfs-tools,zstd,kmod,virt-what,cpuid,x86info,dmidecode,\
                        spectre-meltdown-checker";
/// Size of the file system; the file has holes.
const BYTES: u64 = 1200 << 20;
/// What makes a machine of the tree; its first argument is the tree.
const INSTALL: &str = include_str!("../../../assets/debian-install");
/// What root runs on login.
const REPORT: &str = include_str!("../../../assets/debian-report");

const STEPS: &[Step] = &[
    Step::Serial("login: root (automatic login)"),
    Step::Serial("STATE running"),
    Step::Serial("END virt-what"),
    Step::Serial("END spectre-meltdown-checker"),
    Step::Serial("svm not available"),
    Step::Serial("READY"),
    Step::Serial("Power down"),
    Step::Off,
];

/// 64-bit.
pub(super) const AMD64: System = System {
    name: "debian-12",
    about: "Debian 12 on disk, 64-bit: systemd, login, virt-what, cpuid, dmidecode and more, power-off",
    quick: false,
    play: Ok(linux(|_| boot("amd64", "linux-image-amd64"), STEPS, 290).but(differs::DISK)),
};

/// 32-bit.
pub(super) const I386: System = System {
    name: "debian-12-i386",
    about: "Debian 12 on disk, 32-bit: the same",
    quick: false,
    play: Ok(linux(|_| boot("i386", "linux-image-686-pae"), STEPS, 290).but(differs::DISK)),
};

/// The disk starts by its own MBR.
fn boot(arch: &str, kernel: &str) -> Result<Boot> {
    let image = paths::cache()?.join(format!("debian-12-{arch}.img"));
    if !image.exists() {
        install(&image, arch, kernel).with_context(|| format!("making {}", image.display()))?;
    }
    Ok(Boot {
        files: Vec::new(),
        commands: "drivemap -s hd0 hd1\nset root=(hd1)\nchainloader +1".into(),
        disk: Some(image),
    })
}

fn install(image: &Path, arch: &str, kernel: &str) -> Result<()> {
    ensure::packages(&[
        ("/usr/sbin/debootstrap", "debootstrap"),
        ("/usr/sbin/mke2fs", "e2fsprogs"),
    ])?;
    println!("installing Debian 12 for {arch} on a disk: a few minutes");
    let tree = paths::cache()?.join(format!("debian-12-{arch}.tree"));
    let remove = || sh::output(as_root("rm").args(["-rf", "--one-file-system"]).arg(&tree));
    // One that was interrupted.
    remove()?;
    sh::output(
        as_root("/usr/sbin/debootstrap")
            .args(["--variant=minbase", &format!("--arch={arch}")])
            .arg(format!("--include={PACKAGES},{kernel}"))
            .arg("bookworm")
            .args([&tree, &PathBuf::from(archive::mirror()?)]),
    )
    .context(ensure::NETWORK)?;
    let script = tempfile::tempdir()?;
    let at = |name: &str, text: &str| -> Result<PathBuf> {
        let path = script.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    let (setup, report) = (at("install", INSTALL)?, at("report", REPORT)?);
    sh::output(as_root("sh").arg(&setup).arg(&tree).arg(&report))?;
    let new = image.with_extension("new");
    disk::empty(&new, BYTES, disk::LINUX)?;
    let blocks = format!("{}k", BYTES >> 10);
    // Without what GRUB 2.06 cannot read.
    sh::output(
        as_root("/usr/sbin/mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-O", "^metadata_csum_seed,^orphan_file"])
            .args(["-L", "debian", "-m", "0"])
            .args(["-E", &format!("offset={},root_owner=0:0", disk::PARTITION_AT)])
            .arg("-d")
            .args([&tree, &new, &PathBuf::from(blocks)]),
    )?;
    remove()?;
    fs::rename(&new, image).with_context(|| format!("{}", image.display()))
}
