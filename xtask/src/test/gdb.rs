//! A stock gdb against the VMM, used as a person would.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testing::{Gdb, Machine};

use super::Test;
use crate::{
    analyst::{self, comm, detach, run_to, string},
    bench::{self, BenchArgs},
    facts::{self, Symbols, symbol},
    scene::{Guest, Scene},
};

const BOOT: Duration = Duration::from_secs(150);

pub(super) fn tests() -> Vec<Test> {
    let mut tests = vec![
        Test::new("gdb.session", 300, session),
        Test::new("gdb.memory", 300, memory),
        Test::new("gdb.watch", 300, watch),
        Test::new("gdb.monitor", 300, monitor),
        Test::new("gdb.boot-sector", 300, boot_sector),
    ];
    tests.extend(bench::stop::DOING.map(|(name, words)| {
        Test::new(&format!("gdb.stop-{name}"), 300, move || stop(&Guest::named("cloud", words)))
    }));
    // It spins with interrupts off and makes no exit.
    tests.push(Test::new("gdb.stop-deaf", 180, || stop(&Guest::named("exits", "deaf"))));
    tests
}

/// Debian under the VMM, ready, with a gdb attached.
pub(super) fn attached(words: &str) -> Result<(Machine, Symbols, Gdb)> {
    let scene = Scene::under(Guest::named("cloud", &format!("ramooflax.syms {words}")));
    let mut machine = scene.prepare()?.start()?;
    let symbols = analyst::ready(&mut machine, BOOT)?;
    let mut gdb = Gdb::attach(&machine.link())?;
    analyst::to_kernel(&mut gdb, &symbols)?;
    Ok((machine, symbols, gdb))
}

/// Stop, break on a kernel function by address, step 1,000 instructions, read the task's name,
/// continue, detach, attach.
fn session() -> Result<()> {
    let (mut machine, symbols, mut gdb) = attached("ramooflax.do=beat")?;
    ensure!(gdb.value("$cr0")? & 0x8000_0001 == 0x8000_0001, "no paging");
    ensure!(gdb.value("$efer")? & 0x500 == 0x500, "no long mode");
    let banner = string(&mut gdb, symbol(&symbols, "linux_banner")?)?;
    ensure!(banner.starts_with("Linux version "), "the banner reads {banner:?}");

    let sleep = symbol(&symbols, "do_nanosleep")?;
    for kind in ["hbreak", "break"] {
        run_to(&mut gdb, kind, sleep)?;
        let name = comm(&mut gdb, &symbols)?;
        ensure!(name == "busybox" || name == "sleep", "{name} sleeps");
    }
    gdb.command("stepi")?;
    let next = gdb.value("$rip")?;
    ensure!(next != sleep && next.abs_diff(sleep) < 16, "one step from {sleep:#x} to {next:#x}");
    let before = steps(&mut gdb)?;
    gdb.command("stepi 999")?;
    let taken = steps(&mut gdb)?.saturating_sub(before);
    // An instruction that exits anyway is one step, HLT another: not every step is counted.
    ensure!(taken >= 900, "999 steps were {taken} exits");
    let rip = gdb.value("$rip")?;
    ensure!(rip >> 47 == 0x1_ffff || rip >> 47 == 0, "after 1,000 steps at {rip:#x}");

    let said = gdb.interrupt_after("continue", Duration::from_secs(2))?;
    ensure!(said.contains("SIGINT"), "Ctrl-C gave: {said}");
    detach(&mut gdb, &mut machine)?;

    let mut again = Gdb::attach(&machine.link())?;
    analyst::to_kernel(&mut again, &symbols)?;
    ensure!(string(&mut again, symbol(&symbols, "linux_banner")?)? == banner, "another banner");
    run_to(&mut again, "hbreak", sleep)?;
    detach(&mut again, &mut machine)
}

/// How many steps the VMM has taken, as far as it counts them: by exceptions, or by the monitor trap flag.
pub(super) fn steps(gdb: &mut Gdb) -> Result<u64> {
    let text = gdb.command("monitor counters")?;
    let counters = facts::counters(&text);
    let steps =
        counters.iter().filter(|(name, _)| matches!(name.as_str(), "exception" | "stepped"));
    steps
        .map(|(_, count)| *count)
        .reduce(|all, more| all + more)
        .with_context(|| format!("`monitor counters` names neither exceptions nor steps:\n{text}"))
}

/// Registers and memory are written and read back; what is not mapped is an error and no more.
fn memory() -> Result<()> {
    let (mut machine, symbols, mut gdb) = attached("ramooflax.do=beat")?;
    run_to(&mut gdb, "hbreak", symbol(&symbols, "do_nanosleep")?)?;
    // Below the stack of a kernel that stands still there is nothing it needs.
    let scratch = "*(unsigned long *) ($rsp - 256)";
    let old = gdb.value(scratch)?;
    gdb.command(&format!("set var {scratch} = 0x1122334455667788"))?;
    // Without gdb's cache of the stack.
    gdb.command("set stack-cache off")?;
    ensure!(gdb.value(scratch)? == 0x1122_3344_5566_7788, "memory does not keep what is written");
    gdb.command(&format!("set var {scratch} = {old:#x}"))?;

    let old = gdb.value("$r15")?;
    gdb.command("set var $r15 = 0x123456789abcdef0")?;
    gdb.command("flushregs")?;
    ensure!(gdb.value("$r15")? == 0x1234_5678_9abc_def0, "r15 does not keep what is written");
    gdb.command(&format!("set var $r15 = {old:#x}"))?;

    for address in ["0xffff7fffffff0000", "0x10"] {
        let said = gdb.command(&format!("x/gx {address}"))?;
        ensure!(said.contains("Cannot access memory"), "{address} is readable: {said}");
    }
    detach(&mut gdb, &mut machine)
}

