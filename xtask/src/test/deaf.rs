//! A guest that spins with interrupts off is stopped by an NMI, whoever sends it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use testing::{Gdb, Machine, Qmp};

use super::{Test, fault::after};
use crate::scene::{Guest, Scene};

/// Between two NMIs while somebody wants the guest stopped.
const PERIOD: Duration = Duration::from_secs(1);
/// The flag in RFLAGS that lets interrupts in.
const IF: u64 = 1 << 9;

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("vmm.deaf", 180, deaf)]
}

/// There are no performance counters in this emulator: its own command plays the part of a counter, or of the
/// button on a server.
fn deaf() -> Result<()> {
    let mut machine = Scene::under(Guest::named("exits", "deaf")).prepare()?.start()?;
    let console = machine.wait_console("READY", Duration::from_secs(60))?;
    let (counter, nmis) = (after(&console, "counter ")?, after(&console, "ticks ")?);
    ensure!(machine.log().contains("no performance counter"), "{}", machine.log());
    once_each(&mut machine.qmp()?, nmis)?;

    let start = Instant::now();
    let gdb = while_nmis_come(&machine, || Gdb::attach(&machine.link()));
    let mut gdb = gdb.with_context(|| machine.tails())?;
    ensure!(start.elapsed() >= PERIOD, "it answered before an NMI came");
    let text = gdb.command("p/x $eflags")?;
    let flags = u64::from_str_radix(text.rsplit("0x").next().unwrap_or_default().trim(), 16);
    ensure!(flags.with_context(|| text.clone())? & IF == 0, "interrupts are not off: {text}");
    let counted = |gdb: &mut Gdb| gdb.value(&format!("*(long *) {counter:#x}"));
    let before = counted(&mut gdb)?;
    let said =
        while_nmis_come(&machine, || gdb.interrupt_after("continue", Duration::from_secs(2)))?;
    ensure!(said.contains("SIGINT"), "Ctrl-C gave: {said}");
    ensure!(counted(&mut gdb)? > before, "the guest did not go on");
    gdb.command("detach").map(drop)
}

/// With nobody attached each NMI reaches the guest once.
fn once_each(qmp: &mut Qmp, nmis: u64) -> Result<()> {
    for n in 1..=5 {
        qmp.execute("inject-nmi", json!({}))?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while word(qmp, nmis)? < n {
            ensure!(Instant::now() < deadline, "NMI {n} did not reach the guest");
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(Duration::from_millis(100));
        let seen = word(qmp, nmis)?;
        ensure!(seen == n, "of {n} NMIs the guest has seen {seen}");
    }
    Ok(())
}

/// A word of physical memory, which is where the guest has it.
fn word(qmp: &mut Qmp, at: u64) -> Result<u64> {
    let text = qmp.human(&format!("xp /1gx {at:#x}"))?;
    let hex = text.split_once(": 0x").with_context(|| format!("no word in {text:?}"))?.1;
    u64::from_str_radix(hex.trim(), 16).with_context(|| text.clone())
}

/// Runs `what` while an NMI comes every second, the first after one.
fn while_nmis_come<T>(machine: &Machine, what: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut qmp = machine.qmp()?;
    let done = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&done);
    let sender = thread::spawn(move || -> Result<()> {
        loop {
            thread::sleep(PERIOD);
            if seen.load(SeqCst) {
                return Ok(());
            }
            qmp.execute("inject-nmi", json!({}))?;
        }
    });
    let result = what();
    done.store(true, SeqCst);
    match sender.join() {
        Ok(Ok(())) => result,
        Ok(Err(error)) => Err(error),
        Err(_) => bail!("the sender of NMIs died"),
    }
}
