//! What is said on the wire, byte by byte: to stop the guest, to let it run, and on a line that damages.

use crate::talk::{Talk, reply, stop};
use stub::{Action, Breakpoint, Reason};

#[test]
fn the_first_packet_of_a_client_stops_the_guest_and_is_answered() {
    let mut talk = Talk::new();
    assert!(!talk.stub.attached());
    assert_eq!(talk.raw(b"\0noise+-#00\xff"), Action::None);
    assert_eq!(talk.sent(), "");
    talk.attach();
    assert_eq!(talk.ask("?"), stop("T05thread:1;"));
    // gdb repeats a packet that stays without an answer for two seconds.
    let mut slow = Talk::new();
    assert_eq!(slow.packet("?"), Action::Interrupt);
    assert_eq!(slow.packet("?"), Action::None);
    assert_eq!(slow.stop(Reason::Attached), Action::None);
    assert_eq!(slow.sent(), reply(&stop("T05thread:1;")));
}

#[test]
fn run_step_and_stop() {
    let mut talk = Talk::attached();
    for go in ["c", "vCont;c", "C05", "vCont;c:1"] {
        assert_eq!(talk.packet(go), Action::Resume { step: None }, "{go}");
        assert_eq!(talk.sent(), "+");
        assert_eq!(talk.raw(b"\x03"), Action::Interrupt);
        assert_eq!(talk.raw(b"\x03"), Action::None, "one is enough");
        assert_eq!(talk.stop(Reason::Interrupt { cpu: 0 }), Action::None);
        assert_eq!(talk.sent(), reply(&stop("T02thread:1;"))[1..]);
    }
    assert_eq!(talk.ask("?"), stop("T02thread:1;"));
    for (go, cpu) in [("s", 0), ("vCont;s", 0), ("vCont;s:2;c", 1), ("vCont;s:1", 0)] {
        assert_eq!(talk.packet(go), Action::Resume { step: Some(cpu) }, "{go}");
        assert_eq!(talk.stop(Reason::Step { cpu: 0 }), Action::None);
        assert_eq!(talk.sent(), "+".to_owned() + &reply(&stop("T05thread:1;"))[1..]);
    }
    for (why, said) in [
        (Reason::Breakpoint { cpu: 1 }, "T05thread:2;swbreak:;"),
        (Reason::HardwareBreakpoint { cpu: 1 }, "T05thread:2;hwbreak:;"),
        (
            Reason::Watch { cpu: 0, kind: Breakpoint::Write, addr: 0x1800 },
            "T05thread:1;watch:1800;",
        ),
        (Reason::Watch { cpu: 0, kind: Breakpoint::Read, addr: 1 }, "T05thread:1;rwatch:1;"),
        (Reason::Watch { cpu: 0, kind: Breakpoint::Access, addr: 1 }, "T05thread:1;awatch:1;"),
    ] {
        assert_eq!(talk.packet("c"), Action::Resume { step: None });
        assert_eq!(talk.stop(why), Action::None);
        assert_eq!(talk.sent(), "+".to_owned() + &reply(&stop(said))[1..]);
    }
    assert_eq!(talk.ask("c1000"), "", "to resume elsewhere is not offered");
    for go in ["vCont;s:9;t", "vCont;s:9", "vCont;c:9", "vCont;s:3;c", "vCont;r1000,1010:9"] {
        assert_eq!(talk.ask(go), "E16", "{go}: two CPUs are there");
    }
    assert_eq!(talk.ask("vCont?"), "vCont;c;C;s;S;r");
}

#[test]
fn damage_is_asked_for_again() {
    let mut talk = Talk::attached();
    assert_eq!(talk.raw(b"$?#40"), Action::None);
    assert_eq!(talk.raw(b"$?#x"), Action::None);
    assert_eq!(talk.sent(), "--");
    assert_eq!(talk.raw(b"$m1000,$?#3f"), Action::None);
    assert_eq!(talk.sent(), reply(&stop("T05thread:1;")));
    // The longest packet is taken, a longer one dropped.
    let longest = format!("M1000,7f4:{}", "41".repeat(0x7f4));
    let fits = stub::PACKET - 4 - longest.len();
    assert_eq!(talk.ask(&longest.replace("M1", &format!("M{}1", "0".repeat(fits)))), "OK");
    assert_eq!(
        talk.packet(&longest.replace("M1", &format!("M{}1", "0".repeat(fits + 1)))),
        Action::None
    );
    assert_eq!(talk.sent(), "");
    assert_eq!(talk.ask("?"), stop("T05thread:1;"));
}

#[test]
fn half_a_packet_does_not_hide_ctrl_c() {
    let mut talk = Talk::attached();
    assert_eq!(talk.packet("c"), Action::Resume { step: None });
    assert_eq!(talk.raw(b"$qSup\x03"), Action::Interrupt);
}
