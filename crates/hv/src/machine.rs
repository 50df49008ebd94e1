//! What all CPUs share. Locks are taken in the order of the fields and never across a guest entry.
use crate::debug::Debugger;
use crate::{Host, Log, MICROCODE, Nested, ports::Devices};
use core::sync::atomic::{AtomicBool, Ordering};
use handover::Options;
use spin::Mutex;
use stub::{Output, PACKET, Stub};

/// Memory the machine needs for its whole life.
pub struct Buffers {
    /// The packet being received.
    pub frame: &'static mut [u8; PACKET],
    /// The packet being answered.
    pub scratch: &'static mut [u8; PACKET],
    /// A microcode patch.
    pub patch: &'static mut [u8; MICROCODE],
}

/// The analyst's line as the stub writes it.
pub(crate) struct Line<L>(pub(crate) L);

impl<L: link::Link> Output for Line<L> {
    fn put(&mut self, byte: u8) {
        self.0.send(byte);
    }
}

/// The stub with its line, and the debugger it serves.
pub(crate) struct Console<L> {
    pub(crate) stub: Stub<Line<L>>,
    pub(crate) debugger: Debugger,
}

/// The whole machine.
pub struct Machine<H: Host> {
    /// The machine under the VMM.
    pub host: H,
    /// The command line, parsed.
    pub options: Options,
    /// CPUs in the machine, this one included.
    pub cpus: u32,
    /// What the probe is answered with: see [`handover::HandOver::next_disk`].
    pub next_disk: u32,
    pub(crate) console: Option<Mutex<Console<H::Link>>>,
    pub(crate) devices: Mutex<Devices>,
    pub(crate) nested: Mutex<Nested<H::Tables>>,
    pub(crate) log: Mutex<Log<H::Link>>,
    pub(crate) patch: Mutex<&'static mut [u8; MICROCODE]>,
    attached: AtomicBool,
    closed_to_probes: AtomicBool,
}

impl<H: Host> Machine<H> {
    /// The machine; without a `line` nobody can attach.
    pub fn new(
        host: H,
        options: Options,
        cpus: u32,
        line: Option<H::Link>,
        buffers: Buffers,
        nested: Nested<H::Tables>,
        log: Log<H::Link>,
    ) -> Self {
        let console = line.map(|line| {
            let stub = Stub::new(buffers.frame, buffers.scratch, Line(line));
            Mutex::new(Console { stub, debugger: Debugger::default() })
        });
        Self {
            host,
            options,
            cpus,
            next_disk: 0,
            console,
            devices: Mutex::new(Devices::default()),
            nested: Mutex::new(nested),
            log: Mutex::new(log),
            patch: Mutex::new(buffers.patch),
            attached: AtomicBool::new(false),
            closed_to_probes: AtomicBool::new(false),
        }
    }

    /// Whether a client is attached. Relaxed: it only chooses how to wait.
    pub(crate) fn attached(&self) -> bool {
        self.attached.load(Ordering::Relaxed)
    }

    pub(crate) fn set_attached(&self, attached: bool) {
        self.attached.store(attached, Ordering::Relaxed);
    }

    /// Whether an operating system has been seen. Relaxed: it guards nothing else.
    pub(crate) fn closed_to_probes(&self) -> bool {
        self.closed_to_probes.load(Ordering::Relaxed)
    }

    pub(crate) fn close_to_probes(&self) {
        self.closed_to_probes.store(true, Ordering::Relaxed);
    }

    /// Add a line to the log.
    pub fn log(&self, line: core::fmt::Arguments<'_>) {
        self.log.lock().line(line);
    }

    /// Add a line to the log unless this CPU was in the middle of one: for reports of faults.
    pub fn try_log(&self, line: core::fmt::Arguments<'_>) {
        if let Some(mut log) = self.log.try_lock() {
            log.line(line);
        }
    }
}
