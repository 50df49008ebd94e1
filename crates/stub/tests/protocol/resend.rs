//! A line that damages what the stub says: the client asks for it again.

use crate::fake::framed;
use crate::talk::{SUPPORTED, Talk, reply, unframed, unrolled};
use stub::{Action, Reason};

/// Sends `-`; what comes then.
fn refuse(talk: &mut Talk) -> String {
    assert_eq!(talk.raw(b"-"), Action::None);
    talk.sent()
}

/// Run lengths must not make a long reply short.
fn vary(talk: &mut Talk) {
    for (index, byte) in talk.machine.memory.iter_mut().enumerate() {
        *byte = b'a' + (index % 26) as u8;
    }
    let regs = &mut talk.machine.regs[0];
    let general = [&mut regs.rax, &mut regs.rbx, &mut regs.rcx, &mut regs.rdx, &mut regs.r8];
    let more = [&mut regs.r9, &mut regs.r10, &mut regs.r11, &mut regs.cr2, &mut regs.cr4];
    for place in general.into_iter().chain(more).chain(&mut regs.dr) {
        *place = 0x0123_4567_89ab_cdef;
    }
}

#[test]
fn short_replies_come_again_as_they_were() {
    let mut talk = Talk::attached();
    assert_eq!(talk.ask("m1000,4"), "90909090");
    assert_eq!(refuse(&mut talk), reply("90909090")[1..], "without a second acknowledgement");
    assert_eq!(talk.raw(b"+"), Action::None);
    assert_eq!(refuse(&mut talk), "", "it was accepted");
}

#[test]
fn a_packet_that_changes_the_machine_is_not_done_twice() {
    let mut talk = Talk::attached();
    assert_eq!(talk.ask("Z0,1800,1"), "OK");
    assert_eq!(refuse(&mut talk), reply("OK")[1..]);
    assert_eq!(talk.machine.breakpoints.len(), 1);
    assert_eq!(talk.ask("z0,1800,1"), "OK");
    assert_eq!(refuse(&mut talk), reply("OK")[1..], "a second removal would be an error");
}

#[test]
fn long_replies_are_made_anew() {
    let mut talk = Talk::attached();
    vary(&mut talk);
    let long = ["g", "m1000,800", "x1000,400", "qXfer:features:read:target.xml:0,7fb"];
    for packet in long {
        assert_eq!(talk.packet(packet), Action::None);
        let sent = talk.sent();
        assert!(sent.len() > 256, "{packet}");
        for _ in 0..3 {
            assert_eq!(refuse(&mut talk), sent[1..], "{packet}");
        }
        assert_eq!(refuse(&mut talk), "", "not for ever");
    }
    // Its packet is gone when another one begins.
    assert_eq!(talk.packet("m1000,800"), Action::None);
    talk.sent();
    assert_eq!(talk.raw(b"$?#40"), Action::None);
    assert_eq!(talk.sent(), "-");
    assert_eq!(refuse(&mut talk), "");
}

#[test]
fn the_first_answer_and_a_stop_come_again() {
    let mut talk = Talk::new();
    assert_eq!(talk.raw(b"-"), Action::None);
    assert_eq!(talk.packet("qSupported:swbreak+"), Action::Interrupt);
    assert_eq!(talk.stop(Reason::Attached), Action::None);
    assert_eq!(talk.sent(), reply(SUPPORTED));
    assert_eq!(refuse(&mut talk), reply(SUPPORTED)[1..]);
    assert_eq!(talk.raw(b"+"), Action::None);

    assert_eq!(talk.packet("s"), Action::Resume { step: Some(0) });
    assert_eq!(talk.sent(), "+");
    assert_eq!(refuse(&mut talk), "", "nothing was said yet");
    assert_eq!(talk.stop(Reason::Step { cpu: 0 }), Action::None);
    let said = reply("T05thread:1;");
    assert_eq!(talk.sent(), said[1..]);
    assert_eq!(refuse(&mut talk), said[1..]);
}

#[test]
fn a_long_first_answer_leaves_its_copies_known() {
    let mut talk = Talk::new();
    vary(&mut talk);
    assert_eq!(talk.packet("g"), Action::Interrupt);
    assert_eq!(talk.stop(Reason::Attached), Action::None);
    let sent = talk.sent();
    assert!(sent.len() > 256);
    assert_eq!(refuse(&mut talk), sent[1..]);
    assert_eq!(talk.packet("g"), Action::None);
    assert_eq!(talk.sent(), "", "a copy");
}

#[test]
fn of_several_replies_only_the_last_comes_again() {
    let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    let mut talk = Talk::attached();
    assert_eq!(talk.packet(&format!("qRcmd,{}", hex("log"))), Action::None);
    let packets = talk.sent().matches('#').count();
    assert!(packets > 2);
    assert_eq!(refuse(&mut talk), "", "the first one's text is lost");
    for _ in 2..packets {
        assert_eq!(talk.raw(b"+"), Action::None);
    }
    assert_eq!(refuse(&mut talk), reply("OK")[1..]);
}

#[test]
fn without_acknowledgements_there_is_nothing_to_refuse() {
    let mut talk = Talk::attached();
    assert_eq!(talk.ask("QStartNoAckMode"), "OK");
    assert_eq!(refuse(&mut talk), reply("OK")[1..], "the last that is acknowledged");
    assert_eq!(talk.packet("m1000,1"), Action::None);
    assert_eq!(unrolled(&unframed(&talk.sent())), "90");
    assert_eq!(refuse(&mut talk), "");
    // Nor in a packet, where it is a byte like any other.
    let mut talk = Talk::attached();
    assert_eq!(talk.raw(&framed(b"X1000,1:-")), Action::None);
    assert_eq!(talk.sent(), reply("OK"));
    assert_eq!(talk.machine.memory[0], b'-');
}
