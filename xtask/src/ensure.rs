//! Set-up: what is missing on this computer is installed, and named while it happens.

use std::{env, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{paths, sh};

/// A file that must exist, and the Debian package that brings it.
const NEEDED: &[(&str, &str)] = &[
    ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    ("/usr/share/seabios/bios-256k.bin", "seabios"),
    ("/usr/lib/ipxe/qemu/pxe-e1000.rom", "ipxe-qemu"),
    ("/usr/bin/gdb", "gdb"),
    ("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"),
    ("/usr/bin/grub-mkimage", "grub-common"),
    ("/etc/grub.d/00_header", "grub-common"),
    ("/usr/bin/mcopy", "mtools"),
    ("/usr/bin/dpkg-deb", "dpkg"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/usr/bin/kill", "procps"),
    ("/usr/bin/objdump", "binutils"),
    ("/usr/bin/xz", "xz-utils"),
];

/// The target of everything that runs on the bare machine.
pub(crate) const TARGET: &str = "x86_64-unknown-none";

/// What to do when the archive cannot be reached.
pub(crate) const NETWORK: &str = "Expected: Debian's archive, over the network. See what `apt-get update` \
                                  says (as root), put right what it complains of, and try again.";

/// Installs what is missing: Debian packages and the Rust target.
///
/// # Errors
/// When something cannot be installed; the message says what to install by hand.
pub(crate) fn ensure() -> Result<()> {
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, p)| *p).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    rust()
}

/// Installs a C++ compiler if there is none: libFuzzer is built from its sources.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn cpp() -> Result<()> {
    if Path::new("/usr/bin/g++").exists() { Ok(()) } else { install(&["g++"]) }
}

/// Installs what Python's virtual environments need, and debuggers that are scripted in Python.
///
/// # Errors
/// When it cannot be installed.
pub(crate) fn python() -> Result<()> {
    const PROBE: &str = "import ensurepip, os, sysconfig as c; \
                         open(os.path.join(c.get_config_var('LIBDIR'), c.get_config_var('INSTSONAME')))";
    let there = sh::output(Command::new("/usr/bin/python3").args(["-c", PROBE])).is_ok();
    // The second brings the library of the interpreter, which LLDB loads.
    if there { Ok(()) } else { install(&["python3-venv", "libpython3-dev"]) }
}

/// Installs those of `needed` (a file, and the package that brings it) that are missing: what few tests need.
///
/// # Errors
/// When they cannot be installed.
pub(crate) fn packages(needed: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> =
        needed.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, p)| *p).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("missing: {names}. This computer has no apt-get: install the like of them by hand.");
    }
    println!("installing Debian packages: {names}");
    update_lists_if_unknown(packages)?;
    let install = || {
        sh::visible(
            apt()
                .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
                .args(packages)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    if install().is_err() {
        // The lists may name versions that the mirror no longer has.
        update_lists()?;
        install().with_context(|| format!("{names} cannot be installed. {NETWORK}"))?;
    }
    Ok(())
}

/// Fetches the lists of packages when they know nothing of one of `packages`.
///
/// # Errors
/// When the lists cannot be fetched.
pub(crate) fn update_lists_if_unknown(packages: &[&str]) -> Result<()> {
    for package in packages {
        let policy = sh::output(Command::new("apt-cache").args(["policy", package]))?;
        if policy.is_empty() || policy.contains("Candidate: (none)") {
            return update_lists();
        }
    }
    Ok(())
}

/// Fetches the lists of packages.
///
/// # Errors
/// When that fails.
pub(crate) fn update_lists() -> Result<()> {
    println!("updating the lists of Debian packages");
    sh::visible(apt().args(["update", "--quiet=2"]))
        .with_context(|| format!("the lists of Debian packages cannot be fetched. {NETWORK}"))
}

/// `apt-get`, through `sudo` unless we are root.
fn apt() -> Command {
    as_root("apt-get")
}

/// `program`, through `sudo` unless we are root.
pub(crate) fn as_root(program: &str) -> Command {
    let root = sh::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if root {
        Command::new(program)
    } else {
        let mut cmd = Command::new("sudo");
        cmd.args(["--preserve-env=DEBIAN_FRONTEND", program]);
        cmd
    }
}

/// The compiler: the one that Cargo is told to use.
pub(crate) fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

fn rust() -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let sysroot = sh::output(rustc().args(["--print", "sysroot"]).current_dir(paths::root()))?;
    let rustlib = Path::new(sysroot.trim()).join("lib/rustlib");
    if !rustlib.join(TARGET).exists() {
        println!("installing the Rust target {TARGET}");
        sh::visible(
            Command::new("rustup").args(["target", "add", TARGET]).current_dir(paths::root()),
        )
        .with_context(|| format!("add the target {TARGET} to your Rust toolchain by hand"))?;
    }
    for (name, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let mut probe = Command::new(&cargo);
        if sh::output(probe.args([name, "--version"]).current_dir(paths::root())).is_err() {
            println!("installing the Rust component {component}");
            sh::visible(
                Command::new("rustup")
                    .args(["component", "add", component])
                    .current_dir(paths::root()),
            )
            .with_context(|| format!("add {component} to your Rust toolchain by hand"))?;
        }
    }
    Ok(())
}
