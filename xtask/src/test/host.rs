//! What needs no emulator: the sources themselves and the pure crates.

use anyhow::Result;

use super::Test;
use crate::{build, ensure::TARGET, sh};

/// The crates that only exist on the bare machine.
const BARE: &[&str] =
    &["svm", "vmx", "setup", "boot-bios", "resident", "guests", "mach-task", "user"];

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("host.format", 60, || run(&["fmt", "--all", "--check", "--", "--color=never"])),
        Test::new("host.clippy", 600, || {
            run(&["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"])
        }),
        Test::new("host.clippy-bare-metal", 600, || {
            let mut args = vec!["clippy", "--quiet", "--release", "--target", TARGET];
            args.extend(BARE.iter().flat_map(|name| ["--package", name]));
            args.extend(["--", "-D", "warnings"]);
            run(&args)
        }),
        Test::new("host.unit", 900, || {
            run(&["test", "--quiet"])?;
            // What of them knows no hardware.
            run(&["test", "--quiet", "--package", "setup", "--package", "svm", "--package", "vmx"])
        }),
    ]
}

fn run(args: &[&str]) -> Result<()> {
    sh::output(build::cargo().args(args)).map(drop)
}
