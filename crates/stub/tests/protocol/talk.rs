//! A client that speaks in bytes, and the words of its conversation.

use crate::fake::{Machine, Sent, framed, stub};
use stub::{Action, Reason, Stub};

pub(crate) const SUPPORTED: &str = "PacketSize=1000;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+;\
                         qXfer:features:read+;binary-upload+;qqemu.PhyMemMode+";

pub(crate) struct Talk {
    pub(crate) machine: Machine,
    pub(crate) stub: Stub<Sent>,
}

impl Talk {
    /// Nobody attached, the guest runs.
    pub(crate) fn new() -> Self {
        Talk { machine: Machine::new(), stub: stub(Sent::default()) }
    }

    /// A client that has said hello.
    pub(crate) fn attached() -> Self {
        let mut talk = Talk::new();
        talk.attach();
        talk
    }

    pub(crate) fn attach(&mut self) {
        assert_eq!(self.raw(b"+"), Action::None);
        assert_eq!(self.packet("qSupported:multiprocess+;swbreak+;hwbreak+"), Action::Interrupt);
        assert_eq!(self.sent(), "", "no word before the guest stands still");
        assert_eq!(self.stop(Reason::Attached), Action::None);
        assert_eq!(self.sent(), reply(SUPPORTED));
        assert_eq!(self.raw(b"+"), Action::None);
        assert!(self.stub.attached());
        // As gdb does: from now on stop replies carry registers.
        self.ask("p10");
        assert_eq!(self.raw(b"+"), Action::None);
    }

    /// Sends bytes; returns the one action they cause.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Action {
        let mut done = Action::None;
        for &byte in bytes {
            let action = self.stub.incoming(&mut self.machine, byte);
            assert!(done == Action::None || action == Action::None);
            done = if action == Action::None { done } else { action };
        }
        done
    }

    pub(crate) fn packet(&mut self, body: &str) -> Action {
        self.raw(&framed(body.as_bytes()))
    }

    pub(crate) fn stop(&mut self, why: Reason) -> Action {
        self.stub.stopped(&mut self.machine, why)
    }

    pub(crate) fn sent(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.stub.output().0)).unwrap()
    }

    /// The answer, acknowledgement and frame taken off.
    pub(crate) fn ask(&mut self, body: &str) -> String {
        assert_eq!(self.packet(body), Action::None, "{body}");
        let sent = self.sent();
        let answer = unframed(sent.strip_prefix('+').expect("an acknowledgement"));
        unrolled(&answer)
    }
}

/// A stop reply of the first CPU as it comes up, or of the second.
pub(crate) fn stop(body: &str) -> String {
    let rip = if body.contains("thread:2;") { "0011" } else { "0010" };
    format!("{body}06:{z};07:{z};10:{rip}000000000000;11:02000000;", z = "0".repeat(16))
}

pub(crate) fn reply(body: &str) -> String {
    format!("+{}", String::from_utf8(framed(body.as_bytes())).unwrap())
}

pub(crate) fn unframed(sent: &str) -> String {
    let body = sent.strip_prefix('$').unwrap().split('#').next().unwrap();
    assert_eq!(sent.as_bytes(), framed(body.as_bytes()), "one packet, its checksum right");
    body.to_owned()
}

/// Undoes gdb's run-length encoding: `0* ` is four zeros.
pub(crate) fn unrolled(body: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = body.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'*' => {
                let count = rest.next().unwrap() - 29;
                bytes.extend(vec![*bytes.last().unwrap(); count.into()]);
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}
