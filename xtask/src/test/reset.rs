//! A guest that resets the machine resets the machine, and not only itself.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Test;
use crate::scene::{Guest, Scene};

const LIMIT: Duration = Duration::from_secs(120);
const PANIC: &str = "Kernel panic - not syncing";

pub(super) fn tests() -> Vec<Test> {
    // The ways Linux resets a PC: a triple fault, the keyboard controller, the ACPI reset register,
    // the chipset's port CF9h.
    [("triple-fault", "t"), ("keyboard", "k"), ("acpi", "a"), ("pci", "p")]
        .map(|(name, how)| Test::new(&format!("reset.{name}"), 300, move || reset(how)))
        .into()
}

/// A kernel without an init panics and, told so, resets the machine `how`: it boots again, VMM
/// included, to do the same.
fn reset(how: &str) -> Result<()> {
    let guest = Guest::named("cloud", &format!("rdinit=/nope reboot={how}"));
    let scene = Scene::under(guest);
    let mut machine = scene.prepare()?.start()?;
    machine.wait_console_for("another boot", LIMIT, |all| all.matches(PANIC).count() > 1)?;
    let log = machine.log();
    let starts = log.matches("guest starts at").count();
    ensure!(starts > 1, "the VMM did not start again{}", machine.tails());
    let noted = log.contains("triple fault: machine reset");
    ensure!(noted == (how == "t"), "not as asked for{}", machine.tails());
    drop(machine);

    let mut prepared = scene.prepare()?;
    prepared.config.no_reboot = true;
    let mut machine = prepared.start()?;
    machine.wait_console(PANIC, LIMIT)?;
    let status = machine.wait_exit(Duration::from_secs(30))?;
    ensure!(status.success(), "the emulator ended with {status}{}", machine.tails());
    Ok(())
}
