//! The line: whatever comes in, what goes out is packets with right checksums, memory is written only where
//! a whole packet said so, and the next client is served.

mod model;

use crate::{buffer::Buffer, input::Input};
use model::{Machine, Sent};
use stub::{Action, Breakpoint, PACKET, Reason, Stub};

/// More steps than a range makes before the client is told.
const MOST_STEPS: usize = 100;

/// Packets as anyone finds them among the bytes, apart from the stub's own way.
#[derive(Default)]
struct Framing {
    packet: Vec<u8>,
}

impl Framing {
    /// The body that `byte` completes, if its checksum is right.
    fn push(&mut self, byte: u8) -> Option<&[u8]> {
        if byte == b'$' {
            self.packet.clear();
        }
        self.packet.push(byte);
        let [b'$', body @ .., b'#', high, low] = self.packet.as_slice() else { return None };
        let sum = u8::from_str_radix(std::str::from_utf8(&[*high, *low]).ok()?, 16).ok()?;
        (body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == sum).then_some(body)
    }
}

/// The range that a packet writes if it is one of those that write memory.
fn writes(body: &[u8]) -> Option<(u64, u64)> {
    let (b'M' | b'X', rest) = body.split_first()? else { return None };
    let head = rest.split(|byte| *byte == b':').next()?;
    let (address, len) = std::str::from_utf8(head).ok()?.split_once(',')?;
    Some((u64::from_str_radix(address, 16).ok()?, u64::from_str_radix(len, 16).ok()?))
}

struct Session {
    /// Dropped before its buffers.
    stub: Stub<Sent>,
    _buffers: [Buffer; 2],
    machine: Machine,
    framing: Framing,
    /// The stop that was asked for and not told yet.
    stopping: bool,
    /// The packet that will be answered at the stop is in: what comes now is dropped.
    framed: bool,
}

impl Session {
    fn new() -> Self {
        let mut buffers = [Buffer::new(), Buffer::new()];
        let [frame, scratch] = buffers.each_mut().map(Buffer::lend);
        let stub = Stub::new(frame, scratch, Sent::default());
        Self {
            stub,
            _buffers: buffers,
            machine: Machine::new(),
            framing: Framing::default(),
            stopping: false,
            framed: false,
        }
    }

    fn byte(&mut self, byte: u8) {
        let mut whole = false;
        if byte == 0x03 && self.machine.running {
            // It ends a packet that it is found in.
            self.framing.packet.clear();
        } else if !self.framed {
            let body = self.framing.push(byte);
            whole = body.is_some();
            self.machine.writable = body.and_then(writes);
        }
        let action = self.stub.incoming(&mut self.machine, byte);
        self.follow(action);
        self.framed |= self.stopping && whole;
    }

    /// Does what the stub says; a stop is told later.
    fn follow(&mut self, action: Action) {
        let mut action = action;
        for _ in 0..MOST_STEPS {
            match action {
                Action::None => return,
                Action::Interrupt => {
                    assert!(self.machine.running, "stopped twice");
                    self.stopping = true;
                    return;
                }
                Action::Detached
                | Action::Kill
                | Action::Reset { .. }
                | Action::Resume { step: None } => {
                    self.machine.running = true;
                    return;
                }
                Action::Resume { step: Some(cpu) } => {
                    let regs = &mut self.machine.regs[cpu];
                    regs.rip_linear = regs.rip_linear.wrapping_add(1);
                    regs.ip = regs.rip_linear;
                    action = self.stub.stopped(&mut self.machine, Reason::Step { cpu });
                }
            }
        }
        panic!("a range is stepped without an end");
    }

    /// The guest stands still, for this reason.
    fn stop(&mut self, why: Reason) {
        if !self.machine.running {
            return;
        }
        self.machine.running = false;
        (self.stopping, self.framed) = (false, false);
        let action = self.stub.stopped(&mut self.machine, why);
        self.follow(action);
    }

    fn feed(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.byte(*byte));
    }

    /// What went out, looked at and dropped.
    fn take(&mut self) -> Vec<u8> {
        let sent = std::mem::take(&mut self.stub.output().0);
        well_formed(&sent);
        sent
    }
}

