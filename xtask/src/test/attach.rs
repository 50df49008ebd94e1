//! Analysts come and go: attaching to whatever there is, and hanging up without a word.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use testing::Gdb;

use super::{Test, gdb::attached};
use crate::{
    analyst::{self, detach, run_to, string},
    facts::symbol,
    scene::{Guest, Scene},
};

const BOOT: Duration = Duration::from_secs(150);

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("gdb.attach-idle", 300, idle),
        Test::new("gdb.killed-stopped", 300, killed_stopped),
        Test::new("gdb.killed-running", 300, killed_running),
    ]
}

/// A guest that sleeps, and that nobody is attached to, is noticed to be wanted. Its clock is the
/// real one: nothing but the VMM's own tick wakes it soon.
fn idle() -> Result<()> {
    let scene = Scene::under(Guest::named("cloud", "ramooflax.syms ramooflax.do=idle"));
    let mut machine = scene.prepare()?.start()?;
    let symbols = analyst::ready(&mut machine, BOOT)?;
    let banner = symbol(&symbols, "linux_banner")?;
    for attempt in 1..=5 {
        thread::sleep(Duration::from_secs(2));
        let mut gdb = Gdb::attach(&machine.link())?;
        let said = string(&mut gdb, banner)?;
        ensure!(said.starts_with("Linux version "), "attempt {attempt}: the banner reads {said:?}");
        // It sleeps: a step wakes it.
        let before = gdb.value("$rip")?;
        gdb.command("stepi")?;
        ensure!(
            gdb.value("$rip")? != before,
            "attempt {attempt}: a step from {before:#x} to there"
        );
        let said = gdb.command("detach")?;
        ensure!(said.contains("detached"), "attempt {attempt}: detach gave: {said}");
        let odd = ["Remote replied unexpectedly", "Ignoring packet error", "Invalid remote reply"];
        let session = gdb.transcript();
        ensure!(!odd.iter().any(|text| session.contains(text)), "attempt {attempt}:\n{session}");
    }
    Ok(())
}

/// gdb dies while the guest stands at a breakpoint of its.
fn killed_stopped() -> Result<()> {
    let (mut machine, symbols, mut gdb) = attached("ramooflax.do=beat")?;
    let sleep = symbol(&symbols, "do_nanosleep")?;
    run_to(&mut gdb, "hbreak", sleep)?;
    gdb.command(&format!("break *{sleep:#x}"))?;
    gdb.die_in("stepi", Duration::from_millis(500))?;
    let mut gdb = Gdb::attach(&machine.link())?;
    run_to(&mut gdb, "break", sleep)?;
    detach(&mut gdb, &mut machine)
}

/// gdb dies while the guest runs towards a breakpoint of its.
fn killed_running() -> Result<()> {
    let (mut machine, symbols, mut gdb) = attached("ramooflax.do=beat")?;
    // A breakpoint that no guest reaches, and one that it reaches while nobody is there.
    for address in [symbol(&symbols, "linux_banner")?, symbol(&symbols, "do_nanosleep")?] {
        gdb.command(&format!("hbreak *{address:#x}"))?;
        gdb.die_in("continue", Duration::from_secs(3))?;
        gdb = Gdb::attach(&machine.link())?;
        analyst::to_kernel(&mut gdb, &symbols)?;
        let said = string(&mut gdb, symbol(&symbols, "linux_banner")?)?;
        ensure!(said.starts_with("Linux version "), "the banner reads {said:?}");
    }
    detach(&mut gdb, &mut machine)?;
    let mut gdb = Gdb::attach(&machine.link())?;
    run_to(&mut gdb, "hbreak", symbol(&symbols, "do_nanosleep")?)?;
    detach(&mut gdb, &mut machine)
}
