//! The kernel's own tests of the CPU (tools/testing/selftests/x86 of Linux 6.1), built from Debian's source
//! package. Some fail, for the emulator is not the CPU: the same ones with the VMM and without it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure as must};

use super::{
    CLOUD_6_1, differs,
    kernels::{Extra, Kernel},
    linux,
};
use crate::{
    archive::Package,
    ensure,
    machine_args::Cpu,
    paths, sh,
    systems::{Boot, Play, Step, System},
};

/// 64-bit programs.
pub(super) const ON_64_BITS: System = System {
    name: "kselftest-64",
    about: "kselftest x86 of Linux 6.1, 64-bit programs on the 64-bit kernel",
    quick: false,
    play: Ok(tests(
        |dir| boot(dir, CLOUD_6_1, "_64"),
        &[Step::Serial("END sigreturn_64 0"), MOST, END],
    )),
};

/// 32-bit programs of a 64-bit kernel.
pub(super) const OF_32_BITS: System = System {
    name: "kselftest-32",
    about: "kselftest x86 of Linux 6.1, 32-bit programs on the 64-bit kernel",
    quick: false,
    play: Ok(tests(
        |dir| boot(dir, CLOUD_6_1, "_32"),
        &[Step::Serial("END ldt_gdt_32 0"), MOST, END],
    )
    .on_bochs(&[Step::Serial("END sigreturn_32 0"), MOST, END])),
};

/// 32-bit programs of a 32-bit kernel.
pub(super) const ON_686: System = System {
    name: "kselftest-686",
    about: "kselftest x86 of Linux 6.1, 32-bit programs on the 32-bit kernel with PAE",
    quick: false,
    play: Ok(tests(
        |dir| boot(dir, Kernel::i386("bookworm", "linux-image-686-pae"), "_32"),
        &[Step::Serial("END ldt_gdt_32 0"), MOST, END],
    )),
};

/// What of the kernel's source the tests are built from.
const PARTS: [&str; 2] = ["tools/testing/selftests", "arch/x86/include/asm"];

/// The machine need not be able to power off: some of the tests make the kernel oops here.
const END: Step = Step::Serial("READY");

/// Two thirds at least.
const MOST: Step = Step::Serial("MOST PASSED");

const fn tests(boot: crate::systems::BootFn, steps: &'static [Step]) -> Play {
    linux(boot, steps, 280).but(differs::KSELFTEST)
}

fn boot(dir: &Path, kernel: Kernel, ending: &str) -> Result<Boot> {
    let mut programs: Vec<Extra> = Vec::new();
    for entry in fs::read_dir(built()?)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // It changes segments under itself, and by the moment of an interrupt Bochs's bare CPU ends it with a segmentation
        // fault: in two runs of two, but neither alone nor with a pause before each program. The 32-bit kernel's passes.
        let fragile = name == "ldt_gdt_32" && kernel == CLOUD_6_1 && Cpu::chosen().is_bochs();
        if name.ends_with(ending) && !fragile {
            programs.push((name, path));
        }
    }
    must!(programs.len() > 15, "only {programs:?} were built");
    programs.sort();
    // A minute of Bochs's is too short for `syscall_numbering`.
    let patient = if Cpu::chosen().is_bochs() { " ramooflax.patient" } else { "" };
    kernel.boot_with(dir, &format!("ramooflax.tests{patient} ramooflax.do=idle"), &programs)
}

/// The directory with the programs, built when they are not there yet.
fn built() -> Result<PathBuf> {
    let dir = paths::cache()?.join("kselftest-6.1");
    fs::create_dir_all(&dir)?;
    let _alone = paths::alone(&dir)?;
    let done = dir.join("built");
    if done.exists() {
        return Ok(done);
    }
    ensure::packages(&[
        ("/usr/bin/gcc", "gcc"),
        ("/usr/bin/make", "make"),
        ("/usr/bin/xz", "xz-utils"),
        ("/usr/include/gnu/stubs-32.h", "gcc-multilib"),
    ])?;
    let archive = Package::amd64("bookworm", "linux-source-6.1")
        .find(|path| path.ends_with("/linux-source-6.1.tar.xz"))?;
    let scratch = tempfile::tempdir_in(&dir)?;
    sh::output(
        Command::new("tar")
            .arg("-xf")
            .arg(&archive)
            .arg("-C")
            .arg(scratch.path())
            .arg("--strip-components=1")
            .args(PARTS.map(|part| format!("linux-source-6.1/{part}"))),
    )?;
    let out = scratch.path().join("built");
    fs::create_dir(&out)?;
    sh::output(
        Command::new("make")
            .arg("-C")
            .arg(scratch.path().join("tools/testing/selftests/x86"))
            .arg(format!("OUTPUT={}", out.display()))
            .arg("CFLAGS=-O2 -std=gnu99 -pthread -no-pie -static -s -w"),
    )
    .context("building the kernel's selftests")?;
    fs::rename(&out, &done)?;
    Ok(done)
}