/// A watchpoint on the kernel's clock stops at every change, with the values before and after it.
fn watch() -> Result<()> {
    let (mut machine, symbols, mut gdb) = attached("ramooflax.do=beat")?;
    let jiffies = format!("*(unsigned long *) {:#x}", symbol(&symbols, "jiffies")?);
    gdb.command(&format!("watch {jiffies}"))?;
    for _ in 0..3 {
        let old = gdb.value(&jiffies)?;
        let said = gdb.command("continue")?;
        let number = |what: &str| -> Result<u64> {
            let line = said.lines().find_map(|line| line.strip_prefix(what));
            Ok(line.with_context(|| format!("no {what:?}: {said}"))?.trim().parse()?)
        };
        let (before, after) = (number("Old value = ")?, number("New value = ")?);
        ensure!(before == old, "the old value is {old}, not {before}");
        ensure!(after == gdb.value(&jiffies)?, "memory does not hold the new value {after}");
        // A CPU that slept counts all ticks it slept through at once.
        ensure!((1..1000).contains(&after.wrapping_sub(old)), "from {old} to {after}");
        let rip = gdb.value("$rip")?;
        ensure!(rip >> 47 == 0x1_ffff, "changed at {rip:#x}, which is not the kernel");
    }
    gdb.command("delete")?;
    detach(&mut gdb, &mut machine)
}

/// What the VMM tells besides the protocol.
fn monitor() -> Result<()> {
    let (mut machine, _, mut gdb) = attached("ramooflax.do=beat")?;
    let help = gdb.command("monitor help")?;
    for command in ["help", "log", "counters", "version"] {
        let line = help.lines().find(|line| line.split_whitespace().next() == Some(command));
        ensure!(line.is_some(), "no {command} in the help:\n{help}");
    }
    // The mirror on the second UART is the same text.
    let log = gdb.command("monitor log")?;
    let first = log.lines().next().unwrap_or_default();
    ensure!(first.len() > 10, "the log is empty: {log:?}");
    ensure!(machine.log().contains(first), "the log is not its mirror:\n{log}{}", machine.tails());
    let count = |gdb: &mut Gdb, names: &[&str]| -> Result<u64> {
        let counters = facts::counters(&gdb.command("monitor counters")?);
        let named = counters.iter().filter(|(known, _)| names.contains(&known.as_str()));
        Ok(named.map(|(_, count)| count).sum())
    };
    // What has the VMM look at the line: the guest's interrupts, or a timer.
    let ticks = ["interrupt", "tick"];
    let before = count(&mut gdb, &ticks)?;
    ensure!(before > 0 && count(&mut gdb, &["cpuid"])? > 0, "the guest made no exits");
    gdb.interrupt_after("continue", Duration::from_secs(1))?;
    ensure!(count(&mut gdb, &ticks)? > before, "no tick in a second");
    let version = gdb.command("monitor version")?;
    ensure!(version.starts_with("Ramooflax "), "the version is {version:?}");
    let said = gdb.command("monitor nonsense")?;
    ensure!(said.contains("unknown command 'nonsense'; known: "), "nonsense gives: {said}");
    detach(&mut gdb, &mut machine)
}

/// `wait` holds the machine before its first instruction; from there to the boot sector.
fn boot_sector() -> Result<()> {
    let guest = Guest::named("cloud", "ramooflax.do=beat");
    let mut machine = Scene::under(guest).option("wait").prepare()?.start()?;
    held(&machine)?;
    std::thread::sleep(Duration::from_secs(2));
    ensure!(!machine.console().contains("USERLAND"), "the machine did not wait");
    let mut gdb = Gdb::attach(&machine.link())?;
    ensure!(gdb.value("$cr0")? & 1 == 0, "the first instruction is not in real mode");
    ensure!(gdb.value("*(unsigned short *) $rip")? == 0x19cd, "it is not int 0x19");
    run_to(&mut gdb, "hbreak", 0x7c00)?;
    ensure!(gdb.value("$cr0")? & 1 == 0, "the boot sector is not in real mode");
    ensure!(gdb.value("*(unsigned short *) 0x7dfe")? == 0xaa55, "no boot sector at 7C00h");
    gdb.command("stepi")?;
    let rip = gdb.value("$rip")?;
    ensure!((0x7c01..0x7e00).contains(&rip), "one step from 7C00h to {rip:#x}");
    let said = gdb.command("detach")?;
    ensure!(said.contains("detached"), "detach gave: {said}");
    machine.wait_console("BEAT 2", BOOT).map(drop)
}

/// Waits until the VMM, told to `wait`, does.
pub(super) fn held(machine: &Machine) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !machine.log().contains("waiting for an analyst") {
        ensure!(Instant::now() < deadline, "no VMM after 60 s{}", machine.tails());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Ctrl-C stops the guest within 100 ms of its own time, twenty times, whatever it does.
fn stop(guest: &Guest) -> Result<()> {
    const LIMIT: u64 = 100_000_000;
    let times = bench::stop::times(&BenchArgs::chosen(), guest, 20)?;
    let worst = times.iter().max().context("no time was taken")?;
    ensure!(*worst < LIMIT, "stopping took up to {worst} ns of the guest: {times:?}");
    Ok(())
}
