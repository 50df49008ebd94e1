//! A client that waited so long for its first answer that it asked again.

use crate::fake::framed;
use crate::talk::{self, SUPPORTED, Talk, reply};
use stub::{Action, Reason};

const HELLO: &str = "qSupported:multiprocess+;swbreak+;hwbreak+;xmlRegisters=i386";

/// A client whose first packet is answered only now.
fn answered_late() -> Talk {
    let mut talk = Talk::new();
    assert_eq!(talk.raw(b"+"), Action::None);
    assert_eq!(talk.packet(HELLO), Action::Interrupt);
    stop(&mut talk);
    talk
}

fn stop(talk: &mut Talk) {
    assert_eq!(talk.stop(Reason::Attached), Action::None);
    assert_eq!(talk.sent(), reply(SUPPORTED));
}

/// The client is in step: it acknowledges the answer it got and gets one to its next packet.
fn goes_on(talk: &mut Talk) {
    assert_eq!(talk.sent(), "");
    assert_eq!(talk.raw(b"+"), Action::None);
    assert_eq!(talk.packet("vMustReplyEmpty"), Action::None);
    assert_eq!(talk.sent(), reply(""));
    assert_eq!(talk.raw(b"+"), Action::None);
    assert_eq!(talk.ask("?"), talk::stop("T05thread:1;"));
}

#[test]
fn copies_on_the_line_before_the_guest_stops() {
    let mut talk = Talk::new();
    assert_eq!(talk.raw(b"+"), Action::None);
    assert_eq!(talk.packet(HELLO), Action::Interrupt);
    for _ in 0..3 {
        assert_eq!(talk.packet(HELLO), Action::None);
    }
    stop(&mut talk);
    goes_on(&mut talk);
}

#[test]
fn copies_that_come_after_the_answer() {
    for copies in 1..=3 {
        let mut talk = answered_late();
        for _ in 0..copies {
            assert_eq!(talk.packet(HELLO), Action::None);
        }
        goes_on(&mut talk);
    }
}

#[test]
fn a_copy_may_be_on_its_way_when_the_guest_stops() {
    let hello = framed(HELLO.as_bytes());
    // Every cut, so that the rest begins with `+`, too.
    for cut in 1..hello.len() {
        let mut talk = Talk::new();
        assert_eq!(talk.packet(HELLO), Action::Interrupt);
        assert_eq!(talk.raw(&hello[..cut]), Action::None);
        stop(&mut talk);
        assert_eq!(talk.raw(&hello[cut..]), Action::None);
        assert_eq!(talk.packet(HELLO), Action::None);
        goes_on(&mut talk);
    }
}

#[test]
fn a_damaged_copy_is_not_asked_for_again() {
    let mut talk = answered_late();
    assert_eq!(talk.raw(b"$qSupported:multipro;hwbreak+#6a"), Action::None);
    assert_eq!(talk.sent(), "");
    // What follows the acknowledgement is no copy, however damaged.
    assert_eq!(talk.raw(b"+$vMustReply#3a"), Action::None);
    assert_eq!(talk.sent(), "-");
    assert_eq!(talk.packet("vMustReplyEmpty"), Action::None);
    assert_eq!(talk.sent(), reply(""));
}

#[test]
fn another_packet_ends_it() {
    // A client that leaves acknowledgements out.
    let mut talk = answered_late();
    assert_eq!(talk.packet("vMustReplyEmpty"), Action::None);
    assert_eq!(talk.sent(), reply(""));
    assert_eq!(talk.packet(HELLO), Action::None);
    assert_eq!(talk.sent(), reply(SUPPORTED));
}

#[test]
fn an_answer_whose_acknowledgement_was_lost_is_given_again() {
    // gdb drops the answer without the `+` it waits for, acknowledges it and asks again.
    let mut talk = answered_late();
    assert_eq!(talk.raw(b"+"), Action::None);
    assert_eq!(talk.packet(HELLO), Action::None);
    assert_eq!(talk.sent(), reply(SUPPORTED));
    goes_on(&mut talk);
}

#[test]
fn a_new_client_that_says_the_same_is_answered() {
    // The first died before its answer came; its last copy may be cut short.
    for last in [&b""[..], b"$qSupp", b"$qSupported:multiprocess+"] {
        let mut talk = answered_late();
        assert_eq!(talk.packet(HELLO), Action::None);
        assert_eq!(talk.raw(last), Action::None);
        assert_eq!(talk.sent(), "");
        assert_eq!(talk.raw(b"+"), Action::None);
        assert_eq!(talk.packet(HELLO), Action::None);
        assert_eq!(talk.sent(), reply(SUPPORTED));
        goes_on(&mut talk);
    }
}

#[test]
fn one_that_does_not_begin_with_an_acknowledgement_is_answered_at_its_last_try() {
    let mut talk = answered_late();
    for _ in 0..3 {
        assert_eq!(talk.packet(HELLO), Action::None);
        assert_eq!(talk.sent(), "");
    }
    assert_eq!(talk.packet(HELLO), Action::None);
    assert_eq!(talk.sent(), reply(SUPPORTED));
}

#[test]
fn only_a_client_that_stays_is_taken_for_one_that_repeats() {
    let mut talk = Talk::new();
    for _ in 0..2 {
        assert_eq!(talk.packet("D"), Action::Interrupt);
        assert_eq!(talk.stop(Reason::Attached), Action::Detached);
        assert_eq!(talk.sent(), reply("OK"));
    }
}
