//! Building what runs on the bare machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context, Result, ensure};
use handover::seal;
use serde_json::Value;

use crate::{ensure::TARGET, paths, sh};

/// The two files that GRUB loads.
#[derive(Clone, Debug)]
pub(crate) struct Vmm {
    /// The multiboot loader.
    pub(crate) loader: PathBuf,
    /// The resident image, as built: with its symbols.
    pub(crate) resident: PathBuf,
    /// The resident image without them: what a disk carries.
    pub(crate) stripped: PathBuf,
}

/// Builds the VMM.
///
/// # Errors
/// When it does not compile.
pub(crate) fn vmm() -> Result<Vmm> {
    release(&["boot-bios", "resident"])?;
    let dir = built();
    let (loader, resident) = (dir.join("boot-bios"), dir.join("resident"));
    let (small, stripped) = (strip(&loader, |_| true)?, strip(&resident, seal::seal)?);
    Ok(Vmm { loader: small, resident, stripped })
}

/// Builds the test guests and gives the one called `name`.
///
/// # Errors
/// When they do not compile or none has that name.
pub(crate) fn test_guest(name: &str) -> Result<PathBuf> {
    let names = test_guests()?;
    if !names.iter().any(|n| n == name) {
        anyhow::bail!("no guest is called {name}; the test guests are: {}", names.join(", "));
    }
    release(&["guests"])?;
    strip(&built().join(name), |_| true)
}

/// The test guest called `name` with its symbols and lines, once it was built.
pub(crate) fn symbols_of(name: &str) -> PathBuf {
    built().join(name)
}

/// Builds the task for GNU Mach, for a kernel of 64 or of 32 bits.
///
/// # Errors
/// When it does not compile.
pub(crate) fn mach_task(bits: u32) -> Result<PathBuf> {
    release(&["mach-task"])?;
    if bits == 64 {
        return strip(&built().join("mach-task"), |_| true);
    }
    let task = strip(&built().join("mach-task-32"), |_| true)?;
    // 32-bit code at 32-bit addresses in a 64-bit file, for the toolchain makes no other.
    let to = task.with_extension("elf32");
    let new = task.with_extension(format!("{}.new", process::id()));
    sh::output(Command::new("objcopy").args(["-O", "elf32-i386"]).arg(&task).arg(&new))?;
    fs::rename(&new, &to).with_context(|| format!("{}", to.display()))?;
    Ok(to)
}

/// Builds the program that measures, in a Debian guest, what its kernel costs.
///
/// # Errors
/// When it does not compile.
pub(crate) fn costs() -> Result<PathBuf> {
    release(&["user"])?;
    strip(&built().join("costs"), |_| true)
}

/// A copy of `program` without symbols, finished by `seal`. Another xtask may be reading the one that is
/// there: it is replaced in one go.
fn strip(program: &Path, seal: fn(&mut [u8]) -> bool) -> Result<PathBuf> {
    let to = program.with_extension("stripped");
    let new = program.with_extension(format!("{}.new", process::id()));
    sh::output(Command::new("objcopy").arg("--strip-all").arg(program).arg(&new))?;
    let mut bytes = fs::read(&new).with_context(|| format!("{}", new.display()))?;
    ensure!(seal(&mut bytes), "{} has no note to be sealed", program.display());
    fs::write(&new, bytes).with_context(|| format!("{}", new.display()))?;
    fs::rename(&new, &to).with_context(|| format!("{}", to.display()))?;
    Ok(to)
}

/// The names of the test guests: the binaries of the crate `guests`.
///
/// # Errors
/// When cargo does not know it.
pub(crate) fn test_guests() -> Result<Vec<String>> {
    let text = sh::output(cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
    let guests = packages.iter().filter(|package| package["name"] == "guests");
    let mut names: Vec<String> = guests
        .flat_map(|package| package["targets"].as_array().cloned().unwrap_or_default())
        .filter(|target| target["kind"][0] == "bin")
        .filter_map(|target| Some(target["name"].as_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// `cargo`, in the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut cmd = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cmd.current_dir(paths::root());
    cmd
}

fn release(packages: &[&str]) -> Result<()> {
    let mut cmd = cargo();
    cmd.args(["build", "--release", "--quiet", "--target", TARGET]);
    for package in packages {
        cmd.args(["--package", package]);
    }
    sh::output(&mut cmd).map(drop)
}

fn built() -> PathBuf {
    paths::target().join(TARGET).join("release")
}

/// Writes `bytes` to `path` unless they are there already.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("{}", path.display()))
}
