//! The life cycle: who is attached, whether the guest runs, and what is still owed to the client.

mod choices;
mod packets;

use crate::copies::Copies;
use crate::frame::{CTRL_C, Event, Frame};
use crate::range::{After, Range};
use crate::said::{Hex, Said};
use crate::sent::{Again, Sent};
use crate::stop::cpu_of;
use crate::{Action, Output, Reason, Target};
use choices::Choices;

/// The longest packet in bytes, frame and checksum included, either way.
pub const PACKET: usize = 4096;

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

    /// Shows text on the console of a client that waits for the guest to stop; nobody else can be told.
    pub fn say(&mut self, text: core::fmt::Arguments<'_>) {
        if self.life != Life::Running {
            return;
        }
        let mut said = Said::<256, _>::new(|text| {
            crate::reply::send(&mut self.out, format_args!("O{}", Hex(text)));
        });
        // It never fails, and a Display that does loses the rest of its own text only.
        let _ = core::fmt::write(&mut said, text);
        said.flush();
    }

    /// Answers a client that waits for the answer to a packet which another stub has received: with an error.
    pub fn fail(&mut self) {
        self.life = Life::Stopped;
        // `EIO`.
        crate::reply::send(&mut self.out, format_args!("E05"));
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
        self.choices = Choices::of(cpu_of(self.last));
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
        self.choices.looks |= matches!(self.frame.body(), [b'g' | b'p' | b'm' | b'x', ..]);
        self.reply(target)
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
}
