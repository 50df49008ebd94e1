//! A guest that does whatever a guest can do, at random: the VMM is alive and whole after it.

mod look;

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use testing::Machine;

use self::look::look;
use super::Test;
use crate::{
    facts,
    scene::{Guest, Scene},
};

/// The seed of every run that is to be the same.
const SEED: u64 = 0x5eed;
/// A boot by firmware and GRUB, with and without the VMM's own, takes less.
const BOOT: Duration = Duration::from_secs(60);
/// The guest shows progress more often than this, or it hangs by its own doing.
const STUCK: Duration = Duration::from_secs(8);
/// On Bochs that is not enough, and besides so much of the machine's own time must have passed: how long that takes is
/// the host's affair, which may be busy.
const STUCK_ON_BOCHS: Duration = Duration::from_secs(40);
/// How often the VMM is looked at.
const LOOK: Duration = Duration::from_secs(20);
/// Cases between two lines of the guest.
const EVERY: u64 = 64;
/// Cases that the guest of a run tells of at least, however slow the machine.
const LEAST: u64 = 1000;
/// Cases it tells of for each boot, at least: about one in five hundred resets the machine or hangs.
const PER_BOOT: u64 = 100;
/// Boots that are no share of anything yet.
const FIRST_BOOTS: u32 = 4;
/// Cases of which some are compared with the bare machine's.
const REPEATABLE: u64 = 3000;
/// Of these, more than this are told of: the others are not repeatable, or an NMI met them.
const ENOUGH: usize = 600;
/// More cases than this that differ are no doubt.
const DOUBTFUL: usize = 6;
/// Where the VMM's own code runs (crate `handover`).
const VMM_BASE: u64 = 0xffff_8000_0000_0000;
/// How QEMU 7.2 ends itself, not asked by the VMM: an instruction that reaches from RAM into a device's memory;
/// an access that reaches over the end of a serial port. How Bochs does: code in a device's memory; a number written to the
/// port by which its BIOS gives up.
const ABORTS: [&str; 4] = [
    "translator_access: Assertion",
    "serial_ioport_read: Assertion",
    "prefetch: getHostMemAddr vetoed direct read",
    "BIOS panic at rombios.c, line ",
];
/// It faults itself, too: once in some runs of ten minutes.
const SIGSEGV: i32 = 11;
/// What the VMM's log must not say.
const WRONG: [&str; 4] = ["VMM fault", "panic", "refused the guest's state", "unknown exit"];

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("torture.quick", 300, || torture(SEED, Duration::from_secs(25))),
        Test::new("torture.same", 500, same),
        Test::new("torture.fixed", 1200, || torture(SEED + 1, Duration::from_secs(600))).long(),
        Test::new("torture.fresh", 1200, fresh).long(),
    ]
}

/// A seed nobody has tried.
fn fresh() -> Result<()> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    torture(seed, Duration::from_secs(600))
}

/// Tortures for `time`.
fn torture(seed: u64, time: Duration) -> Result<()> {
    let mut run = Run::start(true, format!("seed={seed:x}"), 0)?;
    let result = tortured(&mut run, time);
    println!("seed {seed:#x}: {:?}", run.tally);
    result.with_context(|| {
        format!(
            "see it again by `cargo xtask run --guest torture --append \"seed={seed:x} from={:x} trace\"`",
            run.next
        )
    })
}

fn tortured(run: &mut Run, time: Duration) -> Result<()> {
    let start = Instant::now();
    let mut next = LOOK.min(time / 3);
    while start.elapsed() < time || run.tally.cases < LEAST {
        thread::sleep(Duration::from_millis(300));
        run.go_on()?;
        if start.elapsed() > next && run.running && run.looked_at()? {
            next = start.elapsed() + LOOK;
        }
    }
    // In the end it must answer, after another boot if need be.
    let deadline = Instant::now() + 3 * BOOT * run.machine.slower();
    while !(run.running && run.looked_at()?) {
        ensure!(Instant::now() < deadline, "it does not answer in the end{}", run.machine.tails());
        thread::sleep(Duration::from_millis(300));
        run.go_on()?;
    }
    Ok(())
}

/// What a run came to, for the person who reads a failure.
#[derive(Debug, Default)]
struct Tally {
    /// Cases the guest told of.
    cases: u64,
    /// Boots, the first included.
    boots: u32,
    /// Of these, by a reset of the guest's own.
    resets: u32,
    /// Machines thrown away because the guest had hung itself, or the firmware after its reset.
    hung: u32,
    /// Machines whose emulator ended itself by one of its own faults.
    aborts: u32,
    /// Times a stock gdb found the VMM in good order.
    looks: u32,
}

