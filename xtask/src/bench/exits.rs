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
    scene::{Guest, Scene},
};

pub(super) fn idle(args: &BenchArgs) -> Result<Vec<Row>> {
    // A guest that sleeps goes through its time in no time.
    rate(args, "idle.exits", "ramooflax.do=idle", 100.0, 300.0)
}

pub(super) fn load(args: &BenchArgs) -> Result<Vec<Row>> {
    rate(args, "load.exits", "ramooflax.do=spin", 11.0, 400.0)
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
    let mut qmp = machine.qmp()?;
    // Coming and going makes exits as well: a window as short as can be tells how many.
    let visit = window(&machine, &mut qmp, 0.0)?;
    let whole = window(&machine, &mut qmp, seconds)?;
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

/// Attaches, goes, comes back after `seconds` of the guest: what passed meanwhile. The clock tells whole
/// seconds, so the window begins with one.
fn window(machine: &Machine, qmp: &mut Qmp, seconds: f64) -> Result<Moment> {
    let mut rsp = Rsp::attach(&machine.link())?;
    let before = counters(&mut rsp)?;
    let now = clock(qmp)?;
    wait(qmp, now + 1.0)?;
    let from = clock(qmp)?;
    rsp.send(b"D")?;
    qmp.execute("cont", json!({}))?;
    rsp.reply()?;
    drop(rsp);
    let mut rsp = Rsp::connect(&machine.link())?;
    wait(qmp, from + seconds)?;
    let passed = clock(qmp)? - from;
    rsp.put(&framed(b"?"))?;
    // Not before the emulator has taken it from the socket, which it does between commands.
    qmp.status()?;
    qmp.status()?;
    qmp.execute("cont", json!({}))?;
    rsp.reply()?;
    rsp.introduce()?;
    let after = counters(&mut rsp)?;
    rsp.request(b"D")?;
    let since = |(kind, count): &(String, u64)| {
        let old = before.iter().find(|(known, _)| known == kind).map_or(0, |(_, count)| *count);
        (kind.clone(), count - old)
    };
    Ok(Moment { seconds: passed, counters: after.iter().map(since).collect() })
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
