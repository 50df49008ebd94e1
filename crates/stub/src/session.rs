//! The life cycle: who is attached, whether the guest runs, and what is still owed to the client.

use crate::copies::Copies;
use crate::frame::{CTRL_C, Event, Frame};
use crate::shim::{self, Outcome};
use crate::{Action, Breakpoint, Output, Reason, Target, reply};
use core::fmt;

/// The longest packet in bytes, frame and checksum included, either way.
pub const PACKET: usize = 4096;

const SIGINT: u8 = 2;
const SIGTRAP: u8 = 5;

/// What [`Stub::stopped`] has to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    /// The stop reply of a client that waits.
    StopReply,
    /// The answer to the packet in the frame, the first of a new client.
    Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Nobody is attached, the guest runs.
    Detached,
    /// The client waits for the guest to stop.
    Running,
    /// [`Action::Interrupt`] was returned.
    Stopping(Owed),
    /// The guest stands still.
    Stopped,
}

/// What the client of this session chose; a new one starts from the default.
#[derive(Clone, Copy, Debug, Default)]
struct Choices {
    /// Acknowledgements are off.
    no_ack: bool,
    /// Stop replies may say `swbreak`.
    swbreak: bool,
    /// Stop replies may say `hwbreak`.
    hwbreak: bool,
    /// The CPU of `Hg`.
    cpu: usize,
    /// The CPU of `Hc`, for the packets older than `vCont`.
    step_cpu: usize,
}

/// The GDB server.
pub struct Stub<O> {
    frame: Frame,
    copies: Copies,
    /// Room for `gdbstub`, and for the packet `copies` speaks of as long as it expects any.
    scratch: &'static mut [u8],
    out: O,
    life: Life,
    choices: Choices,
    last: Reason,
}

impl<O: Output> Stub<O> {
    /// A stub with nobody attached and the guest running. `frame` and `scratch` hold a packet each.
    pub fn new(
        frame: &'static mut [u8; PACKET],
        scratch: &'static mut [u8; PACKET],
        out: O,
    ) -> Self {
        Stub {
            frame: Frame::new(frame),
            copies: Copies::default(),
            scratch,
            out,
            life: Life::Detached,
            choices: Choices::default(),
            last: Reason::Attached,
        }
    }

    /// Whether a client is attached, alive or not.
    pub fn attached(&self) -> bool {
        self.life != Life::Detached
    }

    /// Takes over a client that another stub left waiting for the guest to stop.
    pub fn take_over(&mut self) {
        self.life = Life::Running;
    }

    /// The way to the client.
    pub fn output(&mut self) -> &mut O {
        &mut self.out
    }

    /// Takes one byte from the link.
    pub fn incoming(&mut self, target: &mut dyn Target, byte: u8) -> Action {
        self.copies.see(byte);
        if self.life == Life::Stopping(Owed::Answer) {
            // The frame is taken. Nothing is lost: who sends now has no acknowledgement yet.
            return Action::None;
        }
        // Only a stopped guest gets packets with binary data. Otherwise Ctrl-C is Ctrl-C even after
        // half a packet, or one stray `$` on the line would deafen us to it.
        let event = match byte {
            CTRL_C if self.life != Life::Stopped => {
                self.frame.abandon();
                Some(Event::Break)
            }
            _ => self.frame.push(byte),
        };
        match (event, self.life) {
            (None, _) => Action::None,
            // A damaged copy: asked for again, it would be the next packet that comes twice.
            (Some(Event::Damaged), _) if self.copies.expected() => Action::None,
            (Some(Event::Damaged), _) => {
                self.out.put(b'-');
                Action::None
            }
            // Noise, or a client that will introduce itself: nobody is here to answer for the stop.
            (Some(Event::Break), Life::Detached) => Action::None,
            (Some(Event::Break), Life::Running) => self.interrupt(Owed::StopReply),
            (Some(Event::Break), Life::Stopping(_) | Life::Stopped) => Action::None,
            // A client that waits for a stop sends no packet: this is a new one.
            (Some(Event::Packet), Life::Detached | Life::Running) => self.interrupt(Owed::Answer),
            (Some(Event::Packet), Life::Stopping(_)) => {
                self.life = Life::Stopping(Owed::Answer);
                Action::None
            }
            (Some(Event::Packet), Life::Stopped) => {
                match self.copies.take(self.frame.packet(), self.scratch) {
                    true => Action::None,
                    false => self.answer(target),
                }
            }
        }
    }

