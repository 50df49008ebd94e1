//! The programs of `guests/sector`, assembled, and the disk that boots by itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{paths, sh};

/// How it ends, in the order of its table `ends`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It halts.
    Halt,
    /// A triple fault.
    TripleFault,
    /// The keyboard controller's pulse.
    Keyboard,
    /// The chipset's port CF9h.
    Cf9,
    /// The fast reset of port 92h.
    Port92,
    /// A jump to the first instruction after a reset.
    Jump,
    /// A jump to this address in protected mode, without an interrupt table.
    To(u32),
    /// It halts, but before it says anything it has unhooked int 13h once and started the boot order anew.
    Unhooked,
}

/// Bytes of the disk; what is behind the program is 0.
const LEN: usize = 1 << 20;
const MODE: usize = 0x1a0;
const TARGET: usize = 0x1a4;

/// Assembles a program of `guests/sector` in `dir`, linked as `ld` is told. Its file, and what is in it.
///
/// # Errors
/// When it does not assemble.
pub(crate) fn assemble(dir: &Path, name: &str, link: &[&str]) -> Result<(PathBuf, Vec<u8>)> {
    let (object, program) = (dir.join(format!("{name}.o")), dir.join(name));
    let folder = paths::root().join("guests/sector");
    let source = folder.join(format!("{name}.S"));
    sh::output(
        Command::new("as").args(["--32", "-I"]).args([&folder, &source]).arg("-o").arg(&object),
    )?;
    let ld = ["-m", "elf_i386"];
    sh::output(Command::new("ld").args(ld).args(link).arg("-o").args([&program, &object]))?;
    let bytes = fs::read(&program).with_context(|| format!("{}", program.display()))?;
    Ok((program, bytes))
}

/// Makes the disk in `dir`.
///
/// # Errors
/// When it does not assemble.
pub(crate) fn disk(dir: &Path, end: End) -> Result<PathBuf> {
    let (image, mut bytes) = assemble(dir, "sector", &["-Ttext=0x7c00", "--oformat=binary"])?;
    bytes.resize(LEN, 0);
    let (mode, target) = match end {
        End::Halt => (0, 0),
        End::TripleFault => (1, 0),
        End::Keyboard => (2, 0),
        End::Cf9 => (3, 0),
        End::Port92 => (4, 0),
        End::Jump => (5, 0),
        End::To(address) => (6, address),
        End::Unhooked => (7, 0),
    };
    bytes[MODE] = mode;
    bytes[TARGET..TARGET + 4].copy_from_slice(&target.to_le_bytes());
    fs::write(&image, bytes).with_context(|| format!("{}", image.display()))?;
    Ok(image)
}
