//! Who is attached: clients come, differ, leave, die, and find what another left.

use crate::talk::{SUPPORTED, Talk, reply, stop, unframed};
use stub::{Action, Reason};

#[test]
fn a_client_is_told_no_more_than_it_asked_for() {
    let mut talk = Talk::new();
    assert_eq!(talk.packet("qSupported:"), Action::Interrupt);
    assert_eq!(talk.stop(Reason::Attached), Action::None);
    assert_eq!(talk.packet("c"), Action::Resume { step: None });
    talk.sent();
    assert_eq!(talk.stop(Reason::Breakpoint { cpu: 0 }), Action::None);
    assert_eq!(talk.sent(), reply(&stop("T05thread:1;"))[1..]);
}

/// Steps once; gives the stop reply.
fn step(talk: &mut Talk) -> String {
    assert_eq!(talk.packet("s"), Action::Resume { step: Some(0) });
    assert_eq!(talk.sent(), "+");
    assert_eq!(talk.stop(Reason::Step { cpu: 0 }), Action::None);
    unframed(&talk.sent())
}

#[test]
fn registers_come_with_a_stop_once_the_client_has_looked_at_anything() {
    let mut talk = Talk::new();
    assert_eq!(talk.packet("qSupported:swbreak+"), Action::Interrupt);
    assert_eq!(talk.stop(Reason::Attached), Action::None);
    assert_eq!(talk.sent(), reply(SUPPORTED));
    assert_eq!(step(&mut talk), "T05thread:1;");
    for looks in ["p10", "g", "m1000,1", "x1000,1"] {
        assert_eq!(talk.packet(looks), Action::None);
        talk.stub.output().0.clear();
        assert_eq!(step(&mut talk), stop("T05thread:1;"), "{looks}");
        // The next client has not.
        assert_eq!(talk.ask("qSupported:swbreak+"), SUPPORTED);
        assert_eq!(step(&mut talk), "T05thread:1;");
    }
    assert_eq!(talk.ask("?"), stop("T05thread:1;"));
}

/// LLDB 14 to 19 (`GDBRemoteCommunicationClient::GetRemoteQSupported`) offers no `swbreak`, and takes all the same
/// long packets, all registers and run lengths. WinDbg's client, which does not, is in `exdi.rs`.
#[test]
fn lldb_before_it_offered_swbreak_is_no_plain_client() {
    let mut talk = Talk::new();
    assert_eq!(talk.packet("QStartNoAckMode"), Action::Interrupt);
    assert_eq!(talk.stop(Reason::Attached), Action::None);
    assert_eq!(talk.sent(), reply("OK"));
    let hello =
        "qSupported:xmlRegisters=i386,arm,mips,arc;multiprocess+;fork-events+;vfork-events+";
    assert_eq!(talk.ask(hello), SUPPORTED);
    let registers = |talk: &mut Talk| {
        assert_eq!(talk.packet("g"), Action::None);
        (talk.sent().contains('*'), talk.ask("g").len())
    };
    let mut plain = Talk::new();
    assert_eq!(plain.packet("qSupported:xmlRegisters=aarch64,i386"), Action::Interrupt);
    assert_eq!(plain.stop(Reason::Attached), Action::None);
    assert!(plain.sent().contains("PacketSize=400;"));
    let ((long, all), (short, some)) = (registers(&mut talk), registers(&mut plain));
    assert!(long && !short && all > some, "run lengths and all registers for one alone");
    assert_eq!(talk.packet("c"), Action::Resume { step: None });
    talk.sent();
    assert_eq!(talk.stop(Reason::Breakpoint { cpu: 0 }), Action::None);
    assert_eq!(
        talk.sent(),
        reply(&stop("T05thread:1;"))[1..],
        "no `swbreak`, which it did not offer"
    );
}

