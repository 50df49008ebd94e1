//! What stock gdb sees and changes of a guest: every kind of watchpoint, the system registers, memory that is not
//! there or is the VMM's, `monitor`, and a reset that stops before the next guest's first instruction.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use testing::{Gdb, Machine};

use super::Test;
use crate::{
    analyst::run_to,
    scene::{Guest, Scene},
};

const BOOT: Duration = Duration::from_secs(60);
/// RAM of the machine, 512 MiB: nothing of it is above.
const RAM_END: u64 = 512 << 20;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("gdb.watch-kinds", 180, watch_kinds),
        Test::new("gdb.system-registers", 180, system_registers),
        Test::new("gdb.not-there", 180, not_there),
        Test::new("gdb.inspect", 180, inspect),
        Test::new("gdb.reset", 180, || reset("reset")),
        Test::new("gdb.reset-stop", 180, || reset("reset stop")),
    ]
}

/// A guest that counts, in a loop and in the timer's handler, and where.
pub(super) struct Counting {
    pub(super) machine: Machine,
    /// The loop's first instruction.
    pub(super) routine: u64,
    /// What the loop counts.
    pub(super) counter: u64,
    /// What the timer counts.
    pub(super) ticks: u64,
}

impl Counting {
    pub(super) fn start() -> Result<Self> {
        Self::of(Scene::under(Guest::named("exits", "")).prepare()?.start()?)
    }

    /// The guest of a machine that boots it.
    pub(super) fn of(mut machine: Machine) -> Result<Self> {
        let console = machine.wait_console("READY", BOOT)?;
        let number = |name: &str| -> Result<u64> {
            let line = console.lines().find_map(|line| line.strip_prefix(name));
            let digits = line.with_context(|| format!("the guest does not tell its {name}"))?;
            Ok(u64::from_str_radix(digits.trim(), 16)?)
        };
        let (routine, counter) = (number("loop ")?, number("counter ")?);
        let ticks = number("ticks ")?;
        Ok(Self { machine, routine, counter, ticks })
    }

    /// Waits until the guest has begun for the `count`th time.
    fn ready(&mut self, count: usize) -> Result<()> {
        let times = |all: &str| all.matches("READY").count();
        self.machine.wait_console_for("another READY", BOOT, |all| times(all) >= count).map(drop)
    }

    pub(super) fn attach(&self) -> Result<Gdb> {
        Gdb::attach(&self.machine.link()).with_context(|| self.machine.tails())
    }

    /// The guest counts on.
    pub(super) fn lives(&self, gdb: &mut Gdb) -> Result<()> {
        for word in [self.counter, self.ticks] {
            let count = format!("*(unsigned long *) {word:#x}");
            let before = gdb.value(&count)?;
            gdb.interrupt_after("continue", Duration::from_millis(500))?;
            let after = gdb.value(&count)?;
            ensure!(after > before, "{word:#x} stays at {before}{}", self.machine.tails());
        }
        Ok(())
    }
}

/// A watchpoint of each kind stops at what it is for: the loop reads and writes its counter in one instruction.
fn watch_kinds() -> Result<()> {
    let guest = Counting::start()?;
    let mut gdb = guest.attach()?;
    for (command, word) in
        [("watch", guest.ticks), ("awatch", guest.ticks), ("awatch", guest.counter)]
    {
        gdb.command(&format!("{command} *(unsigned long *) {word:#x}"))?;
        let said = gdb.command("continue")?;
        ensure!(said.contains("watchpoint") && said.contains("alue = "), "{command}: {said}");
        gdb.command("delete")?;
    }
    // A write of what is there already is no change: only `rwatch` could tell of it, and it takes it for a read.
    // The counter changes with every access, so a watchpoint on its reads never stops.
    gdb.command(&format!("rwatch *(unsigned long *) {:#x}", guest.counter))?;
    let said = gdb.interrupt_after("continue", Duration::from_secs(1))?;
    ensure!(said.contains("SIGINT"), "stopped at a write: {said}");
    gdb.command("delete")?;
    // The code is read by nobody but the CPU: let it read itself.
    let (at, code) = (guest.routine, "*(unsigned char *) $rip");
    run_to(&mut gdb, "hbreak", at + 1)?;
    ensure!(gdb.value(code)? == 0x48, "the loop is not an INC of 64 bits");
    let word = (at + 0x40) & !7;
    gdb.command(&format!("rwatch *(unsigned long *) {word:#x}"))?;
    // cmp %rax,(%rbx); then the loop as it was.
    let old = gdb.value("*(unsigned long *) $rip")?;
    for line in [
        "set var *(unsigned char *) $rip = 0x48",
        "set var *(unsigned char *) ($rip + 1) = 0x39",
        "set var *(unsigned char *) ($rip + 2) = 0x03",
        &format!("set var $rbx = {word:#x}"),
    ] {
        gdb.command(line)?;
    }
    let rip = gdb.value("$rip")?;
    let said = gdb.command("continue")?;
    ensure!(said.contains("read watchpoint"), "a read gave: {said}");
    ensure!(gdb.value("$rip")? == rip + 3, "not behind the read");
    gdb.command("delete")?;
    gdb.command(&format!("set var $rip = {rip:#x}"))?;
    gdb.command(&format!("set var *(unsigned long *) $rip = {old:#x}"))?;
    guest.lives(&mut gdb)
}

