//! The life cycle: who is attached, whether the guest runs, and what is still owed to the client.

use crate::copies::Copies;
use crate::frame::{CTRL_C, Event, Frame};
use crate::memory::{self, hex, readable, writable};
use crate::range::{After, Range};
use crate::sent::{Again, Sent};
use crate::shim::{self, Outcome};
use crate::stop::{StopReply, cpu_of};
use crate::{Action, Output, Reason, Target, reply};
use core::fmt;

/// The longest packet in bytes, frame and checksum included, either way.
pub const PACKET: usize = 4096;

/// QEMU's packet that chooses what memory packets address, before its 0 or 1.
const PHYSICAL: &[u8] = b"Qqemu.PhyMemMode:";

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
    /// Memory packets name guest-physical addresses.
    physical: bool,
}

/// The GDB server.
pub struct Stub<O> {
    frame: Frame,
    copies: Copies,
    /// Room for `gdbstub`, and for the packet `copies` speaks of as long as it expects any.
    scratch: &'static mut [u8],
    out: Sent<O>,
    life: Life,
    choices: Choices,
    last: Reason,
    /// The range being stepped, if any.
    range: Option<Range>,
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
            out: Sent::new(out),
            life: Life::Detached,
            choices: Choices::default(),
            last: Reason::Attached,
            range: None,
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
        self.out.inner()
    }

    /// Takes one byte from the link.
    pub fn incoming(&mut self, target: &mut dyn Target, byte: u8) -> Action {
        self.copies.see(byte);
        if self.life == Life::Stopping(Owed::Answer) {
            // The frame is taken. Nothing is lost: who sends now has no acknowledgement yet.
            return Action::None;
        }
        if self.frame.idle() && matches!(self.life, Life::Stopped | Life::Detached) {
            match byte {
                b'+' => self.out.accepted(),
                b'-' => self.again(target),
                _ => {}
            }
        }
        if byte == b'$' {
            // The packet that was answered is no longer in the frame.
            self.out.forget();
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
                self.out.sign(b'-');
                Action::None
            }
            // Noise, or a client that will introduce itself: nobody is here to answer for the stop.
            (Some(Event::Break), Life::Detached) => Action::None,
            (Some(Event::Break), Life::Running) => self.interrupt(Owed::StopReply),
            (Some(Event::Break), Life::Stopping(_)) => Action::None,
            (Some(Event::Break), Life::Stopped) => {
                if let Some(range) = &mut self.range {
                    range.interrupt();
                }
                Action::None
            }
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
        let range = self.range.take().filter(|_| life == Life::Running);
        match range.map(|range| range.stopped(target, why)) {
            Some(After::Step(range, cpu)) => return self.resume(Some(cpu), Some(range)),
            Some(After::UsedUp(range)) => self.range = Some(range),
            Some(After::Left) | None => {}
        }
        match life {
            Life::Running | Life::Stopping(Owed::StopReply) => {
                self.out.begin(!self.choices.no_ack);
                self.stop_reply(target);
            }
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

    /// The client got the last reply damaged.
    fn again(&mut self, target: &mut dyn Target) {
        if self.life == Life::Stopped && self.out.refused() == Again::Answer {
            // It showed something, and shows it again: no such packet lets the guest run.
            let _ = self.reply(target);
            if self.copies.expected() {
                self.expect_copies();
            }
        }
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
        self.range = None;
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
            self.out.sign(b'+');
        }
        self.out.begin(!self.choices.no_ack);
        self.reply(target)
    }

    /// Replies to the packet in the frame.
    fn reply(&mut self, target: &mut dyn Target) -> Action {
        match self.frame.body() {
            b"?" => self.stop_reply(target),
            b"c" | b"vCont;c" => return self.go(target, None, None),
            b"s" | b"vCont;s" => return self.go(target, Some(self.choices.step_cpu), None),
            [b'C', _, _] => return self.go(target, None, None),
            [b'S', _, _] => return self.go(target, Some(self.choices.step_cpu), None),
            // With an address: nobody sends it, and `gdbstub` would ignore the address.
            [b'c' | b'C' | b's' | b'S', ..] => self.send(format_args!("")),
            [b'H', op, thread @ ..] => {
                let (op, cpu) = (*op, chosen(thread, target.cpus()));
                self.choose(op, cpu);
            }
            [b'm', range @ ..] if !readable(range) => self.malformed(),
            [b'M', packet @ ..] if !writable(packet, false) => self.malformed(),
            [b'X', packet @ ..] if !writable(packet, true) => self.malformed(),
            [b'x', range @ ..] => {
                let from = (self.choices.cpu, self.choices.physical);
                if !memory::binary(target, from, range, self.scratch, &mut self.out) {
                    self.malformed();
                }
            }
            b"qqemu.Supported" => self.send(format_args!("PhyMemMode")),
            b"qqemu.PhyMemMode" => {
                let physical = u8::from(self.choices.physical);
                self.send(format_args!("{physical}"));
            }
            mode if mode.starts_with(PHYSICAL) => {
                match mode.strip_prefix(PHYSICAL) {
                    Some(b"0") => self.choices.physical = false,
                    Some(b"1") => self.choices.physical = true,
                    _ => {
                        self.malformed();
                        return Action::None;
                    }
                }
                self.send(format_args!("OK"));
            }
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
                     qXfer:features:read+;binary-upload+;qqemu.PhyMemMode+"
                ));
            }
            _ => return self.serve(target),
        }
        Action::None
    }

    /// Lets `gdbstub` answer the packet in the frame.
    fn serve(&mut self, target: &mut dyn Target) -> Action {
        let from = (self.choices.cpu, self.choices.physical);
        match shim::serve(target, from, self.frame.packet(), self.scratch, &mut self.out) {
            Outcome::Answered => {
                self.choices.no_ack |= self.frame.body() == b"QStartNoAckMode";
                Action::None
            }
            Outcome::Resume { step, range } => {
                let cpu = step.and_then(|thread| thread.checked_sub(1));
                let cpu = cpu.filter(|&cpu| cpu < target.cpus());
                let range = cpu.zip(range).map(|(cpu, range)| Range::new(cpu, range));
                self.go(target, cpu, range)
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

    /// The client lets the guest run, unless it has stopped a range already.
    fn go(&mut self, target: &mut dyn Target, step: Option<usize>, range: Option<Range>) -> Action {
        if self.range.take().is_some_and(|range| range.interrupted()) {
            self.last = Reason::Interrupt { cpu: cpu_of(self.last) };
            self.stop_reply(target);
            return Action::None;
        }
        self.resume(step, range)
    }

    fn resume(&mut self, step: Option<usize>, range: Option<Range>) -> Action {
        self.range = range;
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

    fn stop_reply(&mut self, target: &mut dyn Target) {
        let regs = target.registers(cpu_of(self.last));
        let Choices { swbreak, hwbreak, .. } = self.choices;
        let reply = StopReply { why: self.last, swbreak, hwbreak, regs };
        self.send(format_args!("{reply}"));
    }

    fn send(&mut self, body: fmt::Arguments<'_>) {
        reply::send(&mut self.out, body);
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
