//! Debuggers that Debian has not: from PyPI, in a directory of their own. Only the tests that use them ask.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{ensure, paths, sh};

/// The packages, of versions known to work here.
const PACKAGES: &[&str] = &["gdb-for-pwndbg==18.1.0.post1", "lldb-for-pwndbg==23.1.0.post2"];

/// What to do when they cannot be had.
const EXPECTED: &str = "Expected: PyPI, over the network, and Python's venv module. Leave these tests out by naming \
                        others with --only.";

/// The program `name` of those packages; installed when it is not here yet.
///
/// # Errors
/// When it cannot be fetched.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let cache = paths::cache()?;
    let _alone = paths::alone(&cache)?;
    let dir = cache.join("debuggers");
    let wanted = PACKAGES.join(" ");
    let stamp = dir.join("installed");
    if !fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        ensure::python()?;
        println!("installing {wanted}");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        sh::output(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&dir))
            .context(EXPECTED)?;
        let mut pip = Command::new(dir.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
        sh::output(&mut pip).context(EXPECTED)?;
        fs::write(&stamp, wanted)?;
    }
    Ok(dir.join("bin").join(name))
}