/// Every system register that a guest can live with is written, read back, and the guest goes on with it.
fn system_registers() -> Result<()> {
    let guest = Counting::start()?;
    let mut gdb = guest.attach()?;
    let set = |gdb: &mut Gdb, register: &str, value: u64| -> Result<String> {
        let said = gdb.command(&format!("set var ${register} = (unsigned long) {value:#x}"))?;
        gdb.command("flushregs")?;
        Ok(said)
    };
    let keeps = |gdb: &mut Gdb, register: &str, value: u64| -> Result<()> {
        let said = set(gdb, register, value)?;
        let now = gdb.value(&format!("${register}"))?;
        ensure!(now == value, "{register} = {value:#x} gives {now:#x}: {said}");
        Ok(())
    };
    let refuses = |gdb: &mut Gdb, register: &str, value: u64| -> Result<()> {
        let before = gdb.value(&format!("${register}"))?;
        let said = set(gdb, register, value)?;
        let now = gdb.value(&format!("${register}"))?;
        ensure!(said.contains("Could not write register"), "{register} = {value:#x}: {said}");
        ensure!(now == before, "{register} is {now:#x} after a refusal, {before:#x} before");
        Ok(())
    };
    let [cr0, cr3, cr4, efer] = ["$cr0", "$cr3", "$cr4", "$efer"].map(|it| gdb.value(it));
    let (cr0, cr3, cr4, efer) = (cr0?, cr3?, cr4?, efer?);
    // WP, PGE, SCE: nothing this guest depends upon; and back.
    for (register, old, bit) in [("cr0", cr0, 16), ("cr4", cr4, 7), ("efer", efer, 0)] {
        keeps(&mut gdb, register, old ^ 1 << bit)?;
        guest.lives(&mut gdb)?;
        keeps(&mut gdb, register, old)?;
    }
    keeps(&mut gdb, "cr2", 0x1234_5678_9abc)?;
    keeps(&mut gdb, "cr3", cr3 ^ 1 << 3)?;
    keeps(&mut gdb, "cr3", cr3)?;
    keeps(&mut gdb, "cr8", 5)?;
    keeps(&mut gdb, "cr8", 0)?;
    keeps(&mut gdb, "k_gs_base", 0xffff_8000_1234_5000)?;
    for register in ["fs_base", "gs_base", "ldtr_base"] {
        let old = gdb.value(&format!("${register}"))?;
        keeps(&mut gdb, register, 0x7fff_ffff_f000)?;
        keeps(&mut gdb, register, old)?;
    }
    for register in ["gdtr_limit", "idtr_limit"] {
        let old = gdb.value(&format!("${register}"))?;
        keeps(&mut gdb, register, 0xfff)?;
        keeps(&mut gdb, register, old)?;
    }
    for (n, address) in [0x1111, 0x2222, 0x3333, 0x4444].into_iter().enumerate() {
        keeps(&mut gdb, &format!("dr{n}"), address)?;
    }
    // What is written is the guest's: a breakpoint it would hit itself, were it enabled.
    guest.lives(&mut gdb)?;
    ensure!(gdb.value("$dr3")? == 0x4444, "the guest's DR3 is gone after it ran");
    for (register, value) in [
        ("cr0", cr0 & !1),
        ("cr0", 1 << 32 | cr0),
        ("cr0", cr0 | 1 << 29),
        ("cr4", cr4 & !(1 << 5)),
        ("cr4", cr4 | 1 << 63),
        ("cr8", 16),
        ("efer", efer ^ 1 << 8),
        ("efer", efer | 1 << 12),
        ("cr3", 1 << 63),
        ("fs_base", 1 << 62),
        ("gdtr_base", 1 << 47),
        ("dr7", 1 << 32),
    ] {
        refuses(&mut gdb, register, value)?;
    }
    guest.lives(&mut gdb)
}