/// A guest at work.
struct Run {
    machine: Machine,
    /// The file of the resident image that the machine has.
    image: Vec<u8>,
    under: bool,
    words: String,
    /// The first case that the guest has not told of.
    next: u64,
    /// Bytes of the console that have been read, of this machine.
    seen: usize,
    /// What machines before this one said.
    said: String,
    /// Since when nothing new came.
    since: Instant,
    /// The machine's time when that began to be long.
    quiet: Option<Duration>,
    /// The guest has begun, and has not reset the machine since as far as one knows.
    running: bool,
    tally: Tally,
}

impl Run {
    fn start(under: bool, words: String, from: u64) -> Result<Self> {
        let (machine, image) = Self::machine(under, &words, from)?;
        Ok(Self {
            machine,
            image,
            under,
            words,
            next: from,
            seen: 0,
            said: String::new(),
            since: Instant::now(),
            quiet: None,
            running: false,
            tally: Tally::default(),
        })
    }

    fn machine(under: bool, words: &str, from: u64) -> Result<(Machine, Vec<u8>)> {
        let guest = Guest::named("torture", &format!("{words} from={from:x}"));
        let scene = if under { Scene::under(guest) } else { Scene::bare(guest) };
        let prepared = scene.prepare()?;
        let file = prepared.vmm.as_ref().map(|vmm| fs::read(&vmm.resident)).transpose()?;
        Ok((prepared.start()?, file.unwrap_or_default()))
    }

    /// Reads what the guest said; a machine that hangs is replaced by a fresh one, which goes on behind the case
    /// that did it: the guest may have destroyed what its firmware needs for a reset.
    fn go_on(&mut self) -> Result<()> {
        self.read()?;
        self.works()?;
        if let Some(status) = self.machine.exited()? {
            let errors = self.machine.errors();
            // No guest may make an emulator fault.
            let known = status.signal() == Some(SIGSEGV)
                || ABORTS.iter().any(|abort| errors.contains(abort));
            ensure!(known, "the emulator ended ({status}){}", self.machine.tails());
            self.tally.aborts += 1;
        } else if !self.stuck()? {
            return Ok(());
        } else {
            self.guest_hangs()?;
            self.tally.hung += 1;
        }
        // It was one of these: they are passed over, and nobody has run them.
        self.next = (self.next / EVERY + 1) * EVERY;
        self.said += &self.machine.console();
        (self.machine, self.image) = Self::machine(self.under, &self.words, self.next)?;
        (self.seen, self.since, self.running) = (0, Instant::now(), false);
        self.quiet = None;
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let log = self.machine.log();
        if let Some(line) = log.lines().find(|line| WRONG.iter().any(|wrong| line.contains(wrong)))
        {
            bail!("{line}{}", self.machine.tails());
        }
        let console = self.machine.console();
        let new = console.get(self.seen..).unwrap_or_default();
        let Some(end) = new.rfind('\n') else { return Ok(()) };
        let number = |text: &str| text.split_whitespace().next()?.parse().ok();
        for line in new[..end].lines() {
            // It notices by an exception of its own that a case has destroyed it: then it hangs, as it may.
            let judged = line.starts_with("torture.") && line.contains(": FAIL");
            ensure!(!judged, "{line}{}", self.machine.tails());
            if let Some(case) = line.strip_prefix("INFO torture reset in case ").and_then(number) {
                self.told(case + 1);
                self.tally.resets += 1;
            } else if line.starts_with("INFO torture seed") {
                self.tally.boots += 1;
                self.running = true;
            } else if let Some(case) = line.strip_prefix("INFO torture case ").and_then(number) {
                self.told(case);
            }
        }
        self.seen += end + 1;
        (self.since, self.quiet) = (Instant::now(), None);
        Ok(())
    }

    /// Nothing new has come for so long that nothing will.
    fn stuck(&mut self) -> Result<bool> {
        let quiet = self.since.elapsed();
        if !self.running {
            return Ok(quiet / self.machine.slower() >= BOOT);
        }
        if quiet < STUCK || !self.machine.is_bochs() {
            return Ok(quiet >= STUCK);
        }
        let now = self.machine.time()?;
        Ok(now.saturating_sub(*self.quiet.get_or_insert(now)) >= STUCK_ON_BOCHS)
    }

    /// The guest has done all cases before `next`, or begun the last of them.
    fn told(&mut self, next: u64) {
        self.tally.cases += next.saturating_sub(self.next);
        self.next = next;
    }

    /// Boots take the place of no work: a machine in which every guest is soon reset or hangs is no good one.
    fn works(&self) -> Result<()> {
        let Tally { cases, resets, hung, aborts, .. } = self.tally;
        let boots = u64::from((resets + hung + aborts).saturating_sub(FIRST_BOOTS));
        let tally = &self.tally;
        ensure!(boots * PER_BOOT <= cases, "too many boots: {tally:?}{}", self.machine.tails());
        Ok(())
    }

