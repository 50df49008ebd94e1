//! Where things are.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::Result;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .canonicalize()
        .unwrap_or_else(|_| PathBuf::from("."))
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Where downloads are kept; made when missing.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn cache() -> Result<PathBuf> {
    let dir = target().join("guests");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// Waits until no other process is at work in `dir`, and keeps others away until it is dropped.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn alone(dir: &Path) -> Result<File> {
    let lock = File::options().create(true).append(true).open(dir.join("lock"))?;
    lock.lock()?;
    Ok(lock)
}
