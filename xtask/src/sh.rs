//! Running other programs, and telling a person what went wrong with them.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Runs `cmd` to its end and gives its standard output.
///
/// # Errors
/// When it cannot be started or fails: with all it printed.
pub(crate) fn output(cmd: &mut Command) -> Result<String> {
    let shown = show(cmd);
    let out = cmd.stdin(Stdio::null()).output().with_context(|| format!("starting `{shown}`"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        let errors = String::from_utf8_lossy(&out.stderr);
        bail!("`{shown}` failed ({}):\n{text}{errors}", out.status);
    }
    Ok(text)
}

/// Runs `cmd` with `input` on its standard input.
///
/// # Errors
/// As [`output`].
pub(crate) fn feed(cmd: &mut Command, input: &[u8]) -> Result<()> {
    let shown = show(cmd);
    let mut child = cmd
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{shown}`"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input)?;
    }
    let out = child.wait_with_output()?;
    if !out.status.success() {
        bail!("`{shown}` failed ({}):\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(())
}

/// Runs `cmd`, whose standard input is set, with its standard output in the file `to`.
///
/// # Errors
/// As [`output`].
pub(crate) fn to_file(cmd: &mut Command, to: &Path) -> Result<()> {
    let shown = show(cmd);
    let file = File::create(to).with_context(|| format!("{}", to.display()))?;
    let out = cmd.stdout(file).stderr(Stdio::piped()).output();
    let out = out.with_context(|| format!("starting `{shown}`"))?;
    if !out.status.success() {
        bail!("`{shown}` failed ({}):\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(())
}

/// Runs `cmd` on the person's terminal.
///
/// # Errors
/// When it cannot be started or fails.
pub(crate) fn visible(cmd: &mut Command) -> Result<()> {
    let shown = show(cmd);
    let status = cmd.status().with_context(|| format!("starting `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

fn show(cmd: &Command) -> String {
    let words = std::iter::once(cmd.get_program()).chain(cmd.get_args());
    words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
