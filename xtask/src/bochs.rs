//! Bochs, of Debian 13: the one of Debian 12 is slower by half and lacks the AMD model `zambezi`. It is
//! unpacked in the cache, with its own C library, and never installed.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::archive::Package;

/// The package that has it, with a display that needs little. Its files and those of all it needs take 150 MB.
const BOCHS: Package<'_> = Package::amd64("trixie", "bochs-term");

/// Where it is; fetched when it is not here yet.
///
/// # Errors
/// When Debian's archive cannot be reached.
pub(crate) fn root() -> Result<PathBuf> {
    BOCHS.with_dependencies()
}

/// Its name and version, as in `Bochs 3.0`.
///
/// # Errors
/// When it is not here.
pub(crate) fn version() -> Result<String> {
    let version = BOCHS.version()?;
    let number = version.split(['+', '-']).next().context("an empty version")?;
    Ok(format!("Bochs {number}"))
}
