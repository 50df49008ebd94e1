//! A guest whose lines gdb knows: `next` by ranges of addresses, and `monitor dis` of its 32-bit code.

use std::{fs, process::Command, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use object::{Object as _, ObjectSymbol as _};
use testing::{Gdb, Machine};

use super::{Test, gdb::steps, inspect::Counting};
use crate::{
    analyst::run_to,
    build, paths,
    scene::{Guest, Scene},
    sh,
};

/// Instructions of the guest's 32-bit code that are listed: with DEC ECX, which 64-bit code takes for a prefix.
const LISTED: usize = 13;
/// How gdb begins to step a line.
const RANGE: &str = "Sending packet: $vCont;r";
/// In the line that loops for long.
const LOOP: &str = "dec {n}";
/// The timer's handler, as symbols name it.
const TICK: &str = "5exits4tick17h";
/// What says that it is to last, as they name it.
const LONG: &str = "5exits4LONG17h";

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("gdb.lines", 180, lines)]
}

fn lines() -> Result<()> {
    // Its timer's handler has a line that loops, interrupts off.
    let scene = Scene::under(Guest::named("exits", "long")).option("wait");
    let machine = scene.prepare()?.start()?;
    let file = fs::read(build::symbols_of("exits"))?;
    let file = object::File::parse(&*file)?;
    let entry = file.entry();
    let address = |name: &str| -> Result<u64> {
        let symbol = file.symbols().find(|it| it.name().is_ok_and(|known| known.contains(name)));
        Ok(symbol.with_context(|| format!("the guest has no {name}"))?.address())
    };
    let (tick, long) = (address(TICK)?, address(LONG)?);
    let mut gdb = at_entry(&machine, entry)?;
    let listing = of_32_bits(&mut gdb, entry)?;

    run_to(&mut gdb, "hbreak", tick)?;
    // Now it is in 64-bit mode.
    let again = gdb.command(&format!("monitor dis /{LISTED} /32 {entry:#x}"))?;
    ensure!(again.trim_start() == listing, "{again}\nis not\n{listing}");

    let guest = Counting::of(machine)?;
    next(&mut gdb)?;
    gdb.command(&format!("set var *(unsigned char *) {long:#x} = 0"))?;
    // Out of the long line, which takes an emulator a while.
    run_to(&mut gdb, "hbreak", guest.routine + 1)?;
    guest.lives(&mut gdb)
}

/// Attaches before the first instruction, and lets the machine run to the guest's, at `entry`.
fn at_entry(machine: &Machine, entry: u64) -> Result<Gdb> {
    super::gdb::held(machine)?;
    let mut gdb = Gdb::attach(&machine.link())?;
    run_to(&mut gdb, "hbreak", entry)?;
    // Not that of the lines' source, Rust.
    gdb.command("set language c")?;
    let file = build::symbols_of("exits");
    let said = gdb.command(&format!("add-symbol-file {}", file.display()))?;
    ensure!(said.contains("Reading symbols"), "{said}");
    Ok(gdb)
}

/// `monitor dis` of 32-bit code has the instructions that objdump has.
fn of_32_bits(gdb: &mut Gdb, entry: u64) -> Result<String> {
    let (cr0, efer) = (gdb.value("$cr0")?, gdb.value("$efer")?);
    let attributes = gdb.value("$cs_attr")?;
    // Protected, without paging; a code segment of 32 bits (D, not L).
    let small = cr0 & 0x8000_0001 == 1 && efer & 1 << 10 == 0 && attributes & 0x600 == 0x400;
    ensure!(small, "not in 32-bit mode: {cr0:#x} {efer:#x} {attributes:#x}");
    let listing = gdb.command(&format!("monitor dis /{LISTED}"))?;
    let mut objdump = Command::new("objdump");
    objdump.args(["-d", "-w", "-M", "i386,intel", &format!("--start-address={entry:#x}")]);
    let theirs = sh::output(objdump.arg(build::symbols_of("exits")))?;
    // Address, bytes and name; theirs: `  200020:<TAB>fa   <TAB>cli`.
    let theirs = theirs.lines().filter_map(|line| {
        let mut parts = line.split('\t');
        let at = u64::from_str_radix(parts.next()?.trim().strip_suffix(':')?, 16).ok()?;
        let bytes = parts.next()?.trim();
        Some(format!("{at:016x} {bytes} {}", parts.next()?.split(' ').next()?))
    });
    let theirs: Vec<_> = theirs.take(LISTED).collect();
    ensure!(theirs.len() == LISTED, "objdump has {theirs:?}");
    for (line, theirs) in listing.lines().zip(&theirs) {
        let words: Vec<_> = line.trim_start_matches('>').split_whitespace().collect();
        let line = words.join(" ");
        ensure!(line.starts_with(theirs), "{line} is not {theirs}");
    }
    ensure!(listing.lines().count() == LISTED && listing.contains(" 49 "), "no DEC:\n{listing}");
    ensure!(listing.starts_with('>'), "where is the next instruction?\n{listing}");
    Ok(listing.trim_start_matches('>').to_owned())
}

/// From line to line, each in one round trip; and a line that loops for long, which Ctrl-C ends.
fn next(gdb: &mut Gdb) -> Result<()> {
    let source = fs::read_to_string(paths::root().join("guests/src/bin/exits.rs"))?;
    let long = source.lines().position(|line| line.contains(LOOP)).context("no such loop")? + 1;
    let mut together = false;
    let mut line = line_of(gdb)?;
    for _ in 0..10 {
        if line == long {
            break;
        }
        let before = steps(gdb)?;
        gdb.command("set debug remote 1")?;
        let said = gdb.command("next")?;
        gdb.command("set debug remote 0")?;
        let now = line_of(gdb)?;
        ensure!(now != line && said.matches(RANGE).count() == 1, "{line}, then {now}: {said}");
        together |= steps(gdb)? > before + 1;
        line = now;
    }
    ensure!(line == long, "in line {line}, not {long}");
    ensure!(together, "no line of several instructions");

    let before = steps(gdb)?;
    gdb.command("set debug remote 1")?;
    let said = gdb.interrupt_behind(RANGE, "next", || {
        thread::sleep(Duration::from_secs(1));
        Ok(())
    })?;
    gdb.command("set debug remote 0")?;
    let end = &said[said.len().saturating_sub(300)..];
    ensure!(said.contains("SIGINT") && line_of(gdb)? == long, "Ctrl-C gave: ..{end}");
    let (trips, steps) = (said.matches(RANGE).count() as u64, steps(gdb)? - before);
    println!("{steps} steps in {trips} round trips");
    ensure!(trips > 1 && steps > 32 * trips, "{steps} steps in {trips} round trips");
    Ok(())
}

/// The line of the source that the guest is in.
fn line_of(gdb: &mut Gdb) -> Result<usize> {
    let said = gdb.command("frame")?;
    let line = said.lines().last().and_then(|line| line.split_whitespace().next()?.parse().ok());
    line.with_context(|| format!("in no line: {said}"))
}
