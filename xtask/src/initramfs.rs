//! The userland of the Debian guests: busybox and one script, in a cpio archive.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use cpio::{NewcBuilder, newc::trailer};

const INIT: &[u8] = include_bytes!("../assets/init");

/// File types of `stat`, as the archive format uses them.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER: u32 = 0o020_000;

/// Packs the userland around `busybox` and `costs`.
///
/// # Errors
/// When one cannot be read.
pub(crate) fn build(busybox: &Path, costs: &Path) -> Result<Vec<u8>> {
    pack(busybox, &[("bin/costs".to_owned(), costs.to_owned())])
}

/// The same with more files in `/extra` instead: their names there, and where they are.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn with(busybox: &Path, extra: &[(String, PathBuf)]) -> Result<Vec<u8>> {
    let files = extra.iter().map(|(to, from)| (format!("extra/{to}"), from.clone()));
    pack(busybox, &files.collect::<Vec<_>>())
}

fn pack(busybox: &Path, files: &[(String, PathBuf)]) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    let mut inode = 0;
    let mut add = |name: &str, mode: u32, device: (u32, u32), data: &[u8]| -> Result<()> {
        inode += 1;
        let entry =
            NewcBuilder::new(name).ino(inode).mode(mode).rdev_major(device.0).rdev_minor(device.1);
        let mut writer = entry.write(&mut archive, u32::try_from(data.len())?);
        writer.write_all(data)?;
        writer.finish()?;
        Ok(())
    };
    for dir in ["bin", "dev", "extra", "proc", "sys", "tmp"] {
        add(dir, DIRECTORY | 0o755, (0, 0), &[])?;
    }
    // Linux opens it before anything can mount devtmpfs.
    add("dev/console", CHARACTER | 0o600, (5, 1), &[])?;
    add("bin/busybox", REGULAR | 0o755, (0, 0), &fs::read(busybox)?)?;
    add("init", REGULAR | 0o755, (0, 0), INIT)?;
    for (to, from) in files {
        let data = fs::read(from).with_context(|| format!("{}", from.display()))?;
        add(to, REGULAR | 0o755, (0, 0), &data)?;
    }
    trailer(&mut archive)?;
    Ok(archive)
}
