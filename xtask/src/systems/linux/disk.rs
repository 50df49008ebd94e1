//! Debian 12 as it is installed on a disk: systemd, GRUB in the MBR, a login on the serial console. Made by
//! debootstrap without a loop device; it needs root (through sudo) for the files of root's.
//!
//! Root logs in by itself and runs the tools that look for a virtual machine or describe the real one: they
//! must find the same with the VMM and without it.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use testing::Config;

use super::{differs, linux, once};
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

/// Serial numbers of the disks at controllers of their own.
const DISKS: [&str; 3] = ["ahci", "ehci", "xhci"];

const STEPS: &[Step] = &[
    Step::Serial("login: root (automatic login)"),
    Step::Serial("STATE running"),
    Step::Serial("END virt-what 0"),
    Step::Serial("END systemd-detect-virt 0"),
    Step::Serial("END cpuid 0"),
    Step::Serial("END x86info 0"),
    Step::Serial("END dmidecode 0"),
    Step::Serial("READ ahci 0"),
    Step::Serial("READ ehci 0"),
    Step::Serial("READ xhci 0"),
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
    play: Ok(linux(|_| boot("amd64", "linux-image-amd64"), STEPS, 290)
        .on(controllers)
        .but(differs::DISK)),
};

/// 32-bit.
pub(super) const I386: System = System {
    name: "debian-12-i386",
    about: "Debian 12 on disk, 32-bit: the same",
    quick: false,
    play: Ok(linux(|_| boot("i386", "linux-image-686-pae"), STEPS, 290)
        .on(controllers)
        .but(differs::DISK)),
};

/// A disk at each of a SATA, an EHCI and an xHCI controller, all with the same bytes: the guest's drivers fetch them.
fn controllers(config: &mut Config, dir: &Path) -> Result<()> {
    once(config, dir)?;
    let controllers = ["ich9-ahci", "usb-ehci", "qemu-xhci"];
    let disks = ["ide-hd,bus=ahci.0", "usb-storage,bus=ehci.0", "usb-storage,bus=xhci.0"];
    for ((name, controller), disk) in DISKS.iter().zip(controllers).zip(disks) {
        let file = dir.join(name);
        let bytes: Vec<u8> =
            (0_u32..1 << 20).flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes()).collect();
        fs::write(&file, bytes)?;
        config.extra.extend([
            "-drive".to_owned(),
            format!("if=none,id={name}-disk,format=raw,snapshot=on,file={}", file.display()),
            "-device".to_owned(),
            format!("{controller},id={name}"),
            "-device".to_owned(),
            format!("{disk},drive={name}-disk,serial={name}"),
        ]);
    }
    Ok(())
}

/// The disk starts by its own MBR. An image made by other scripts is another image.
fn boot(arch: &str, kernel: &str) -> Result<Boot> {
    let mut made_by = DefaultHasher::new();
    (PACKAGES, INSTALL, REPORT, BYTES).hash(&mut made_by);
    let image = paths::cache()?.join(format!("debian-12-{arch}-{:x}.img", made_by.finish()));
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