/// Acknowledgements and packets; one packet may be broken off by the `$` of the next, never by the end.
fn well_formed(sent: &[u8]) {
    let mut rest = sent;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if matches!(first, b'+' | b'-') {
            continue;
        }
        assert_eq!(*first, b'$', "between packets: {}", sent.escape_ascii());
        let end = rest.iter().position(|byte| matches!(byte, b'$' | b'#'));
        let end = end.unwrap_or_else(|| panic!("no end: {}", sent.escape_ascii()));
        assert!(end < PACKET, "longer than promised");
        if rest[end] == b'#' {
            let sum = rest[..end].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            let told = rest.get(end + 1..end + 3).expect("a checksum");
            assert_eq!(told, format!("{sum:02x}").as_bytes(), "{}", sent.escape_ascii());
            rest = &rest[end + 3..];
        } else {
            rest = &rest[end..];
        }
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", body, format!("#{sum:02x}").as_bytes()].concat()
}

fn reason(input: &mut Input<'_>) -> Reason {
    let (kind, cpu) = (input.u8(), usize::from(input.u8() & 1));
    match kind % 6 {
        0 => Reason::Attached,
        1 => Reason::Interrupt { cpu },
        2 => Reason::Breakpoint { cpu },
        3 => Reason::HardwareBreakpoint { cpu },
        4 => Reason::Watch { cpu, kind: Breakpoint::Access, addr: input.u64() },
        _ => Reason::Step { cpu },
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let mut session = Session::new();
    let mut input = Input::new(bytes);
    while !input.is_empty() {
        match input.u8() % 8 {
            0 => {
                let len = usize::from(input.u8());
                session.feed(input.take(len));
            }
            1 => session.stop(reason(&mut input)),
            2 => session.byte(0x03),
            3 => session.feed(b"+"),
            4 => session.feed(b"-"),
            // Longer than any packet may be.
            5 => {
                session.feed(&[&b"$M1000,"[..], &vec![b'0'; 20 * usize::from(input.u8())]].concat())
            }
            _ => {
                let len = usize::from(input.u8());
                let body = input.take(len).to_vec();
                session.feed(&framed(&body));
            }
        }
        session.take();
    }
    served(&mut session);
}

/// Whatever came before, a client that introduces itself is answered, and so is its next packet.
fn served(session: &mut Session) {
    // Packets are dropped while the guest comes to a stop for an earlier one: its sender asks again.
    if session.stopping {
        session.stop(Reason::Attached);
    }
    session.feed(b"+");
    session.feed(&framed(b"qSupported:"));
    session.stop(Reason::Attached);
    session.take();
    session.feed(b"+$?#3f");
    let sent = session.take();
    assert!(sent.starts_with(b"+$T0"), "{}", sent.escape_ascii());
    assert!(!session.machine.running && session.machine.breakpoints.is_empty());
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let bodies = [
        "qSupported:swbreak+;hwbreak+",
        "QStartNoAckMode",
        "?",
        "g",
        "G00",
        "p10",
        "P10=0010000000000000",
        "m1000,40",
        "M1000,2:1234",
        "X1000,2:ab",
        "x1000,20",
        "Z0,1000,1",
        "z0,1000,1",
        "Z2,1010,4",
        "Hg2",
        "Hc-1",
        "T1",
        "vCont?",
        "vCont;s:1",
        "vCont;r1000,1010:1",
        "vCont;c",
        "s",
        "c",
        "D",
        "k",
        "vKill;1",
        "qXfer:features:read:target.xml:0,ffb",
        "qXfer:threads:read::0,100",
        "qRcmd,68656c70",
        "qfThreadInfo",
        "qsThreadInfo",
        "qThreadExtraInfo,1",
        "qAttached",
        "qC",
        "Qqemu.PhyMemMode:1",
        "vMustReplyEmpty",
        "qXfer:memory-map:read::0,ffb",
    ];
    let packet =
        |body: &str| [&[6, u8::try_from(body.len()).unwrap_or(0)][..], body.as_bytes()].concat();
    let hello = [packet("qSupported:swbreak+"), vec![1, 0, 0]].concat();
    let mut seeds: Vec<Vec<u8>> =
        bodies.iter().map(|body| [hello.clone(), packet(body), vec![1, 5, 0]].concat()).collect();
    let long: Vec<Vec<u8>> = bodies.iter().map(|body| packet(body)).collect();
    seeds.push([hello, long.concat(), vec![2, 1, 1, 0, 3, 4, 5, 255]].concat());
    seeds.push(b"\x00\x08noise$$$\x02\x04".to_vec());
    seeds
}
