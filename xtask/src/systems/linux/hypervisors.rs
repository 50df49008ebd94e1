//! Hypervisors as guests. They must say what they say on a CPU without SVM, and go on as they do there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{
    CLOUD_6_1, differs,
    kernels::{Extra, Kernel},
    linux, once,
};
use crate::{
    archive::Package,
    machine_args::Cpu,
    sh,
    systems::{Boot, Play, Step, System},
};

/// KVM's modules in a guest: refused, and no device appears.
pub(super) const KVM: System = System {
    name: "linux-kvm",
    about: "KVM of Linux 6.1 (bookworm, cloud): its modules are loaded, and say that there is no SVM or VMX",
    quick: false,
    play: Ok(linux(
        kvm,
        &[
            Step::Serial("MODULE 3-kvm-"),
            Step::Serial("no hardware support for 'kvm_"),
            Step::Serial("READY"),
            Step::Serial("Power down"),
            Step::Off,
        ],
        150,
    )),
};

/// Xen of Debian 12.
pub(super) const XEN_4_17: System = System {
    name: "xen-4.17",
    about: "Xen 4.17 (bookworm) with Linux 6.1 as dom0, to its power-off",
    quick: false,
    play: Ok(xen_to_the_end(|dir| xen(dir, "bookworm", "xen-hypervisor-4.17-amd64"))),
};

/// Xen of Debian 13.
pub(super) const XEN_4_20: System = System {
    name: "xen-4.20",
    about: "Xen 4.20 (trixie) with Linux 6.1 as dom0, to its power-off",
    quick: false,
    play: Ok(xen_to_the_end(|dir| xen(dir, "trixie", "xen-hypervisor-4.20-amd64"))),
};

const fn xen_to_the_end(boot: crate::systems::BootFn) -> Play {
    linux(
        boot,
        // Where there is SVM it says hvm-3.0 as well.
        &[
            Step::Serial("XEN properties/capabilities xen-3.0-x86_64 \n"),
            Step::Serial("READY"),
            Step::Serial("Entering ACPI S5 state"),
            Step::Off,
        ],
        280,
    )
    .on(|config, dir| {
        if config.bochs.is_none() {
            config.cpu = "qemu64,+svm,+npt,+nrip-save,-x2apic".into();
        }
        config.memory = 768;
        once(config, dir)
    })
    .but(differs::XEN)
}

fn kvm(dir: &Path) -> Result<Boot> {
    let module = |order: u32, name: &str| -> Result<Extra> {
        let file = CLOUD_6_1.file(|path| path.ends_with(&format!("/{name}")))?;
        Ok((format!("{order}-{name}"), file))
    };
    let vendor = if Cpu::chosen() == Cpu::Intel { "kvm-intel.ko" } else { "kvm-amd.ko" };
    let modules = [module(1, "irqbypass.ko")?, module(2, "kvm.ko")?, module(3, vendor)?];
    CLOUD_6_1.boot_with(
        dir,
        "ramooflax.iomem ramooflax.modules ramooflax.machine ramooflax.do=poweroff",
        &modules,
    )
}

fn xen(dir: &Path, suite: &str, package: &str) -> Result<Boot> {
    let packed = Package::amd64(suite, package)
        .find(|path| path.starts_with("boot/xen-") && path.ends_with(".gz"))?;
    let image = unpacked(&packed, dir)?;
    // The cloud kernel is no dom0.
    let dom0 = Kernel::amd64("bookworm", "linux-image-amd64");
    let mut boot = dom0.boot(dir, "")?;
    boot.files.push((image, "xen".into()));
    boot.commands = "multiboot2 /boot/xen com2=115200,8n1 console=com2 loglvl=all dom0_mem=300M\n\
        module2 /boot/vmlinuz console=hvc0 quiet nokaslr panic=-1 \
        ramooflax.machine ramooflax.do=poweroff\n\
        module2 /boot/initrd.img"
        .into();
    if Cpu::chosen().is_bochs() {
        // Xen takes any mode. Of Bochs's VGA GRUB takes one with a palette, for which it leaves no room in what it hands
        // over: 768 bytes of colours go over its own heap.
        boot.commands += "\nset gfxpayload=text";
    }
    Ok(boot)
}

fn unpacked(packed: &Path, dir: &Path) -> Result<PathBuf> {
    let image = dir.join("xen");
    let from = fs::File::open(packed)?;
    let mut gzip = std::process::Command::new("gzip");
    sh::to_file(gzip.arg("--decompress").stdin(from), &image)?;
    Ok(image)
}
