//! What each packet is answered with: what `gdbstub` lacks here, the rest by `shim`.

use super::Stub;
use super::choices::{Choices, PLAIN};
use crate::arch::Short;
use crate::memory::{self, hex, readable, writable};
use crate::range::Range;
use crate::shim::{self, Outcome};
use crate::stop::{StopReply, cpu_of};
use crate::{Action, Output, Target, description, reply};
use core::fmt;

/// QEMU's packet that chooses what memory packets address, before its 0 or 1.
const PHYSICAL: &[u8] = b"Qqemu.PhyMemMode:";
const FEATURES: &[u8] = b"qXfer:features:read:";
const THREAD_INFO: &[u8] = b"qThreadExtraInfo,";
const STOP_INFO: &[u8] = b"qThreadStopInfo";
const REGION: &[u8] = b"qMemoryRegionInfo:";

impl<O: Output> Stub<O> {
    /// Replies to the packet in the frame.
    pub(super) fn reply(&mut self, target: &mut dyn Target) -> Action {
        match self.frame.body() {
            b"?" => self.stop_reply_of(target, cpu_of(self.last), false, true),
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
                let asked = (range, self.choices.packet());
                if !memory::binary(target, from, asked, self.scratch, &mut self.out) {
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
                let packet = self.choices.offered(asked);
                // `gdbstub` would offer process ids, which would have to be remembered in it.
                self.send(format_args!(
                    "PacketSize={packet:x};QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+;\
                     qXfer:features:read+;binary-upload+;qqemu.PhyMemMode+"
                ));
            }
            b"g" if self.choices.plain => {
                let regs = target.registers(self.choices.cpu);
                self.send(format_args!("{}", Short(&regs, PLAIN)));
            }
            query if query.starts_with(FEATURES) => {
                let request = query.get(FEATURES.len()..).unwrap_or_default();
                match description::piece(request, self.choices.packet()) {
                    Some((mark, piece)) => self.send(format_args!("{mark}{piece}")),
                    None => self.malformed(),
                }
            }
            query if query.starts_with(THREAD_INFO) => {
                let thread = query.get(THREAD_INFO.len()..).unwrap_or_default();
                match chosen(thread, target.cpus()) {
                    Some(Some(cpu)) => {
                        reply::hex(&mut self.out, |name| target.describe(cpu, name));
                    }
                    _ => self.malformed(),
                }
            }
            // LLDB asks it of each thread after each stop, and takes its name from it.
            query if query.starts_with(STOP_INFO) => {
                let thread = query.get(STOP_INFO.len()..).unwrap_or_default();
                match chosen(thread, target.cpus()) {
                    Some(Some(cpu)) => self.stop_reply_of(target, cpu, true, true),
                    _ => self.malformed(),
                }
            }
            query if query.starts_with(REGION) => {
                match hex(query.get(REGION.len()..).unwrap_or_default()) {
                    Some(addr) => {
                        let region = target.region(self.choices.cpu, addr);
                        self.send(format_args!("{region}"));
                    }
                    None => self.malformed(),
                }
            }
            _ => return self.serve(target),
        }
        Action::None
    }

    /// Lets `gdbstub` answer the packet in the frame.
    fn serve(&mut self, target: &mut dyn Target) -> Action {
        let from = (self.choices.cpu, self.choices.physical);
        let run_lengths = !self.choices.plain;
        let packet = self.frame.packet();
        match shim::serve(target, from, run_lengths, packet, self.scratch, &mut self.out) {
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
            Outcome::Reset { stop } => self.leave(target, Action::Reset { stop }),
            Outcome::Detach => self.leave(target, Action::Detached),
            Outcome::Kill => self.leave(target, Action::Kill),
            Outcome::Malformed => {
                self.malformed();
                Action::None
            }
        }
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

    /// To a client that waits.
    pub(super) fn stop_reply(&mut self, target: &mut dyn Target) {
        let Choices { plain, looks, .. } = self.choices;
        self.stop_reply_of(target, cpu_of(self.last), false, plain || looks);
    }

    /// Of a CPU that did not stop for a reason of its own it tells that it stands still.
    fn stop_reply_of(&mut self, target: &mut dyn Target, cpu: usize, named: bool, looks: bool) {
        let regs = looks.then(|| target.registers(cpu));
        let Choices { swbreak, hwbreak, .. } = self.choices;
        let why = (cpu == cpu_of(self.last)).then_some(self.last);
        let alone = target.cpus() == 1;
        self.send(format_args!("{}", StopReply { cpu, why, swbreak, hwbreak, named, regs, alone }));
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
