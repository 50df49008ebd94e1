//! Whatever `hv` asks for, in any order. The CPU is `switch_tests.rs`'s, which checks each entry.
extern crate std;
use crate::run_tests::{RIP, guest, last, push, set};
use crate::switch::{Next, machine, vmread};
use proptest::prelude::*;
use std::vec;
use vcpu::{Event, Intercept, System, Vcpu};
use x86defs::vmx::{event as word, exit, field, shadow};
use x86defs::{rflags, vector};

/// What a test does to the guest before an entry.
#[derive(Clone, Debug)]
enum Deed {
    Inject(Event),
    Flags(u64),
    Hold(bool),
    Rip(u64),
    Step(bool),
    Attach(bool),
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Nmi),
        Just(Event::Exception(vector::BP, None)),
        Just(Event::Exception(vector::DB, None)),
        (10..15_u8).prop_map(|vector| Event::Exception(vector, Some(0))),
        any::<u8>().prop_map(Event::Software),
    ]
}

fn deeds() -> impl Strategy<Value = Deed> {
    const FLAGS: [u64; 5] = [0, rflags::IF, rflags::TF, rflags::IF | rflags::TF, rflags::RF];
    prop_oneof![
        events().prop_map(Deed::Inject),
        prop::sample::select(&FLAGS[..]).prop_map(Deed::Flags),
        any::<bool>().prop_map(Deed::Hold),
        (0x1000..0x1010_u64).prop_map(Deed::Rip),
        any::<bool>().prop_map(Deed::Step),
        any::<bool>().prop_map(Deed::Attach),
    ]
}

/// How an entry ends: whole, with the event interrupted, or refused.
fn ends() -> impl Strategy<Value = u8> {
    0..8_u8
}

proptest! {
    /// Whatever is asked for: entries are lawful, no field is written without a change (both checked by
    /// `switch_tests`), and an event stays queued until an entry delivers it.
    #[test]
    fn an_event_is_delivered_once(steps in prop::collection::vec((prop::collection::vec(deeds(), 0..4), ends()), 1..40)) {
        let mut vcpu = guest();
        for (deeds, end) in steps {
            for deed in deeds {
                match deed {
                    Deed::Inject(_) if vcpu.queued().is_some() => {}
                    Deed::Inject(Event::Nmi) if vmread(field::GUEST_INTERRUPTIBILITY) & shadow::NMI != 0 => {}
                    Deed::Inject(what) => vcpu.inject(what),
                    Deed::Flags(flags) => vcpu.set_system(System::Rflags, rflags::RESERVED_ONE | flags),
                    Deed::Hold(on) => vcpu.hold_interrupts(on),
                    Deed::Rip(rip) => vcpu.set_system(System::Rip, rip),
                    Deed::Step(on) => vcpu.intercept(Intercept::Step, on),
                    Deed::Attach(on) => vcpu.intercept(Intercept::Mwait, on),
                }
            }
            let (queued, rip) = (vcpu.queued(), vcpu.system(System::Rip));
            let entries = machine(|machine| machine.entered.len());
            match end {
                0 => push(Next::Nmi),
                1 => push(Next::Error(7)),
                2 => push(Next::Exit(exit::ENTRY_FAILED | exit::ENTRY_GUEST_STATE, vec![])),
                _ => push(Next::Exit(exit::PREEMPTION_TIMER, vec![(field::TIMER_VALUE, 0), (field::GUEST_RIP, RIP)])),
            }
            vcpu.run();
            prop_assert_eq!(machine(|machine| machine.next.len()), 0);
            if machine(|machine| machine.entered.len()) == entries {
                prop_assert_eq!((vcpu.queued(), vcpu.system(System::Rip)), (queued, rip));
                continue;
            }
            let entered = last();
            let waits = vcpu.queued().is_some();
            prop_assert_eq!(entered.word & word::VALID != 0, queued.is_some() && !waits, "{:?}", queued);
            prop_assert!(!waits || queued == Some(Event::Nmi));
            set(field::GUEST_INTERRUPTIBILITY, 0);
        }
    }
}
