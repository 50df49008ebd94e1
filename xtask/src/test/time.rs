//! Time while the guest is stopped: what Linux makes of it, with either `tsc=`.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use testing::{Gdb, Machine};

use super::Test;
use crate::{
    analyst,
    scene::{Guest, Scene},
};

/// Seconds of the machine's time that the analyst thinks, and how far two clocks may be apart on a loaded host.
const STOPPED: f64 = 6.0;
const APART: f64 = 2.5;
/// The lockup detector complains after twice its threshold. The kernel is to believe in its TSC, which it otherwise
/// may cease to do because the emulator's host is busy.
const WORDS: &str = "loglevel=7 watchdog_thresh=2 tsc=reliable ramooflax.do=clock";

/// What the detector says.
const LOCKUP: &str = "BUG: soft lockup";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("time.run", 180, || stop("tsc=run", true)),
        Test::new("time.freeze", 180, || stop("tsc=freeze", false)),
    ]
}

/// Stops the guest for a while. If its TSC `runs` its clocks agree afterwards, and its lockup detector has seen the
/// gap; if not, its clock is behind its RTC by that, and nothing is seen.
fn stop(option: &str, runs: bool) -> Result<()> {
    let scene = Scene::under(Guest::named("cloud", WORDS)).option(option);
    let mut machine = scene.prepare()?.start()?;
    analyst::ready(&mut machine, Duration::from_secs(120))?;
    let mut begun = 2;
    // Stopped while the detector's own thread is about to say that all is well, it has seen nothing.
    for _ in 0..3 {
        begun = gap(&mut machine, begun, runs)?;
        if !runs || machine.console().contains(LOCKUP) {
            break;
        }
    }
    let console = machine.console();
    let lockup = console.contains(LOCKUP);
    ensure!(lockup == runs, "the lockup detector {lockup}:\n{console}");
    Ok(())
}

/// Stops the guest after it told its clocks `begun` times: its clock is behind its RTC by the time it stood still then,
/// unless its TSC `runs`. Gives the number of times it has told them since.
fn gap(machine: &mut Machine, begun: usize, runs: bool) -> Result<usize> {
    let before = clock_after(machine, begun)?;
    let mut gdb = Gdb::start()?;
    let now = |machine: &Machine| Ok::<_, anyhow::Error>(machine.time()?.as_secs_f64());
    let attaches = now(machine)?;
    gdb.connect(&machine.link())?;
    let attached = now(machine)?;
    let told = clocks(&machine.console()).len();
    while now(machine)? < attached + STOPPED {
        thread::sleep(Duration::from_millis(100));
    }
    ensure!(clocks(&machine.console()).len() == told, "the guest went on while it was stopped");
    let detaches = now(machine)?;
    gdb.command("detach")?;
    // The guest stood still for the first of these at least, and for no more than the second.
    let stood = if runs { (0.0, 0.0) } else { (detaches - attached, now(machine)? - attaches) };
    let after = clock_after(machine, told + 4)?;
    let (clock, rtc) = (after.0 - before.0, after.1 - before.1);
    let console = machine.console();
    ensure!(rtc >= STOPPED, "the RTC has counted {rtc} s:\n{console}");
    ensure!(
        rtc - clock > stood.0 - APART && rtc - clock < stood.1 + APART,
        "the RTC has counted {rtc} s, the kernel's clock {clock} s, {stood:?} s stopped:\n{console}"
    );
    Ok(told + 4)
}

/// The `n`th time the guest told its clocks, from 1 on: seconds by the kernel's own, which is the TSC, and by the RTC.
fn clock_after(machine: &mut Machine, n: usize) -> Result<(f64, f64)> {
    let limit = Duration::from_secs(60);
    let console = machine
        .wait_console_for(&format!("CLOCK number {n}"), limit, |all| clocks(all).len() >= n)?;
    clocks(&console).get(n - 1).copied().context("no clock")
}

fn clocks(console: &str) -> Vec<(f64, f64)> {
    let mut lines: Vec<&str> = console.split_inclusive('\n').collect();
    // The last one may be on its way.
    lines.retain(|line| line.ends_with('\n'));
    let told = lines.iter().filter_map(|line| line.split_once("CLOCK "));
    told.filter_map(|(_, words)| {
        let mut words = words.split_whitespace().map(str::parse);
        Some((words.next()?.ok()?, words.next()?.ok()?))
    })
    .collect()
}
