//! How long a guest takes to stop when asked.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use object::{Object as _, ObjectSymbol as _};
use testing::{Debugger, Machine, Qmp, Rsp, framed};

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
/// How long bytes take to Bochs's serial port, from thread to thread.
const HANDED_OVER: Duration = Duration::from_millis(100);

/// What guests do: their name here, and how they are told.
pub(crate) const DOING: [(&str, &str); 3] =
    [("idle", "ramooflax.do=idle"), ("user", "ramooflax.do=spin"), ("kernel", "ramooflax.do=copy")];

/// Nanoseconds of the guest from request to stop, in half of all cases and in 99 of 100.
pub(super) fn latency(args: &BenchArgs) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, words) in DOING {
        let mut times = times(args, &Guest::named("cloud", words), STOPS)?;
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

/// Stops a guest so many times: nanoseconds of its machine from the byte that is in the UART to the VMM's decision to
/// stop.
pub(crate) fn times(args: &BenchArgs, guest: &Guest, stops: usize) -> Result<Vec<u64>> {
    let mut watched = Watched::start(args, guest.clone())?;
    let mut times = Vec::new();
    for n in 0..stops {
        watched.link.send(b"c")?;
        let from = watched.count()?;
        loop {
            // At any point of the guest's 4 ms ticks, however slow the host.
            thread::sleep(Duration::from_millis(8 + n as u64 * 7 % 23));
            watched.pause()?;
            if watched.count()? > from + RUN {
                break;
            }
            watched.go_on()?;
        }
        // Ctrl-C.
        times.push(watched.until_stop(b"\x03")? * watched.nanoseconds());
        let said = watched.link.reply()?;
        let stopped = said.starts_with(b"T02") || said == b"S02";
        ensure!(stopped, "stopped by {:?}", String::from_utf8_lossy(&said));
    }
    Ok(times)
}

/// Instructions of the VMM for one step, from the packet in the UART to its decision to stop: the least, for
/// it may be anywhere in its pause between two looks at the line.
pub(super) fn step(args: &BenchArgs) -> Result<u64> {
    let guest = Guest::named("cloud", "ramooflax.do=spin");
    let mut watched = Watched::start(args, guest)?;
    let mut least = u64::MAX;
    for _ in 0..100 {
        watched.pause()?;
        least = least.min(watched.until_stop(&[b"+", framed(b"s").as_slice()].concat())?);
        let said = watched.link.reply()?;
        ensure!(said == b"S05", "a step gave {:?}", String::from_utf8_lossy(&said));
    }
    Ok(least)
}

/// A guest that stands still, and an emulator that is paused whenever the VMM decides to stop the guest: so
/// how busy the host is does not matter.
struct Watched {
    link: Rsp,
    emulator: Emulator,
    machine: Machine,
}

/// What pauses the machine.
enum Emulator {
    /// Its gdb stub, and QMP.
    Qemu(Rsp, Qmp),
    /// Its debugger, which the machine has.
    Bochs,
}

impl Watched {
    fn start(args: &BenchArgs, guest: Guest) -> Result<Self> {
        let bochs = args.cpu.is_bochs();
        let mut machine = start(&Scene::under(guest), args, |prepared| {
            prepared.config.icount = true;
            prepared.config.qemu_gdb = !bochs;
            prepared.config.keep_sent = false;
        })?;
        analyst::ready(&mut machine, LIMIT)?;
        // With acknowledgements: they say that the guest is let go.
        let mut link = Rsp::connect(&machine.link())?;
        link.request(b"qSupported:swbreak+;hwbreak+")?;
        let stop = stop_function()?;
        let emulator = if bochs {
            machine.debugger()?.breakpoint(stop)?;
            Emulator::Bochs
        } else {
            let mut stub = Rsp::attach(&machine.qemu_gdb())?;
            let set = stub.request(format!("Z1,{stop:x},1").as_bytes())?;
            ensure!(set == b"OK", "no breakpoint");
            stub.send(b"c")?;
            Emulator::Qemu(stub, machine.qmp()?)
        };
        Ok(Self { link, emulator, machine })
    }

    /// Pauses the emulator.
    fn pause(&mut self) -> Result<()> {
        match &mut self.emulator {
            Emulator::Qemu(stub, _) => {
                stub.interrupt()?;
                stub.reply().map(drop)
            }
            Emulator::Bochs => self.machine.debugger()?.stop().map(drop),
        }
    }

    /// Lets it go on.
    fn go_on(&mut self) -> Result<()> {
        match &mut self.emulator {
            Emulator::Qemu(stub, _) => stub.send(b"c"),
            Emulator::Bochs => self.machine.debugger()?.go(),
        }
    }

    /// Instructions it has executed; a machine that sleeps counts on.
    fn count(&mut self) -> Result<u64> {
        match &mut self.emulator {
            Emulator::Qemu(_, qmp) => qmp.icount(),
            Emulator::Bochs => self.machine.debugger()?.ticks(),
        }
    }

    /// How many of the machine's nanoseconds an instruction takes.
    fn nanoseconds(&self) -> u64 {
        match self.emulator {
            Emulator::Qemu(..) => 1,
            Emulator::Bochs => Debugger::NANOSECONDS,
        }
    }

    /// Instructions from `bytes` in the UART of a paused machine, which has room for 14, to the decision.
    fn until_stop(&mut self, bytes: &[u8]) -> Result<u64> {
        self.link.put(bytes)?;
        match &mut self.emulator {
            Emulator::Qemu(stub, qmp) => {
                // Not before the emulator has taken them from the socket, which it does between commands.
                qmp.status()?;
                qmp.status()?;
                let from = qmp.icount()?;
                let said = stub.request(b"c")?;
                ensure!(said.starts_with(b"T05"), "no stop: {:?}", String::from_utf8_lossy(&said));
                let passed = qmp.icount()?.checked_sub(from).context("the count went back")?;
                // Off the breakpoint, where QEMU would stop again.
                stub.request(b"s")?;
                stub.send(b"c")?;
                Ok(passed)
            }
            Emulator::Bochs => {
                thread::sleep(HANDED_OVER);
                let mut debugger = self.machine.debugger()?;
                let from = debugger.ticks()?;
                debugger.run()?;
                let passed = debugger.ticks()?.checked_sub(from).context("the count went back")?;
                debugger.go()?;
                Ok(passed)
            }
        }
    }
}

/// Where the VMM decides to stop.
fn stop_function() -> Result<u64> {
    let image = fs::read(build::vmm()?.resident)?;
    let image = object::File::parse(&*image)?;
    let found = image.symbols().find(|symbol| symbol.name().is_ok_and(|name| name.contains(STOP)));
    Ok(VMM_BASE + found.with_context(|| format!("the image has no {STOP}"))?.address())
}