    /// Tells that every CPU stands still, asked for by [`Action::Interrupt`] or not.
    pub fn stopped(&mut self, target: &mut dyn Target, why: Reason) -> Action {
        let life = core::mem::replace(&mut self.life, Life::Stopped);
        self.last = why;
        self.choices.cpu = cpu_of(why);
        self.choices.step_cpu = self.choices.cpu;
        match life {
            Life::Running | Life::Stopping(Owed::StopReply) => self.stop_reply(),
            Life::Stopping(Owed::Answer) => {
                self.start(target);
                let action = self.answer(target);
                if self.life == Life::Stopped {
                    self.expect_copies();
                }
                return action;
            }
            Life::Detached | Life::Stopped => {}
        }
        Action::None
    }

    /// Keeps the packet in the frame, to know it again.
    fn expect_copies(&mut self) {
        let packet = self.frame.packet();
        if let Some(kept) = self.scratch.get_mut(..packet.len()) {
            kept.copy_from_slice(packet);
            self.copies.expect(packet.len());
        }
    }

    fn interrupt(&mut self, owed: Owed) -> Action {
        self.life = Life::Stopping(owed);
        Action::Interrupt
    }

    /// A new client: what the last one left behind goes.
    fn start(&mut self, target: &mut dyn Target) {
        let cpu = cpu_of(self.last);
        self.choices = Choices { cpu, step_cpu: cpu, ..Choices::default() };
        target.remove_all_breakpoints();
    }

    /// Answers the packet in the frame.
    fn answer(&mut self, target: &mut dyn Target) -> Action {
        // gdb begins with the first, LLDB with the second, and both with acknowledgements on.
        if self.frame.body().starts_with(b"qSupported") {
            self.start(target);
        } else if self.frame.body() == b"QStartNoAckMode" {
            self.choices.no_ack = false;
        }
        if !self.choices.no_ack {
            self.out.put(b'+');
        }
        match self.frame.body() {
            b"?" => self.stop_reply(),
            b"c" | b"vCont;c" => return self.resume(None),
            b"s" | b"vCont;s" => return self.resume(Some(self.choices.step_cpu)),
            [b'C', _, _] => return self.resume(None),
            [b'S', _, _] => return self.resume(Some(self.choices.step_cpu)),
            // With an address: nobody sends it, and `gdbstub` would ignore the address.
            [b'c' | b'C' | b's' | b'S', ..] => self.send(format_args!("")),
            [b'H', op, thread @ ..] => {
                let (op, cpu) = (*op, chosen(thread, target.cpus()));
                self.choose(op, cpu);
            }
            [b'm', range @ ..] if !readable(range) => self.malformed(),
            // Unlike `k` it wants an answer, which `gdbstub` does not give. Any process is ours.
            [b'v', b'K', b'i', b'l', b'l', b';', ..] => {
                self.send(format_args!("OK"));
                return self.leave(target, Action::Kill);
            }
            [b'q', b'S', b'u', b'p', b'p', b'o', b'r', b't', b'e', b'd', asked @ ..] => {
                let asks =
                    |name: &[u8]| asked.split(|b| matches!(b, b':' | b';')).any(|f| f == name);
                (self.choices.swbreak, self.choices.hwbreak) =
                    (asks(b"swbreak+"), asks(b"hwbreak+"));
                // `gdbstub` would offer process ids, which would have to be remembered in it.
                self.send(format_args!(
                    "PacketSize={PACKET:x};QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+;\
                     qXfer:features:read+"
                ));
            }
            _ => return self.serve(target),
        }
        Action::None
    }

