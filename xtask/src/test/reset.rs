//! A guest that resets the machine resets the machine, and not only itself.

use std::time::Duration;

use anyhow::{Result, ensure};

use testing::Usb;

use super::{Test, fault};
use crate::{
    scene::{Guest, Scene},
    sector::End,
};

const LIMIT: Duration = Duration::from_secs(120);
/// Where the hole is with 512 MiB.
const HOLE: u32 = 0x1fe0_0000;
const PANIC: &str = "Kernel panic - not syncing";

pub(super) fn tests() -> Vec<Test> {
    // The ways Linux resets a PC: a triple fault, the keyboard controller, the ACPI reset register,
    // the chipset's port CF9h.
    let linux = [("triple-fault", "t"), ("keyboard", "k"), ("acpi", "a"), ("pci", "p")]
        .map(|(name, how)| Test::new(&format!("reset.{name}"), 300, move || reset(how)));
    let ends = [
        ("triple-fault", End::TripleFault),
        ("keyboard", End::Keyboard),
        ("pci", End::Cf9),
        ("port-92", End::Port92),
        ("jump", End::Jump),
        ("hole", End::To(HOLE)),
    ];
    let stick = ends.map(|(name, end)| {
        let test = Test::new(&format!("reset.stick-{name}"), 120, move || with_stick(end));
        // Linux has done these two.
        if matches!(end, End::Keyboard | End::Cf9) { test.long() } else { test }
    });
    // What is left where the chipset's ways do nothing: the keyboard controller, and a shutdown. Both from where the VMM is
    // when it looks at its line, so that the first has VMX or SVM to leave.
    let last = [("last-keyboard", "reset_last"), ("last-shutdown", "reset_shutdown")]
        .map(|(name, at)| Test::new(&format!("reset.{name}"), 120, move || fault::resets_at(at)));
    linux.into_iter().chain(stick).chain(last).collect()
}

/// A system on the machine's own disk resets the machine: it boots again, and the VMM is there
/// again, from the stick that was left in.
fn with_stick(end: End) -> Result<()> {
    let mut prepared = Scene::bare(Guest::Sector(end)).prepare()?;
    prepared.insert_stick(Usb::Xhci, "")?;
    let mut machine = prepared.start()?;
    machine.wait_console_for("another boot", LIMIT, |all| all.matches("END\n").count() > 1)?;
    let console = machine.console();
    let under = console.matches("PROBE protected answered").count();
    ensure!(under > 1, "without the VMM after a reset:\n{console}");
    let log = machine.log();
    let starts = log.matches("guest starts at").count();
    ensure!(starts > 1, "the VMM did not start again{}", machine.tails());
    ensure!(log.contains(&format!("hole {HOLE:#x}")), "the hole is elsewhere:\n{log}");
    let noted = log.contains("triple fault: machine reset");
    let expected = matches!(end, End::TripleFault | End::To(_));
    // How the firmware resets the machine when its first instruction is executed again is its own affair.
    ensure!(noted == expected || end == End::Jump, "not as asked for{}", machine.tails());
    Ok(())
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
