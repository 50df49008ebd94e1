//! MOROS, a hobby operating system in Rust: from its own boot sector to a shell.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Boot, Differs, Play, Step, System};
use crate::{build, paths, sh};

pub(super) const SYSTEMS: &[System] = &[System {
    name: "moros-0.12",
    about: "MOROS 0.12 (crates.io), built here, from its own boot sector to its shell",
    quick: false,
    play: Ok(Play::new(
        boot,
        &[
            Step::Screen("RTC "),
            Step::Screen("\n>"),
            // The end of what it says of the machine: PCI, disks, processor, clock.
            Step::Type("clear\nlogs\n"),
            Step::Screen("RTC "),
        ],
    )
    .on(|config, _| {
        // It takes the range that QEMU reserves for AMD CPUs below 1 TiB for RAM, and runs out of it.
        if config.bochs.is_none() {
            config.extra.extend(["-machine".into(), "pc-i440fx-7.0".into()]);
        }
        Ok(())
    })
    .but(&[
        Differs::Lines {
            pattern: r"MEM \[0x\w+-0x\w+\] \w+$",
            why: "its boot loader puts kernel and page tables elsewhere, for the hole; what is left of the map's lines",
        },
        Differs::Varies { pattern: r"^\[(\d+\.\d+)\] ", why: "the time" },
        Differs::Varies { pattern: r"RTC ([-\d]+ [:\d]+) ", why: "the time" },
    ])),
}];

const VERSION: &str = "0.12.0";

fn boot(_: &Path) -> Result<Boot> {
    Ok(Boot {
        commands: "set root=(hd1)\ndrivemap -s hd0 hd1\nchainloader +1".into(),
        disk: Some(image()?),
        ..Boot::default()
    })
}

/// The disk image, built when it is not here yet: kernel, then the boot loader around it.
fn image() -> Result<PathBuf> {
    let dir = paths::cache()?.join(format!("moros-{VERSION}"));
    let image = dir.join("moros.img");
    fs::create_dir_all(&dir)?;
    let _alone = paths::alone(&dir)?;
    if image.exists() {
        return Ok(image);
    }
    // Both crates build the standard library for targets of their own; the boot loader needs objcopy.
    sh::output(
        Command::new("rustup")
            .args(["component", "add", "rust-src", "llvm-tools"])
            .current_dir(paths::root()),
    )?;
    let source = source(&dir)?;
    let built = dir.join("built");
    let kernel = |cmd: &mut Command| {
        cmd.args(["--locked", "--no-default-features", "--features", "video", "--bin", "moros"]);
        cmd.env("MOROS_VERSION", VERSION).env("MOROS_KEYBOARD", "qwerty");
    };
    compile(&source.join("moros"), &built, kernel)?;
    let kernel = built.join("x86_64-moros/release/moros");
    let loader = |cmd: &mut Command| {
        cmd.args(["-Zbuild-std=core", "-Zbuild-std-features=compiler-builtins-mem"]);
        cmd.args([
            "--target",
            "x86_64-bootloader.json",
            "--features",
            "binary,map_physical_memory",
        ]);
        cmd.env("KERNEL", &kernel).env("KERNEL_MANIFEST", source.join("moros/Cargo.toml"));
    };
    compile(&source.join("bootloader"), &built, loader)?;
    let new = image.with_extension("new");
    sh::output(
        Command::new("objcopy")
            .args(["-I", "elf64-x86-64", "-O", "binary", "--binary-architecture=i386:x86-64"])
            .arg(built.join("x86_64-bootloader/release/bootloader"))
            .arg(&new),
    )?;
    // Whole sectors, and room for the last track.
    let file = fs::File::options().write(true).open(&new)?;
    file.set_len(file.metadata()?.len().next_multiple_of(1 << 20))?;
    fs::rename(&new, &image)?;
    Ok(image)
}

/// Copies of the sources of MOROS and of the boot loader it names, as crates.io has them.
fn source(dir: &Path) -> Result<PathBuf> {
    let source = dir.join("source");
    if source.exists() {
        fs::remove_dir_all(&source)?;
    }
    fs::create_dir_all(source.join("src"))?;
    fs::write(source.join("src/lib.rs"), "")?;
    let manifest = format!(
        "[package]\nname = \"source\"\nedition = \"2024\"\n[workspace]\n\
         [dependencies]\nmoros = {{ version = \"={VERSION}\", default-features = false }}\n"
    );
    fs::write(source.join("Cargo.toml"), manifest)?;
    let copy = |from: &Path, name: &str| -> Result<()> {
        let package = package(from, name)?;
        let to = source.join(name);
        sh::output(Command::new("cp").arg("-r").arg(package).arg(&to))?;
        // They ask for toolchains of their own.
        for file in ["rust-toolchain", "rust-toolchain.toml"] {
            let file = to.join(file);
            if file.exists() {
                fs::remove_file(file)?;
            }
        }
        // They are in no workspace, whatever the cache is in.
        let manifest = fs::read_to_string(to.join("Cargo.toml"))?;
        fs::write(to.join("Cargo.toml"), format!("{manifest}\n[workspace]\n"))?;
        Ok(())
    };
    copy(&source, "moros")?;
    // In the version that MOROS's own lock file has.
    copy(&source.join("moros"), "bootloader")?;
    Ok(source)
}

/// Where cargo has the source of `name`, one of those that the package in `dir` needs.
fn package(dir: &Path, name: &str) -> Result<PathBuf> {
    let text = sh::output(cargo(dir).args(["metadata", "--format-version=1"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
    let found = packages.iter().find(|package| package["name"] == name);
    let manifest = found.and_then(|package| package["manifest_path"].as_str());
    let dir = manifest.and_then(|path| Path::new(path).parent());
    Ok(dir.with_context(|| format!("cargo knows no source of {name}"))?.to_owned())
}

fn compile(dir: &Path, target: &Path, how: impl Fn(&mut Command)) -> Result<()> {
    let mut cmd = cargo(dir);
    cmd.args(["build", "--release", "-Zjson-target-spec"]).env("CARGO_TARGET_DIR", target);
    how(&mut cmd);
    sh::output(&mut cmd).map(drop)
}

/// Our cargo, whatever toolchain `dir` asks for, with what it calls unstable.
fn cargo(dir: &Path) -> Command {
    let mut cmd = build::cargo();
    cmd.current_dir(dir).env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTFLAGS");
    cmd
}