    /// Lets `gdbstub` answer the packet in the frame.
    fn serve(&mut self, target: &mut dyn Target) -> Action {
        let cpu = self.choices.cpu;
        match shim::serve(target, cpu, self.frame.packet(), self.scratch, &mut self.out) {
            Outcome::Answered => {
                self.choices.no_ack |= self.frame.body() == b"QStartNoAckMode";
                Action::None
            }
            Outcome::Resume { step } => {
                let cpu = step.and_then(|thread| thread.checked_sub(1));
                self.resume(cpu.filter(|&cpu| cpu < target.cpus()))
            }
            Outcome::Detach => self.leave(target, Action::Detached),
            Outcome::Kill => self.leave(target, Action::Kill),
            Outcome::Malformed => {
                self.malformed();
                Action::None
            }
        }
    }

    fn leave(&mut self, target: &mut dyn Target, action: Action) -> Action {
        self.start(target);
        self.life = Life::Detached;
        action
    }

    fn resume(&mut self, step: Option<usize>) -> Action {
        self.life = Life::Running;
        Action::Resume { step }
    }

    fn choose(&mut self, op: u8, cpu: Option<Option<usize>>) {
        match (op, cpu) {
            (b'g', Some(cpu)) => self.choices.cpu = cpu.unwrap_or(self.choices.cpu),
            (b'c', Some(cpu)) => self.choices.step_cpu = cpu.unwrap_or(self.choices.step_cpu),
            _ => return self.malformed(),
        }
        self.send(format_args!("OK"));
    }

    /// `EINVAL`. If half a reply went out, the client drops that at the `$` of this one.
    fn malformed(&mut self) {
        self.send(format_args!("E16"));
    }

    fn stop_reply(&mut self) {
        let thread = Thread(cpu_of(self.last));
        match self.last {
            Reason::Interrupt { .. } => self.send(format_args!("T{SIGINT:02x}{thread}")),
            Reason::Breakpoint { .. } if self.choices.swbreak => {
                self.send(format_args!("T{SIGTRAP:02x}{thread}swbreak:;"));
            }
            Reason::HardwareBreakpoint { .. } if self.choices.hwbreak => {
                self.send(format_args!("T{SIGTRAP:02x}{thread}hwbreak:;"));
            }
            Reason::Watch { kind: Breakpoint::Write, addr, .. } => {
                self.send(format_args!("T{SIGTRAP:02x}{thread}watch:{addr:x};"));
            }
            Reason::Watch { kind: Breakpoint::Read, addr, .. } => {
                self.send(format_args!("T{SIGTRAP:02x}{thread}rwatch:{addr:x};"));
            }
            Reason::Watch { kind: Breakpoint::Access, addr, .. } => {
                self.send(format_args!("T{SIGTRAP:02x}{thread}awatch:{addr:x};"));
            }
            _ => self.send(format_args!("T{SIGTRAP:02x}{thread}")),
        }
    }

    fn send(&mut self, body: fmt::Arguments<'_>) {
        reply::send(&mut self.out, body);
    }
}

/// The part of a stop reply that names the CPU.
struct Thread(usize);

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread:{:x};", self.0.saturating_add(1))
    }
}

fn cpu_of(why: Reason) -> usize {
    match why {
        Reason::Attached => 0,
        Reason::Interrupt { cpu }
        | Reason::Breakpoint { cpu }
        | Reason::HardwareBreakpoint { cpu }
        | Reason::Watch { cpu, .. }
        | Reason::Step { cpu } => cpu,
    }
}

/// The CPU a thread id names: `Some(None)` is any or all, `None` is none of ours.
fn chosen(thread: &[u8], cpus: usize) -> Option<Option<usize>> {
    match thread {
        b"0" | b"-1" => Some(None),
        _ => {
            let id = usize::try_from(hex(thread)?).ok()?;
            id.checked_sub(1).filter(|&cpu| cpu < cpus).map(Some)
        }
    }
}

/// Whether `addr,length` asks for what fits a reply. `gdbstub` reads a longer range piece by
/// piece for as long as it is told to, which is for ever if the length says so.
fn readable(range: &[u8]) -> bool {
    let mut parts = range.splitn(2, |&byte| byte == b',');
    let (Some(addr), Some(len)) = (parts.next(), parts.next()) else { return false };
    hex(addr).is_some() && hex(len).is_some_and(|len| len <= PACKET as u64 / 2)
}

fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        Some(value << 4 | u64::from(char::from(digit).to_digit(16)?))
    })
}