/// Memory that is not there, and memory of the VMM's: each way to it is an error, whole, and nothing changes.
fn not_there() -> Result<()> {
    let guest = Counting::start()?;
    let mut gdb = guest.attach()?;
    let map = gdb.command("monitor memory")?;
    let (hole, end) = hole(&map)?;
    ensure!(hole > 1 << 20 && end <= RAM_END && hole & 0x1f_ffff == 0, "the hole: {map}");
    let denied = |said: &str| said.contains("annot access memory") || said.contains("no memory of");
    for physical in [true, false] {
        let mode = u8::from(physical);
        gdb.command(&format!("maintenance packet Qqemu.PhyMemMode:{mode}"))?;
        // Of ours, from both sides, enclosing it; behind RAM; devices; behind everything.
        for at in
            [hole, hole + 0x1234, end - 8, hole - 4, RAM_END, 0xfee0_0000, 1 << 40, u64::MAX - 7]
        {
            for command in [
                format!("x/1gx {at:#x}"),
                format!("set var *(unsigned long *) {at:#x} = 0"),
                format!("monitor xp /1xg {at:#x}"),
            ] {
                let said = gdb.command(&command)?;
                ensure!(denied(&said), "`{command}`, physical {physical}: {said:?}");
            }
            let answer = packet(&mut gdb, &format!("x{at:x},8"))?;
            let short = at == hole - 4;
            ensure!(answer.starts_with('E') != short, "x of {at:#x}: {answer}");
            let data = "00".repeat(8);
            for write in [format!("M{at:x},8:{data}"), format!("X{at:x},8:aaaaaaaa")] {
                let answer = packet(&mut gdb, &write)?;
                ensure!(answer == "E0e", "{write}: {answer}");
            }
        }
        let around = end - hole + 0x1000;
        let from = hole - 0x800;
        let answer = packet(&mut gdb, &format!("m{from:x},{around:x}"))?;
        ensure!(answer.starts_with('E'), "{around:#x} bytes around the hole: {answer}");
    }
    let guest_byte = gdb.value(&format!("*(unsigned char *) {:#x}", hole - 1))?;
    for at in [hole, end - 1, RAM_END, 0xfee0_0000] {
        ensure!(packet(&mut gdb, &format!("Z0,{at:x},1"))? == "E0e", "a breakpoint at {at:#x}");
    }
    // Where no guest is translated to, a debug register stops nobody and does no harm.
    ensure!(packet(&mut gdb, &format!("Z1,{hole:x},1"))? == "OK", "hbreak in the hole");
    ensure!(packet(&mut gdb, &format!("z1,{hole:x},1"))? == "OK", "hbreak in the hole");
    let now = gdb.value(&format!("*(unsigned char *) {:#x}", hole - 1))?;
    ensure!(now == guest_byte, "a refused write wrote");
    guest.lives(&mut gdb)
}

/// First byte of the hole, and the first behind it, as `monitor memory` tells them.
fn hole(map: &str) -> Result<(u64, u64)> {
    let line = map.lines().find(|line| line.contains("the VMM's own"));
    let line = line.with_context(|| format!("the map does not tell the hole:\n{map}"))?;
    let range = line.split_whitespace().next().unwrap_or_default();
    let (first, last) = range.split_once('-').context("no range")?;
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16);
    Ok((number(first)?, number(last)? + 1))
}

/// The answer to a packet that gdb sends for us.
pub(super) fn packet(gdb: &mut Gdb, body: &str) -> Result<String> {
    let said = gdb.command(&format!("maintenance packet {body}"))?;
    let answer = said.lines().find_map(|line| line.strip_prefix("received: \""));
    let answer = answer.with_context(|| format!("{body}: {said}"))?;
    Ok(answer.trim_end_matches('"').to_owned())
}

