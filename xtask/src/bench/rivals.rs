//! The VMM's stub over the UART and the emulator's own, side by side: the same kernel stands at the same
//! function on two machines, of which one runs at a time. The host may be busy with other things, so
//! they take turns, and only their ratio counts.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use testing::{Machine, Qmp, Rsp};

use super::{
    BenchArgs,
    boot::{LIMIT, start},
};
use crate::{
    analyst,
    facts::symbol,
    scene::{Guest, Scene},
};

/// Turns of each.
const TURNS: usize = 9;

/// What is done in one turn: it gives how much.
pub(super) type Work<'a> = &'a mut dyn FnMut(&mut Rsp) -> Result<u64>;

/// A machine whose guest stands still.
pub(super) struct Side {
    /// Its stub.
    pub(super) rsp: Rsp,
    _machine: Machine,
    /// To pause the emulator: the VMM looks at its line without end while the guest stands still.
    qmp: Option<Qmp>,
}

impl Side {
    /// What `work` gives, and that a second.
    pub(super) fn turn(&mut self, work: Work<'_>) -> Result<(u64, f64)> {
        if let Some(qmp) = &mut self.qmp {
            qmp.execute("cont", json!({}))?;
        }
        let from = Instant::now();
        let done = work(&mut self.rsp)?;
        let rate = done as f64 / from.elapsed().as_secs_f64();
        if let Some(qmp) = &mut self.qmp {
            qmp.execute("stop", json!({}))?;
        }
        Ok((done, rate))
    }
}

/// Both.
pub(super) struct Rivals {
    /// The VMM, over the UART.
    pub(super) ours: Side,
    /// The emulator, without the VMM.
    pub(super) theirs: Side,
}

impl Rivals {
    /// Boots both to the function that the kernel calls at each tick.
    ///
    /// # Errors
    /// When one does not come there.
    pub(super) fn start(args: &BenchArgs) -> Result<Self> {
        let guest = Guest::named("cloud", "nokaslr ramooflax.syms ramooflax.do=spin");
        let theirs = side(&Scene::bare(guest.clone()), args, false)?;
        let ours = side(&Scene::under(guest), args, true)?;
        Ok(Self { ours, theirs })
    }

    /// The median rates, ours and theirs, of the same kind of work.
    ///
    /// # Errors
    /// When a stub does not do it.
    pub(super) fn compare(&mut self, ours: Work<'_>, theirs: Work<'_>) -> Result<(f64, f64)> {
        let (mut our_rates, mut their_rates) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            our_rates.push(self.ours.turn(ours)?.1);
            their_rates.push(self.theirs.turn(theirs)?.1);
        }
        Ok((median(our_rates), median(their_rates)))
    }
}

fn side(scene: &Scene, args: &BenchArgs, vmm: bool) -> Result<Side> {
    let mut machine = start(scene, args, |prepared| {
        prepared.config.qemu_gdb = !vmm;
        prepared.config.keep_sent = false;
    })?;
    let symbols = analyst::ready(&mut machine, LIMIT)?;
    let tick = symbol(&symbols, "update_process_times")?;
    let mut rsp = Rsp::attach(&if vmm { machine.link() } else { machine.qemu_gdb() })?;
    let set = rsp.request(format!("Z1,{tick:x},1").as_bytes())?;
    ensure!(set == b"OK", "no breakpoint: {:?}", String::from_utf8_lossy(&set));
    let said = rsp.request(b"c")?;
    ensure!(said.starts_with(b"T05"), "stopped by {:?}", String::from_utf8_lossy(&said));
    rsp.request(format!("z1,{tick:x},1").as_bytes())?;
    let registers = rsp.request(b"g")?;
    // RIP is the one after the sixteen general ones.
    let rip = unhex(registers.get(16 * 16..17 * 16).unwrap_or_default())?;
    ensure!(rip == tick.to_le_bytes(), "not at {tick:#x}, but at {rip:x?}");
    if vmm {
        // A client that has looked is told more.
        rsp.introduce()?;
    }
    let mut qmp = match vmm {
        true => Some(machine.qmp()?),
        false => None,
    };
    if let Some(qmp) = &mut qmp {
        qmp.execute("stop", json!({}))?;
    }
    Ok(Side { rsp, _machine: machine, qmp })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The bytes that a reply in hexadecimal digits stands for.
///
/// # Errors
/// When it is an error, or no such reply.
pub(super) fn unhex(reply: &[u8]) -> Result<Vec<u8>> {
    let text = std::str::from_utf8(reply)?;
    let pairs = (0..text.len() / 2).map(|n| text.get(2 * n..2 * n + 2));
    let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    bytes.filter(|_| text.len() % 2 == 0).with_context(|| format!("no memory, but {text:?}"))
}