    /// It is the guest that hangs and not the VMM: the CPU is seen outside the VMM's code, or the VMM answers.
    fn guest_hangs(&self) -> Result<()> {
        for _ in 0..20 {
            if self.rip()?.is_none_or(|rip| rip < VMM_BASE) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        if !self.machine.is_bochs() {
            // It may wait for an interrupt in the place of a guest that halted with interrupts off.
            self.machine.qmp()?.execute("inject-nmi", json!({}))?;
        }
        look(&self.machine, &self.image).context("the VMM hangs")
    }

    /// Where the CPU is, if it says so.
    fn rip(&self) -> Result<Option<u64>> {
        if self.machine.is_bochs() {
            let mut outside = self.machine.outside()?;
            let rip = outside.register("rip")?;
            return outside.go().map(|()| Some(rip));
        }
        let registers = self.machine.qmp()?.human("info registers")?;
        let rip = registers.split_once("RIP=").and_then(|(_, rest)| rest.get(..16));
        Ok(rip.and_then(|hex| u64::from_str_radix(hex, 16).ok()))
    }

    /// A stock gdb finds the VMM in good order; false if the guest has reset the machine meanwhile.
    fn looked_at(&mut self) -> Result<bool> {
        let before = (self.tally.boots, self.tally.hung, self.tally.aborts);
        match look(&self.machine, &self.image) {
            Ok(()) => {
                self.tally.looks += 1;
                Ok(true)
            }
            Err(error) => {
                self.go_on()?;
                let same = before == (self.tally.boots, self.tally.hung, self.tally.aborts);
                let at_work = same && self.since.elapsed() / self.machine.slower() < STUCK / 4;
                if at_work { Err(error.context(self.machine.tails())) } else { Ok(false) }
            }
        }
    }
}

/// Random code ends in the same way with and without the VMM: vector, registers, memory.
fn same() -> Result<()> {
    let mut both = (outcomes(true, 0, REPEATABLE)?, outcomes(false, 0, REPEATABLE)?);
    for _ in 0..3 {
        // Behind a boot, which a busy computer makes of a slow case, memory is another.
        if both.0.boots == both.1.boots {
            break;
        }
        both = (outcomes(true, 0, REPEATABLE)?, outcomes(false, 0, REPEATABLE)?);
    }
    let (under, bare) = (both.0.values, both.1.values);
    // A case that an NMI met is not told of.
    let name = |line: &str| line.split_once(": ").map(|(name, _)| name.to_owned());
    let other = |line: &str| bare.iter().find(|other| name(other) == name(line));
    let pairs: Vec<_> = under.iter().filter_map(|line| Some((line, other(line)?))).collect();
    let differ: Vec<_> = pairs.iter().filter(|(under, bare)| under != bare).collect();
    println!("{} cases compared, {} differ at first", pairs.len(), differ.len());
    ensure!(pairs.len() * 5 > bare.len() * 4, "only {} of {} compared", pairs.len(), bare.len());
    ensure!(pairs.len() > ENOUGH, "only {} cases are told of", pairs.len());
    ensure!(differ.len() <= DOUBTFUL, "{} differ, such as {:?}", differ.len(), differ.first());
    // Code can read what an interrupt left on the stack of an earlier case: alone it cannot.
    for (line, _) in differ {
        let case = line.split(['.', ':']).nth(1).context("a case has a number")?.parse()?;
        let (under, bare) = (alone(true, case)?, alone(false, case)?);
        ensure!(under == bare, "with the VMM: {under:?}\nwithout it: {bare:?}");
    }
    Ok(())
}

/// What becomes of one case in a machine of its own. One that an NMI meets is not told of, and tried again.
fn alone(under: bool, case: u64) -> Result<Vec<String>> {
    for _ in 0..5 {
        let values = outcomes(under, case, case + 1)?.values;
        if !values.is_empty() {
            return Ok(values);
        }
    }
    bail!("case {case} is not told of in five runs, with the VMM: {under}")
}

/// What became of a run's cases.
struct Outcomes {
    values: Vec<String>,
    boots: u32,
}

fn outcomes(under: bool, from: u64, to: u64) -> Result<Outcomes> {
    let mut run = Run::start(under, format!("seed={SEED:x} cases={to:x} repeatable"), from)?;
    let deadline = Instant::now() + Duration::from_secs(150) * run.machine.slower();
    while !run.machine.console().contains("VERDICT PASS\n") {
        ensure!(Instant::now() < deadline, "it does not come to its end{}", run.machine.tails());
        thread::sleep(Duration::from_millis(200));
        run.go_on()?;
    }
    println!("with the VMM: {under}, {:?}", run.tally);
    let values = facts::values(&(run.said + &run.machine.console()));
    Ok(Outcomes { values, boots: run.tally.boots })
}
