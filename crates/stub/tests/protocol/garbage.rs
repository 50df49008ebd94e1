//! No byte on the wire may panic or hang the VMM, and whatever came before, the next client is served.

use crate::fake::{Machine, Sent, framed, stub};
use crate::talk::{SUPPORTED, reply};
use proptest::prelude::*;
use stub::{Action, PACKET, Reason, Stub};

/// Sends bytes and does what the stub says.
fn feed(stub: &mut Stub<Sent>, machine: &mut Machine, bytes: &[u8]) {
    for &byte in bytes {
        let mut action = stub.incoming(machine, byte);
        loop {
            action = match action {
                Action::None | Action::Detached | Action::Kill | Action::Reset { .. } => break,
                Action::Interrupt => stub.stopped(machine, Reason::Attached),
                // Some stop at once, some run on until the next client.
                Action::Resume { step: None } => break,
                Action::Resume { step: Some(cpu) } => stub.stopped(machine, Reason::Step { cpu }),
            };
        }
    }
}

/// Pieces of the protocol, so that the depths are reached.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let body = prop_oneof![
        any::<Vec<u8>>(),
        "[gGmMxpPXZzHTDkcCsSvq?][0-9a-f]{0,20}[,:=;]{0,1}[0-9a-f]{0,18}[,:=;]?[0-9a-fx-]{0,40}"
            .prop_map(String::into_bytes),
        "(vCont|vCont;r|Qqemu.PhyMemMode|qSupported|qXfer:features:read:|qRcmd,|QStartNoAckMode|qThreadExtraInfo,|qThreadStopInfo|qMemoryRegionInfo|vKill)[;:][cCsStr0-9a-f,:;.p-]{0,30}"
            .prop_map(String::into_bytes),
    ];
    prop_oneof![
        4 => body.prop_map(|body| framed(&body)),
        1 => any::<Vec<u8>>(),
        1 => Just(framed(b"QStartNoAckMode")),
        1 => Just(b"-".to_vec()),
        1 => Just(vec![3]),
        1 => Just(vec![b'$'; 3]),
        1 => (0usize..5000).prop_map(|len| [&b"$M0,0:"[..], &vec![b'0'; len]].concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_stub_survives_and_answers(pieces in prop::collection::vec(piece(), 0..12)) {
        let mut machine = Machine::new();
        let mut stub = stub(Sent::default());
        for bytes in &pieces {
            feed(&mut stub, &mut machine, bytes);
            prop_assert!(stub.output().0.len() < 100_000);
            stub.output().0.clear();
        }
        feed(&mut stub, &mut machine, b"+");
        feed(&mut stub, &mut machine, &framed(b"qSupported:"));
        stub.output().0.clear();
        feed(&mut stub, &mut machine, b"+$?#3f");
        prop_assert!(stub.output().0.starts_with(b"+$T05thread:"));
    }
}

/// A packet that would change something, with one bit of its body or checksum turned over. Not so that a `$` or a
/// `#` comes about: the packet would be another then, and one in 256 of those has a good checksum by chance, which
/// is all the protection the protocol has.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let bodies: &[&[u8]] = &[
        b"M1800,4:deadbeef",
        b"X1800,2:ab",
        b"P0=1122334455667788",
        b"P10=f0ff000000000000",
        b"Z0,1900,1",
        b"z0,1800,1",
        b"c",
        b"vCont;c",
        b"vCont;s:1",
        b"D",
        b"k",
        b"Qqemu.PhyMemMode:1",
        b"qRcmd,7265736574",
    ];
    let flip = (prop::sample::select(bodies), any::<prop::sample::Index>(), 0..8_u32);
    let flipped = flip.prop_map(|(body, at, bit)| {
        let mut packet = framed(body);
        let at = 1 + at.index(packet.len() - 1);
        packet[at] ^= 1 << bit;
        let same = packet.eq_ignore_ascii_case(&framed(body)) && at > body.len();
        (packet, at, same)
    });
    flipped.prop_filter_map("another packet, or the same", |(packet, at, same)| {
        (!same
            && !matches!(packet[at], b'$' | b'#')
            && packet.iter().filter(|&&b| b == b'#').count() == 1)
            .then_some(packet)
    })
}

/// What is lost on a line, or comes from nowhere: no whole packet is in it.
fn rubbish() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("no packet ends", |&byte| byte != b'#');
    prop_oneof![
        3 => damaged(),
        1 => prop::collection::vec(byte, 0..200),
        // Longer than any packet, with and without an end.
        1 => (4096usize..20_000).prop_map(|len| [&b"$M1800,0:"[..], &vec![b'0'; len]].concat()),
        1 => (4096usize..20_000)
            .prop_map(|len| [&b"$M1800,0:"[..], &vec![b'0'; len], b"#00"].concat()),
        // A client killed in the middle of a packet.
        1 => (1usize..16).prop_map(|len| framed(b"M1800,4:deadbeef")[..len].to_vec()),
        1 => Just(b"---+++".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// The bound: none of the bytes of a whole packet is lost to what came before, for a packet begins anew at its
    /// `$`. So the first good packet is answered, and until then nothing has changed.
    #[test]
    fn the_first_whole_packet_after_rubbish_is_answered(
        pieces in prop::collection::vec(rubbish(), 1..8),
        no_ack: bool,
    ) {
        let mut machine = Machine::new();
        let mut stub = stub(Sent::default());
        feed(&mut stub, &mut machine, b"+");
        feed(&mut stub, &mut machine, &framed(b"qSupported:swbreak+"));
        feed(&mut stub, &mut machine, &[b"+", framed(b"Z0,1800,1").as_slice(), b"+"].concat());
        if no_ack {
            feed(&mut stub, &mut machine, &framed(b"QStartNoAckMode"));
        }
        let before = (machine.regs, machine.memory.clone(), machine.breakpoints.clone());
        for bytes in &pieces {
            stub.output().0.clear();
            feed(&mut stub, &mut machine, bytes);
            // Not an endless answer to little: a sign a packet, or the last reply again for each `-`.
            prop_assert!(stub.output().0.len() <= bytes.len() * 100 + 400);
        }
        let after = (machine.regs, machine.memory.clone(), machine.breakpoints.clone());
        prop_assert!(before == after, "something has changed");
        stub.output().0.clear();
        feed(&mut stub, &mut machine, &framed(b"m1800,2"));
        let answer: &[u8] = if no_ack { b"$9090#d2" } else { b"+$9090#d2" };
        prop_assert_eq!(&stub.output().0, answer);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The bound that the book gives, after garbage of any kind, whole packets among it: a `+`, then no more bytes than
    /// a packet has.
    #[test]
    fn the_first_answer_comes_within_one_packet(
        pieces in prop::collection::vec(prop_oneof![piece(), rubbish()], 0..8),
        len in prop_oneof![24..=PACKET, Just(PACKET)],
    ) {
        let mut machine = Machine::new();
        let mut stub = stub(Sent::default());
        pieces.iter().for_each(|bytes| feed(&mut stub, &mut machine, bytes));
        feed(&mut stub, &mut machine, b"+");
        stub.output().0.clear();
        let packet = framed(format!("qSupported:swbreak+;{}", "x".repeat(len - 24)).as_bytes());
        prop_assert_eq!(packet.len(), len);
        let answer = reply(SUPPORTED).into_bytes();
        let sent = packet.iter().position(|&byte| {
            feed(&mut stub, &mut machine, &[byte]);
            stub.output().0 == answer
        });
        prop_assert_eq!(sent, Some(len - 1), "{}", stub.output().0.escape_ascii());
    }
}
