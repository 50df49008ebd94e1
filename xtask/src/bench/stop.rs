//! How long a guest takes to stop when asked.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use object::{Object as _, ObjectSymbol as _};
use testing::Rsp;

use super::{
    BenchArgs,
    boot::{LIMIT, start},
    rows::Row,
};
use crate::{
    analyst, build,
    scene::{Guest, Scene},
};

/// Where the VMM sees its own memory (crate `handover`), the image first.
const VMM_BASE: u64 = 0xffff_8000_0000_0000;
/// What the VMM calls when the guest is to stand still, as its symbols name it.
const STOP: &str = "2hv5debug4stop17h";
/// Stops for the figure.
const STOPS: usize = 200;

/// Instructions a guest has run, before it is stopped again.
const RUN: u64 = 1_000_000;

/// What guests do: their name here, and how they are told.
pub(crate) const DOING: [(&str, &str); 3] =
    [("idle", "ramooflax.do=idle"), ("user", "ramooflax.do=spin"), ("kernel", "ramooflax.do=copy")];

/// Nanoseconds of the guest from request to stop, in half of all cases and in 99 of 100.
pub(super) fn latency(args: &BenchArgs) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, words) in DOING {
        let mut times = times(args, words, STOPS)?;
        times.sort_unstable();
        let share = |percent: usize| times.get(STOPS * percent / 100 - 1).copied().unwrap_or(0);
        for (percent, target) in [(50, 10_000_000.0), (99, 100_000_000.0)] {
            let part = format!("{name} p{percent}");
            let row = Row::new("stop.latency", &part, "cloud", share(percent) as f64, "ns");
            rows.push(row.at_most(target));
        }
    }
    Ok(rows)
}

/// Stops a guest that does as `words` say so many times: nanoseconds of the guest, one for each instruction,
/// from the byte that is in the UART to the VMM's decision to stop. The emulator is paused at both, so that
/// how busy its host is does not matter.
pub(crate) fn times(args: &BenchArgs, words: &str, stops: usize) -> Result<Vec<u64>> {
    let guest = Guest::named("cloud", &format!("ramooflax.syms {words}"));
    let mut machine = start(&Scene::under(guest), args, |prepared| {
        prepared.config.icount = true;
        prepared.config.qemu_gdb = true;
        prepared.config.keep_sent = false;
    })?;
    analyst::ready(&mut machine, LIMIT)?;
    // With acknowledgements: they say that the guest is let go.
    let mut link = Rsp::connect(&machine.link())?;
    link.request(b"qSupported:swbreak+;hwbreak+")?;
    let mut emulator = Rsp::attach(&machine.qemu_gdb())?;
    let mut qmp = machine.qmp()?;
    let stop = stop_function()?;
    ensure!(emulator.request(format!("Z1,{stop:x},1").as_bytes())? == b"OK", "no breakpoint");
    emulator.send(b"c")?;
    let mut times = Vec::new();
    for n in 0..stops {
        link.send(b"c")?;
        let from = qmp.icount()?;
        let asked = loop {
            // At any point of the guest's 4 ms ticks, however slow the host.
            thread::sleep(Duration::from_millis(8 + n as u64 * 7 % 23));
            emulator.interrupt()?;
            emulator.reply()?;
            let now = qmp.icount()?;
            if now > from + RUN {
                break now;
            }
            emulator.send(b"c")?;
        };
        link.interrupt()?;
        // Not before the emulator has taken it from the socket, which it does between commands.
        qmp.status()?;
        qmp.status()?;
        let said = emulator.request(b"c")?;
        ensure!(said.starts_with(b"T05"), "no stop: {:?}", String::from_utf8_lossy(&said));
        times.push(qmp.icount()?.checked_sub(asked).context("the count went back")?);
        // Off the breakpoint, where QEMU would stop again.
        emulator.request(b"s")?;
        emulator.send(b"c")?;
        let said = link.reply()?;
        let stopped = said.starts_with(b"T02") || said == b"S02";
        ensure!(stopped, "stopped by {:?}", String::from_utf8_lossy(&said));
    }
    Ok(times)
}

/// Where the VMM decides to stop.
fn stop_function() -> Result<u64> {
    let image = fs::read(build::vmm()?.resident)?;
    let image = object::File::parse(&*image)?;
    let found = image.symbols().find(|symbol| symbol.name().is_ok_and(|name| name.contains(STOP)));
    Ok(VMM_BASE + found.with_context(|| format!("the image has no {STOP}"))?.address())
}
