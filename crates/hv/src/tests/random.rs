//! Whatever the guest does: no panic, no endless loop, and the next exit works.
use super::bench::{Bench, CODE, HOLE, LINK};
use proptest::prelude::*;
use vcpu::{Event, Exit, Gpr, NestedFault, Seg, Segment, System, Vcpu};

const CODES: [&[u8]; 16] = [
    &[0x0f, 0xa2],
    &[0x0f, 0x32],
    &[0x0f, 0x30],
    &[0xf4],
    &[0xf3, 0x6c],
    &[0xf3, 0xa5],
    &[0xf3, 0xaa],
    &[0x64, 0xf3, 0x6f],
    &[0x9c],
    &[0x9d],
    &[0xcf],
    &[0xcd, 0x80],
    &[0x0f, 0x05],
    &[0x0f, 0x23, 0xc1],
    &[0xf1],
    &[0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66],
];

const SYSTEM: [System; 13] = [
    System::Rip,
    System::Rflags,
    System::Cr0,
    System::Cr2,
    System::Cr3,
    System::Cr4,
    System::Efer,
    System::Dr6,
    System::Dr7,
    System::Star,
    System::Lstar,
    System::Sfmask,
    System::KernelGsBase,
];

const PACKETS: [&str; 8] =
    ["?", "c", "s", "Z0,7c00,1", "Z1,7c00,1", "Z2,9000,4", "z0,7c00,1", "qSupported:swbreak+"];

/// A value: anything, or near something of interest.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..0x2_0000_u64,
        (0..64_u32).prop_map(|n| 1 << n),
        Just(CODE),
        Just(u64::MAX),
        Just(HOLE.base),
    ]
}

fn exit() -> impl Strategy<Value = Exit> {
    let exception = |(vector, error, address)| Exit::Exception { vector, error, address };
    let fault = |(gpa, present, write, fetch, table_walk)| {
        Exit::NestedFault(NestedFault { gpa, present, write, fetch, table_walk })
    };
    let port = prop_oneof![Just(LINK), Just(0x60), Just(0x64), Just(0x92), any::<u16>()];
    let io = |(port, low, next): (u16, u16, u64)| {
        svm::decode::decode(0x7b, u64::from(port) << 16 | u64::from(low), next)
    };
    prop_oneof![
        4 => (0..0x90_u64, any::<u64>(), value()).prop_map(|(c, a, b)| svm::decode::decode(c, a, b)),
        2 => (port, any::<u16>(), value()).prop_map(io),
        2 => (0..32_u8, any::<u32>(), any::<u64>()).prop_map(exception),
        1 => Just(Exit::Exception { vector: 1, error: 0, address: 0 }),
        2 => (value(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(fault),
        1 => Just(Exit::Interrupt),
    ]
}

#[derive(Clone, Debug)]
struct Turn {
    exit: Exit,
    code: usize,
    system: (usize, u64),
    gpr: (u8, u64),
    segment: Option<(u8, u16, u32, u64)>,
    delivering: Option<u8>,
    wakes: Option<u8>,
    nmi: bool,
    packet: Option<usize>,
}

fn turn() -> impl Strategy<Value = Turn> {
    let segment = (0..10_u8, any::<u16>(), any::<u32>(), value());
    (
        exit(),
        0..CODES.len(),
        (0..SYSTEM.len(), value()),
        (0..16_u8, value()),
        proptest::option::weighted(0.2, segment),
        proptest::option::weighted(0.1, any::<u8>()),
        proptest::option::weighted(0.3, any::<u8>()),
        any::<bool>(),
        proptest::option::weighted(0.2, 0..PACKETS.len()),
    )
        .prop_map(|(exit, code, system, gpr, segment, delivering, wakes, nmi, packet)| Turn {
            exit,
            code,
            system,
            gpr,
            segment,
            delivering,
            wakes,
            nmi,
            packet,
        })
}

const SEGMENTS: [Seg; 10] = [
    Seg::Es,
    Seg::Cs,
    Seg::Ss,
    Seg::Ds,
    Seg::Fs,
    Seg::Gs,
    Seg::Ldtr,
    Seg::Tr,
    Seg::Gdtr,
    Seg::Idtr,
];

fn take(bench: &mut Bench, turn: &Turn) {
    let (register, value) = turn.system;
    bench.vcpu.set_system(SYSTEM[register], value);
    bench.vcpu.set_gpr(Gpr::from_encoding(turn.gpr.0), turn.gpr.1);
    if let Some((which, attributes, limit, base)) = turn.segment {
        let segment = Segment { selector: 8, attributes, limit, base };
        bench.vcpu.set_segment(SEGMENTS[usize::from(which)], segment);
    }
    bench.write(CODE, CODES[turn.code]);
    bench.vcpu.interrupted = turn.delivering.map(Event::Interrupt);
    bench.vcpu.pending.extend(turn.wakes);
    bench.vcpu.nmi = turn.nmi;
    if let Some(packet) = turn.packet {
        bench.line.packets(&[PACKETS[packet]]);
    }
    // A guest that sleeps is left to sleep once, then woken.
    if bench.cpu.halted {
        bench.once();
        bench.cpu.halted = false;
    }
    bench.exit(turn.exit);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn nothing_stops_the_core(turns in proptest::collection::vec(turn(), 1..40)) {
        for mut bench in [Bench::new(), Bench::bits32(), Bench::long()] {
            bench.line.0.borrow_mut().detach = true;
            for turn in &turns {
                take(&mut bench, turn);
            }
            // Whatever was under way ends with the first trap, and the hole is closed again.
            bench.cpu.halted = false;
            bench.vcpu.interrupted = None;
            bench.trap(CODE);
            if bench.cpu.step.is_none() {
                assert!(Bench::shows_ff(bench.leaf(HOLE.base)));
                assert!(!bench.vcpu.held);
                assert_eq!(bench.vcpu.root, bench.machine.nested.lock().root());
            }
        }
    }
}