/// Threads, `monitor xp` and the map, against what else is known of them.
fn inspect() -> Result<()> {
    let guest = Counting::start()?;
    let mut gdb = guest.attach()?;
    let threads = gdb.command("info threads")?;
    ensure!(threads.contains("Thread 1 (CPU 0: 64-bit mode, ring 0)"), "{threads}");
    let word = gdb.value(&format!("*(unsigned long *) {:#x}", guest.counter))?;
    let dump = gdb.command(&format!("monitor xp /1xg {:#x}", guest.counter))?;
    ensure!(dump == format!("{:016x}: {word:#018x}", guest.counter), "not {word:#x}: {dump}");
    // Every instruction of the guest's loop, as gdb has it.
    let code = guest.routine + 1;
    let listing = gdb.command(&format!("monitor dis /2 {code:#x}"))?;
    let listed: Vec<&str> =
        listing.lines().map(|line| line.trim_start_matches('>').trim()).collect();
    let [inc, jmp] = listed.as_slice() else { bail!("not two lines:\n{listing}") };
    ensure!(
        inc.starts_with(&format!("{code:016x}  48 ff 05 "))
            && inc.contains("inc qword ptr [rip+0x"),
        "{listing}"
    );
    ensure!(jmp.ends_with(&format!("jmp {code:#X}").replace("0X", "0x")), "{listing}");
    let map = gdb.command("monitor memory")?;
    ensure!(
        map.lines().any(|line| line.starts_with("0x0000000000000000-") && line.ends_with("usable")),
        "{map}"
    );
    let help = gdb.command("monitor help")?;
    for command in ["help", "log", "counters", "exits", "version", "memory", "xp", "dis", "reset"] {
        let known = |line: &str| line.split_whitespace().next() == Some(command);
        ensure!(help.lines().any(known), "no {command} in the help:\n{help}");
    }
    for (words, complaint) in [
        ("xp", "'xp' wants an address; expected: xp [/COUNTxduoc,bhwg] ADDR"),
        ("reset now", "'reset' does not understand 'now'; expected: reset [stop]"),
    ] {
        let said = gdb.command(&format!("monitor {words}"))?;
        ensure!(said == complaint, "{words}: {said}");
    }
    guest.lives(&mut gdb)
}

/// The machine is reset by `monitor`, and Ramooflax there again: with the guest held before its first instruction
/// if that was asked for, though `wait` is not on its command line, and only this once.
fn reset(words: &str) -> Result<()> {
    let mut guest = Counting::start()?;
    let mut gdb = guest.attach()?;
    let starts = |machine: &Machine| machine.log().matches("guest starts at").count();
    let said = gdb.command(&format!("monitor {words}"))?;
    ensure!(said.contains("resetting the machine; disconnect, and attach again"), "{said}");
    gdb.command("disconnect")?;
    let deadline = Instant::now() + BOOT;
    while starts(&guest.machine) < 2 {
        ensure!(Instant::now() < deadline, "no VMM after the reset{}", guest.machine.tails());
        thread::sleep(Duration::from_millis(50));
    }
    let log = guest.machine.log();
    ensure!(log.contains("reset by the analyst"), "not in the log:\n{log}");
    if words == "reset stop" {
        thread::sleep(Duration::from_secs(2));
        ensure!(guest.machine.console().matches("READY").count() == 1, "the guest was not held");
        let mut gdb = guest.attach()?;
        ensure!(gdb.value("$cr0")? & 1 == 0, "the first instruction is not in real mode");
        ensure!(gdb.value("*(unsigned short *) $rip")? == 0x19cd, "it is not int 0x19");
        let said = gdb.command("monitor dis /1")?;
        ensure!(said.starts_with('>') && said.ends_with("int 0x19"), "16-bit code: {said}");
        run_to(&mut gdb, "hbreak", 0x7c00)?;
        let said = gdb.command("monitor dis /1")?;
        ensure!(said.starts_with(">0000000000007c00  eb ") && said.contains(" jmp 0x7C"), "{said}");
        gdb.command("detach")?;
        guest.ready(2)?;
        // The next one, not asked to be held, is not.
        let mut gdb = guest.attach()?;
        gdb.command("monitor reset")?;
        gdb.command("disconnect")?;
    }
    guest.ready(if words == "reset stop" { 3 } else { 2 })?;
    let mut gdb = guest.attach()?;
    guest.lives(&mut gdb)
}
