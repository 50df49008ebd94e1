//! No byte on the wire may panic or hang the VMM, and whatever came before, the next client is served.

use crate::fake::{Machine, Sent, framed, stub};
use proptest::prelude::*;
use stub::{Action, Reason, Stub};

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
