//! The analyst's end of the line.
use super::std;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

/// Looks at an idle line after which a wait is endless: more than one tick is patient.
const ENDLESS: u32 = 50_000;

#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) to_vmm: VecDeque<u8>,
    pub(super) from_vmm: Vec<u8>,
    pub(super) received: u64,
    idle: u32,
    /// Detach whenever the VMM waits for a word.
    pub(super) detach: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Line(pub(super) Rc<RefCell<Queues>>);

impl link::Link for Line {
    fn receive(&mut self) -> Option<u8> {
        let mut queues = self.0.borrow_mut();
        if let Some(byte) = queues.to_vmm.pop_front() {
            queues.idle = 0;
            queues.received += 1;
            return Some(byte);
        }
        queues.idle += 1;
        if queues.detach && queues.idle == ENDLESS / 2 {
            queues.to_vmm.extend(*b"$D#44");
        }
        assert!(queues.idle < ENDLESS, "the VMM waits for ever");
        None
    }

    fn send(&mut self, byte: u8) {
        self.0.borrow_mut().from_vmm.push(byte);
    }
}

impl Line {
    /// Send packets, checksums added.
    pub(super) fn packets(&self, bodies: &[&str]) {
        for body in bodies {
            let sum = body.bytes().fold(0, u8::wrapping_add);
            self.bytes(std::format!("${body}#{sum:02x}").as_bytes());
        }
    }

    pub(super) fn bytes(&self, bytes: &[u8]) {
        self.0.borrow_mut().to_vmm.extend(bytes);
    }

    /// What came back since the last call.
    pub(super) fn replies(&self) -> String {
        String::from_utf8_lossy(&core::mem::take(&mut self.0.borrow_mut().from_vmm)).into_owned()
    }

    /// Whether a stop with this signal was told since the last call, with registers or without.
    pub(super) fn stopped(&self, signal: &str) -> bool {
        let replies = self.replies();
        ["$T", "$S"].iter().any(|mark| replies.contains(&std::format!("{mark}{signal}")))
    }

    pub(super) fn patient_again(&self) {
        self.0.borrow_mut().idle = 0;
    }

    pub(super) fn left(&self) -> usize {
        self.0.borrow().to_vmm.len()
    }
}
