//! `vCont;r`: gdb's `next` in one round trip.

use crate::talk::{Talk, reply, stop};
use stub::{Action, Reason};

const ON: Action = Action::Resume { step: Some(0) };

/// A client that steps from 1000h through what is below 1010h.
fn ranging() -> Talk {
    let mut talk = Talk::attached();
    range(&mut talk);
    talk
}

fn range(talk: &mut Talk) {
    assert_eq!(talk.packet("vCont;r1000,1010:1;c"), ON);
    assert_eq!(talk.sent(), "+");
}

/// A step to `rip` is done.
fn step(talk: &mut Talk, rip: u64) -> Action {
    talk.machine.regs[0].rip_linear = rip;
    talk.machine.regs[0].ip = rip;
    talk.stop(Reason::Step { cpu: 0 })
}

#[test]
fn the_client_hears_of_the_step_out_of_the_range_alone() {
    for out in [0xfff, 0x1010, 0x5000] {
        let mut talk = ranging();
        for rip in [0x1000, 0x1001, 0x100f, 0x1000] {
            assert_eq!(step(&mut talk, rip), ON);
            assert_eq!(talk.sent(), "");
        }
        assert_eq!(step(&mut talk, out), Action::None);
        assert!(talk.sent().starts_with("$T05thread:1;06:"));
        // It is over: a plain step is told of wherever it ends.
        assert_eq!(talk.packet("s"), ON);
        assert_eq!(step(&mut talk, 0x1001), Action::None);
    }
}

#[test]
fn an_empty_range_is_one_step() {
    let mut talk = Talk::attached();
    assert_eq!(talk.packet("vCont;r1000,1000:1"), ON);
    assert_eq!(step(&mut talk, 0x1000), Action::None);
    assert_eq!(talk.sent(), "+".to_owned() + &reply(&stop("T05thread:1;"))[1..]);
    assert_eq!(talk.ask("vCont;r1000,1010"), "E16", "of every CPU: gdb never asks");
    assert_eq!(talk.ask("vCont;rx,y:1"), "E16");
}

#[test]
fn a_breakpoint_in_the_range_ends_it() {
    for kind in ["Z0", "Z1"] {
        let mut talk = Talk::attached();
        assert_eq!(talk.ask(&format!("{kind},1004,1")), "OK");
        range(&mut talk);
        assert_eq!(step(&mut talk, 0x1002), ON);
        assert_eq!(step(&mut talk, 0x1004), Action::None);
        assert!(talk.sent().starts_with("$T05thread:1;"));
    }
    let mut talk = ranging();
    assert_eq!(talk.stop(Reason::Breakpoint { cpu: 0 }), Action::None);
    assert_eq!(talk.sent(), reply(&stop("T05thread:1;swbreak:;"))[1..]);
}

/// Steps in the range until the client is told.
fn use_up(talk: &mut Talk) {
    let steps = (1..1000).find(|_| step(talk, 0x1000) == Action::None);
    assert!(steps.is_some(), "a guest that never leaves the range is looked after");
    assert_eq!(talk.sent(), reply(&stop("T05thread:1;"))[1..]);
}

#[test]
fn ctrl_c_reaches_a_guest_that_stays_in_the_range() {
    let mut talk = ranging();
    use_up(&mut talk);
    // gdb goes on. Its Ctrl-C came when it thought the guest was running.
    range(&mut talk);
    use_up(&mut talk);
    assert_eq!(talk.raw(b"+\x03"), Action::None);
    assert_eq!(talk.packet("vCont;r1000,1010:1;c"), Action::None);
    assert_eq!(talk.sent(), reply(&stop("T02thread:1;")));
    // Once is enough.
    assert_eq!(talk.packet("vCont;c"), Action::Resume { step: None });
}

#[test]
fn ctrl_c_at_any_other_stop_is_too_late() {
    let mut talk = ranging();
    assert_eq!(step(&mut talk, 0x2000), Action::None);
    assert_eq!(talk.raw(b"\x03"), Action::None);
    assert_eq!(talk.packet("vCont;c"), Action::Resume { step: None });
    // Nor does a new client hear of it.
    let mut talk = ranging();
    use_up(&mut talk);
    assert_eq!(talk.raw(b"\x03+"), Action::None);
    assert_eq!(talk.packet("qSupported:"), Action::None);
    assert_eq!(talk.packet("vCont;c"), Action::Resume { step: None });
}

#[test]
fn a_range_is_interrupted_by_a_stop_asked_for() {
    let mut talk = ranging();
    assert_eq!(step(&mut talk, 0x1001), ON);
    assert_eq!(talk.raw(b"\x03"), Action::Interrupt);
    assert_eq!(talk.stop(Reason::Interrupt { cpu: 0 }), Action::None);
    assert!(talk.sent().starts_with("$T02thread:1;"));
}
