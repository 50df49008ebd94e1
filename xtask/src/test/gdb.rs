//! A stock gdb against the VMM, used as a person would.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testing::{Gdb, Machine};

use super::Test;
use crate::{
    analyst::{self, comm, run_to, string},
    facts::{Symbols, symbol},
    scene::{Guest, Scene},
};

const BOOT: Duration = Duration::from_secs(150);

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("gdb.session", 300, session),
        Test::new("gdb.memory", 300, memory),
        Test::new("gdb.boot-sector", 300, boot_sector),
        Test::new("gdb.stop-idle", 300, || stop("ramooflax.do=idle")),
        Test::new("gdb.stop-busy", 300, || stop("ramooflax.do=spin")),
    ]
}

/// Debian under the VMM, ready, with a gdb attached.
fn attached(words: &str) -> Result<(Machine, Symbols, Gdb)> {
    let scene = Scene::under(Guest::named("cloud", &format!("ramooflax.syms {words}")));
    let mut machine = scene.prepare()?.start()?;
    let symbols = analyst::ready(&mut machine, BOOT)?;
    let gdb = Gdb::attach(&machine.link())?;
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
    gdb.command("stepi 999")?;
    let rip = gdb.value("$rip")?;
    ensure!(rip >> 47 == 0x1_ffff || rip >> 47 == 0, "after 1,000 steps at {rip:#x}");

    let said = gdb.interrupt_after("continue", Duration::from_secs(2))?;
    ensure!(said.contains("SIGINT"), "Ctrl-C gave: {said}");
    goes_on(&mut gdb, &mut machine)?;

    let mut again = Gdb::attach(&machine.link())?;
    ensure!(string(&mut again, symbol(&symbols, "linux_banner")?)? == banner, "another banner");
    run_to(&mut again, "hbreak", sleep)?;
    goes_on(&mut again, &mut machine)
}

/// Detaches, and sees the guest run on.
fn goes_on(gdb: &mut Gdb, machine: &mut Machine) -> Result<()> {
    let said = gdb.command("detach")?;
    ensure!(said.contains("detached"), "detach gave: {said}");
    let beats = |all: &str| all.matches("BEAT").count();
    let before = beats(&machine.console());
    machine
        .wait_console_for("another BEAT", Duration::from_secs(15), |all| beats(all) > before + 1)?;
    Ok(())
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
    goes_on(&mut gdb, &mut machine)
}

/// `wait` holds the machine before its first instruction; from there to the boot sector.
fn boot_sector() -> Result<()> {
    let guest = Guest::named("cloud", "ramooflax.do=beat");
    let mut machine = Scene::under(guest).option("wait").prepare()?.start()?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while !machine.log().contains("waiting for an analyst") {
        ensure!(Instant::now() < deadline, "no VMM after 60 s{}", machine.tails());
        std::thread::sleep(Duration::from_millis(50));
    }
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

/// Ctrl-C stops the guest within 100 ms of its own time, twenty times, whatever it does. The clock is the
/// emulator's instruction counter: an instruction is a nanosecond. What passes until gdb has
/// sent the byte and shown the stop is in it, so the bound is on the safe side.
fn stop(words: &str) -> Result<()> {
    const LIMIT: u64 = 100_000_000;
    let scene = Scene::under(Guest::named("cloud", &format!("ramooflax.syms {words}")));
    let mut prepared = scene.prepare()?;
    prepared.config.icount = true;
    let mut machine = prepared.start()?;
    analyst::ready(&mut machine, BOOT)?;
    let mut gdb = Gdb::attach(&machine.link())?;
    let mut qmp = machine.qmp()?;
    let mut times = Vec::new();
    for _ in 0..20 {
        let mut asked = 0;
        let said = gdb.interrupt_when("continue", || {
            std::thread::sleep(Duration::from_millis(300));
            asked = qmp.icount()?;
            Ok(())
        })?;
        ensure!(said.contains("SIGINT"), "Ctrl-C gave: {said}");
        times.push(qmp.icount()?.saturating_sub(asked));
    }
    times.sort_unstable();
    println!("nanoseconds of the guest from Ctrl-C to the stop: {times:?}");
    let worst = times.last().context("no time was taken")?;
    ensure!(*worst < LIMIT, "stopping took up to {worst} ns of the guest: {times:?}");
    Ok(())
}
