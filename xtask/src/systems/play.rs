//! Runs a system bare and under the VMM, and compares what it left.

use std::{
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use testing::{Machine, Screen};

use super::{Compared, Play, Step, System, compare, table::Row};
use crate::scene::{Guest, Scene};

/// What GRUB writes to the serial port just before it starts a system.
const MARK: &str = "--- the system ---";
/// A screen has come to rest when it has not changed for so long.
const STILL: Duration = Duration::from_millis(700);

/// What a system left at the stated point.
pub(super) struct Left {
    pub(super) screen: Option<Screen>,
    pub(super) serial: Option<String>,
    /// The hole, as the VMM names it; empty without it.
    pub(super) hole: Range<u64>,
    seconds: f64,
}

/// Runs `system` both ways; prints its row.
///
/// # Errors
/// When it does not reach the stated point, or what is compared differs.
pub(crate) fn run(system: &System) -> Result<()> {
    let play = match system.play {
        Ok(play) => play,
        Err(why) => bail!("{} is not run: {why}", system.name),
    };
    let mut row = Row::of(system);
    let verdict = both(&play, &mut row);
    if let Err(error) = &verdict {
        row.failed(error);
    }
    row.print();
    verdict
}

fn both(play: &Play, row: &mut Row) -> Result<()> {
    let bare = once(play, false).context("on the bare machine")?;
    row.bare = Some(bare.seconds);
    let under = once(play, true).context("under the VMM")?;
    row.under = Some(under.seconds);
    compare::same(play, &bare, &under)
}

/// The files and GRUB commands of a play as a guest of a scene.
fn scene(play: &Play, dir: &Path, vmm: bool) -> Result<Scene> {
    let mut boot = (play.boot)(dir)?;
    // A screen without what firmware, GRUB and the VMM's loader wrote on it before.
    boot.commands = format!("echo '{MARK}'\nterminal_output console\nclear\n{}", boot.commands);
    let guest = Guest::System(boot);
    Ok(if vmm { Scene::under(guest) } else { Scene::bare(guest) })
}

fn once(play: &Play, vmm: bool) -> Result<Left> {
    let dir = tempfile::Builder::new().prefix("ramooflax-system-").tempdir()?;
    let mut prepared = scene(play, dir.path(), vmm)?.prepare()?;
    (play.machine)(&mut prepared.config, dir.path())?;
    if !vmm {
        (play.bare)(&mut prepared.config);
    }
    let mut machine = prepared.start()?;
    let start = Instant::now();
    let limit = Duration::from_secs(play.limit);
    for step in play.way() {
        let left = limit.saturating_sub(start.elapsed() / machine.slower());
        match *step {
            Step::Screen(text) => {
                let here = |screen: &Screen| screen.to_string().contains(text);
                machine.wait_screen_for(&format!("{text:?}"), left, here)?;
            }
            Step::Serial(text) => {
                let here = |all: &str| after_mark(all).is_some_and(|all| all.contains(text));
                machine.wait_console_for(&format!("{text:?}"), left, here)?;
            }
            Step::NotSerial(text) => {
                let console = machine.console();
                let all = after_mark(&console).unwrap_or_default();
                ensure!(!all.contains(text), "{text:?} came over the serial port:\n{all}");
            }
            Step::Type(text) => machine.type_keys(text)?,
            Step::Off => {
                let status = machine.wait_exit(left)?;
                ensure!(status.success(), "the emulator ended with {status}{}", machine.tails());
            }
        }
    }
    let deadline = start + limit * machine.slower();
    let has = |what| play.seen().any(|seen| seen == what);
    let seconds = start.elapsed().as_secs_f64();
    let look = |machine: &Machine| compare::sifted(play, &machine.screen()?);
    let screen = match has(Compared::Screen) {
        true => {
            at_rest(&machine, deadline, look)?;
            Some(machine.screen()?)
        }
        false => None,
    };
    let serial = match has(Compared::Serial) || has(Compared::Lines) {
        true => {
            let all = at_rest(&machine, deadline, |machine| {
                Ok(if machine.is_bochs() { machine.console_lines() } else { machine.console() })
            })?;
            let all = after_mark(&all).context("GRUB did not start the system")?;
            Some(all.to_owned())
        }
        false => None,
    };
    let hole = if vmm { hole(&machine)? } else { 0..0 };
    Ok(Left { screen, serial, hole, seconds })
}

/// What is on the serial port after GRUB's mark: of the last system started, that is.
fn after_mark(all: &str) -> Option<&str> {
    all.rsplit_once(MARK).map(|(_, rest)| rest.trim())
}

/// What `look` sees once it has not changed for a while.
fn at_rest<T: PartialEq>(
    machine: &Machine,
    deadline: Instant,
    look: impl Fn(&Machine) -> Result<T>,
) -> Result<T> {
    let (mut last, mut since) = (look(machine)?, Instant::now());
    while since.elapsed() < STILL {
        std::thread::sleep(Duration::from_millis(100));
        let now = look(machine)?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if Instant::now() > deadline {
            let screen = machine.screen()?;
            bail!("it does not come to rest\n--- screen ---\n{screen}{}", machine.tails());
        }
    }
    Ok(last)
}

/// The hole, as the VMM's log has it. That there is such a line says that the VMM runs.
fn hole(machine: &Machine) -> Result<Range<u64>> {
    let log = machine.log();
    let range = log.lines().find_map(|line| {
        let (first, rest) = line.split_once("hole ")?.1.split_once("..")?;
        let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        Some(number(first)?..number(rest.split(',').next()?)?)
    });
    range.with_context(|| format!("the VMM names no hole:\n{log}"))
}
