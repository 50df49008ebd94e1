//! Exits a second of a guest that nobody looks at.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use testing::{Machine, Qmp, Rsp, framed};

use super::{
    BenchArgs,
    boot::{LIMIT, counting},
    rows::Row,
};
use crate::{
    analyst, facts,
    machine_args::Cpu,
    scene::{Guest, Scene},
};

pub(super) fn idle(args: &BenchArgs) -> Result<Vec<Row>> {
    // A guest that sleeps goes through its time in no time.
    let target = if args.cpu == Cpu::Intel { 150.0 } else { 300.0 };
    rate(args, "idle.exits", "ramooflax.do=idle", 100.0, target)
}

pub(super) fn load(args: &BenchArgs) -> Result<Vec<Row>> {
    let target = if args.cpu == Cpu::Intel { 150.0 } else { 400.0 };
    rate(args, "load.exits", "ramooflax.do=spin", 11.0, target)
}

/// The guest's clock and the VMM's counters.
#[derive(Debug)]
struct Moment {
    seconds: f64,
    counters: Vec<(String, u64)>,
}

/// One row of all, and one for each kind.
fn rate(
    args: &BenchArgs,
    name: &'static str,
    words: &str,
    seconds: f64,
    target: f64,
) -> Result<Vec<Row>> {
    let guest = Guest::named("cloud", &format!("ramooflax.syms {words}"));
    let mut machine = counting(&Scene::under(guest), args)?;
    analyst::ready(&mut machine, LIMIT)?;
    let mut outside = Outside::of(&machine, args)?;
    // Coming and going makes exits as well: a window as short as can be tells how many.
    let visit = window(&machine, &mut outside, 0.0)?;
    let whole = window(&machine, &mut outside, seconds)?;
    let lasted = whole.seconds - visit.seconds;
    ensure!(lasted > 0.9 * seconds, "the window was {lasted} s of the guest");
    let of = |moment: &Moment, kind: &str| {
        let found = moment.counters.iter().find(|(known, _)| known == kind);
        found.map_or(0.0, |(_, count)| *count as f64)
    };
    let mut rows = Vec::new();
    let mut sum = 0.0;
    for (kind, count) in &whole.counters {
        let rate = (*count as f64 - of(&visit, kind)).max(0.0) / lasted;
        sum += rate;
        rows.push(Row::new(name, kind, "cloud", rate, "exits/s"));
    }
    rows.retain(|row| row.value > 0.0);
    rows.insert(0, Row::new(name, "", "cloud", sum, "exits/s").at_most(target));
    Ok(rows)
}

/// Attaches, goes, comes back after `seconds` of the guest: what passed meanwhile. QEMU's clock tells whole
/// seconds, so the window begins with one.
fn window(machine: &Machine, outside: &mut Outside<'_>, seconds: f64) -> Result<Moment> {
    let mut rsp = Rsp::attach(&machine.link())?;
    let before = counters(&mut rsp)?;
    let now = outside.clock()?;
    outside.pause_at(now + 1.0)?;
    let from = outside.clock()?;
    rsp.send(b"D")?;
    outside.go()?;
    rsp.reply()?;
    drop(rsp);
    let mut rsp = Rsp::connect(&machine.link())?;
    outside.pause_at(from + seconds)?;
    let passed = outside.clock()? - from;
    rsp.put(&framed(b"?"))?;
    outside.taken()?;
    outside.go()?;
    rsp.reply()?;
    let passed = outside.until_stopped(from, passed)?;
    rsp.introduce()?;
    let after = counters(&mut rsp)?;
    rsp.request(b"D")?;
    let since = |(kind, count): &(String, u64)| {
        let old = before.iter().find(|(known, _)| known == kind).map_or(0, |(_, count)| *count);
        (kind.clone(), count - old)
    };
    Ok(Moment { seconds: passed, counters: after.iter().map(since).collect() })
}

/// The emulator: it tells the machine's time, and pauses it.
enum Outside<'a> {
    Qemu(Qmp),
    Bochs(&'a Machine),
}

impl<'a> Outside<'a> {
    fn of(machine: &'a Machine, args: &BenchArgs) -> Result<Self> {
        Ok(if args.cpu.is_bochs() { Self::Bochs(machine) } else { Self::Qemu(machine.qmp()?) })
    }

    /// Seconds of the machine.
    fn clock(&mut self) -> Result<f64> {
        match self {
            Self::Qemu(qmp) => clock(qmp),
            Self::Bochs(machine) => Ok(machine.debugger()?.time()?.as_secs_f64()),
        }
    }

    /// Pauses when the clock says so.
    fn pause_at(&mut self, until: f64) -> Result<()> {
        match self {
            Self::Qemu(qmp) => wait(qmp, until),
            Self::Bochs(machine) => machine.debugger()?.run_until(Duration::from_secs_f64(until)),
        }
    }

    fn go(&mut self) -> Result<()> {
        match self {
            Self::Qemu(qmp) => qmp.execute("cont", json!({})).map(drop),
            Self::Bochs(machine) => machine.debugger()?.go(),
        }
    }

    /// Waits until the paused emulator has taken what was sent from its socket, if it can meanwhile.
    fn taken(&mut self) -> Result<()> {
        if let Self::Qemu(qmp) = self {
            // It does so between commands.
            qmp.status()?;
            qmp.status()?;
        }
        Ok(())
    }

    /// Seconds from `from` until a guest that has just stopped did so, which took `passed` until it was told to.
    fn until_stopped(&mut self, from: f64, passed: f64) -> Result<f64> {
        match self {
            // It had the byte already.
            Self::Qemu(_) => Ok(passed),
            // A guest that sleeps goes through a second until the byte is there.
            Self::Bochs(_) => Ok(self.clock()? - from),
        }
    }
}

/// Pauses the emulator when the guest's clock says so.
fn wait(qmp: &mut Qmp, until: f64) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while clock(qmp)? < until {
        ensure!(Instant::now() < deadline, "the guest's clock stands");
        thread::sleep(Duration::from_millis(1));
    }
    qmp.execute("stop", json!({})).map(drop)
}

/// `monitor counters`.
fn counters(rsp: &mut Rsp) -> Result<Vec<(String, u64)>> {
    let command: String = b"counters".iter().map(|byte| format!("{byte:02x}")).collect();
    rsp.send(format!("qRcmd,{command}").as_bytes())?;
    let mut text = Vec::new();
    loop {
        let reply = rsp.reply()?;
        match reply.as_slice() {
            b"OK" => break,
            [b'O', digits @ ..] => text.extend(super::rivals::unhex(digits)?),
            other => anyhow::bail!("qRcmd gave {:?}", String::from_utf8_lossy(other)),
        }
    }
    Ok(facts::counters(&String::from_utf8_lossy(&text)))
}

/// Seconds on the guest's clock chip, which goes by the same clock as all of its devices.
fn clock(qmp: &mut Qmp) -> Result<f64> {
    let now = qmp.execute("qom-get", json!({ "path": "/machine", "property": "rtc-time" }))?;
    let part = |name: &str| now[name].as_f64().with_context(|| format!("no {name} in {now}"));
    let (day, hour) = (part("tm_mday")?, part("tm_hour")?);
    Ok(((day * 24.0 + hour) * 60.0 + part("tm_min")?) * 60.0 + part("tm_sec")?)
}