#[test]
fn acknowledgements_go_off_and_come_back_with_the_next_client() {
    let mut talk = Talk::attached();
    assert_eq!(talk.ask("QStartNoAckMode"), "OK");
    assert_eq!(talk.packet("T1"), Action::None);
    assert_eq!(talk.sent(), reply("OK")[1..]);
    assert_eq!(talk.packet("qSupported:swbreak+"), Action::None);
    assert_eq!(talk.sent(), reply(SUPPORTED));
    assert_eq!(talk.ask("QStartNoAckMode"), "OK");
    assert_eq!(talk.ask("QStartNoAckMode"), "OK", "how LLDB begins");
}

#[test]
fn a_client_that_leaves_takes_its_breakpoints_with_it() {
    for (bye, action, answer) in [
        ("D", Action::Detached, reply("OK")),
        ("k", Action::Kill, "+".into()),
        ("vKill;a410", Action::Kill, reply("OK")),
    ] {
        let mut talk = Talk::attached();
        assert_eq!(talk.ask("Z0,1800,1"), "OK");
        assert_eq!(talk.packet(bye), action);
        assert_eq!(talk.sent(), answer);
        assert!(!talk.stub.attached());
        assert_eq!(talk.machine.breakpoints, []);
        talk.attach();
    }
}

#[test]
fn a_client_may_die_and_another_come() {
    // While the guest stands still, in the middle of a packet, without acknowledgements.
    let mut talk = Talk::attached();
    assert_eq!(talk.ask("Z0,1800,1"), "OK");
    assert_eq!(talk.ask("QStartNoAckMode"), "OK");
    assert_eq!(talk.raw(b"$m10"), Action::None);
    assert_eq!(talk.raw(b"+"), Action::None);
    assert_eq!(talk.ask("qSupported:swbreak+"), SUPPORTED);
    assert_eq!(talk.machine.breakpoints, [], "the dead one's are gone");

    // While it runs.
    assert_eq!(talk.ask("Z0,1800,1"), "OK");
    assert_eq!(talk.ask("QStartNoAckMode"), "OK");
    assert_eq!(talk.packet("c"), Action::Resume { step: None });
    talk.sent();
    talk.attach();
    assert_eq!(talk.machine.breakpoints, []);

    // After it asked to stop, and before the guest did.
    assert_eq!(talk.packet("c"), Action::Resume { step: None });
    assert_eq!(talk.raw(b"\x03"), Action::Interrupt);
    assert_eq!(talk.packet("?"), Action::None);
    talk.sent();
    assert_eq!(talk.stop(Reason::Interrupt { cpu: 0 }), Action::None);
    assert_eq!(talk.sent(), reply(&stop("T02thread:1;")), "one answer, not two");
}

#[test]
fn a_packet_that_runs_the_guest_may_be_the_first() {
    let mut talk = Talk::new();
    assert_eq!(talk.packet("D"), Action::Interrupt);
    assert_eq!(talk.stop(Reason::Attached), Action::Detached);
    assert_eq!(talk.sent(), reply("OK"));
}

/// The stub that answers for a VMM that failed: who waits for a stop gets text and a stop, who waits for an answer
/// an error, and is then served like anybody.
#[test]
fn a_vmm_that_failed() {
    let mut talk = Talk::new();
    talk.stub.take_over();
    let text = "x".repeat(300);
    talk.stub.say(format_args!("{text}\n"));
    assert_eq!(talk.stop(Reason::Aborted { cpu: 1 }), Action::None);
    let sent = talk.sent();
    let packets: Vec<&str> =
        sent.split('#').filter_map(|it| it.split_once('$')).map(|it| it.1).collect();
    let [first, second, stop] = packets[..] else { panic!("{sent}") };
    assert_eq!((first.len(), &first[..5]), (1 + 512, "O7878"));
    assert!(second.starts_with('O') && second.ends_with("780a") && second.len() == 1 + 90);
    assert!(stop.starts_with("T06thread:2;"), "{stop}");

    let mut talk = Talk::new();
    talk.stub.fail();
    assert_eq!(talk.stop(Reason::Aborted { cpu: 1 }), Action::None);
    assert_eq!(talk.sent(), "$E05#aa");
    assert_eq!(talk.packet("?"), Action::None);
    assert!(talk.sent().contains("T06thread:2;"));
}
