//! Events that an exit or a failed entry interrupts. The CPU is `switch_tests.rs`'s, which checks each entry.
extern crate std;
use crate::Vmx;
use crate::run_tests::{RIP, exits, guest, last, push, set, tick};
use crate::switch::{Next, machine, vmread};
use std::string::String;
use std::vec;
use vcpu::{Event, Exit, Intercept, System, Vcpu};
use x86defs::vmx::{event as word, exit, field, shadow};
use x86defs::{cr, vector};

/// The event of a word is interrupted by a fault of the nested tables.
fn violation(vcpu: &mut Vmx, word: u32, error: u64) {
    let fields = [(field::VECTORING_EVENT, word.into()), (field::VECTORING_ERROR, error)];
    assert!(matches!(exits(vcpu, exit::EPT_VIOLATION, &fields), Exit::NestedFault(_)));
}

#[test]
fn an_interrupted_delivery_is_delivered_again() {
    for (word, error) in [(0x8000_0030, 0), (0x8000_0b0e, 2), (0x8000_0b0d, 0x18)] {
        let mut vcpu = guest();
        violation(&mut vcpu, word, error);
        tick(&mut vcpu);
        assert_eq!((last().word, last().rip), (word, RIP));
        assert!(word & word::ERROR_VALID == 0 || u64::from(last().error) == error);
        tick(&mut vcpu);
        assert_eq!(last().word & word::VALID, 0, "once");
    }
}

#[test]
fn software_interrupts_are_executed_again_unless_they_are_ours() {
    let mut vcpu = guest();
    violation(&mut vcpu, 0x8000_0480, 0);
    tick(&mut vcpu);
    assert_eq!(last().word & word::VALID, 0, "the guest executes INT 80h again");
    vcpu.inject(Event::Software(0x80));
    let interrupted = [(field::VECTORING_EVENT, 0x8000_0480)];
    exits(&mut vcpu, exit::EPT_VIOLATION, &interrupted);
    assert_eq!((last().word, last().length, last().rip), (0x8000_0480, 1, RIP - 1));
    assert_eq!(vcpu.system(System::Rip), RIP);
    tick(&mut vcpu);
    assert_eq!((last().word, last().length, last().rip), (0x8000_0480, 1, RIP - 1));
}

#[test]
fn an_entry_that_fails_loses_nothing() {
    for what in [
        Event::Software(0x80),
        Event::Exception(vector::BP, None),
        Event::Nmi,
        Event::Exception(14, Some(2)),
    ] {
        for next in [
            Next::Nmi,
            Next::Error(7),
            Next::Exit(exit::ENTRY_FAILED | exit::ENTRY_GUEST_STATE, vec![]),
        ] {
            let mut vcpu = guest();
            vcpu.inject(what);
            push(next.clone());
            let found = vcpu.run();
            assert_eq!(found, if matches!(next, Next::Nmi) { Exit::Nmi } else { Exit::Invalid });
            assert_eq!((vcpu.queued(), vcpu.system(System::Rip)), (Some(what), RIP), "{next:?}");
            tick(&mut vcpu);
            let software = matches!(what, Event::Software(_) | Event::Exception(vector::BP, _));
            assert_eq!(last().rip, RIP - u64::from(software), "{what:?} {next:?}");
            assert_ne!(last().word & word::VALID, 0);
        }
    }
}

/// The event was delivered; its handler's page is wrong in the nested tables.
#[test]
fn a_misconfiguration_behind_an_event_does_not_bring_it_back() {
    let mut vcpu = guest();
    vcpu.inject(Event::Exception(14, Some(2)));
    assert_eq!(exits(&mut vcpu, exit::EPT_MISCONFIGURATION, &[]), Exit::Invalid);
    assert_eq!(vcpu.queued(), None);
}

#[test]
fn why_an_entry_failed_is_said() {
    let mut vcpu = guest();
    let mut text = String::new();
    vcpu.set_system(System::Cr4, cr::CR4_PCIDE);
    push(Next::Exit(exit::ENTRY_FAILED | exit::ENTRY_GUEST_STATE, vec![]));
    assert_eq!(vcpu.run(), Exit::Invalid);
    vcpu.why_invalid(&mut text).unwrap();
    assert_eq!(text, "VM entry failed: invalid guest state: CR4: PCIDE outside long mode");
    vcpu.set_system(System::Cr4, 0);
    let mut said = |next| {
        push(next);
        assert_eq!(vcpu.run(), Exit::Invalid);
        text.clear();
        vcpu.why_invalid(&mut text).unwrap();
        text.clone()
    };
    let failed = exit::ENTRY_FAILED | exit::ENTRY_GUEST_STATE;
    for (told, expected) in [
        (2, "PAE's page-directory pointers"),
        (3, "an NMI is injected where it cannot be"),
        (4, "VMCS link pointer"),
        (0, "none of the checks known fails"),
    ] {
        let text = said(Next::Exit(failed, vec![(field::QUALIFICATION, told)]));
        assert_eq!(text.rsplit_once(": ").unwrap().1, expected);
    }
    // An instruction error leaves the qualification of the exit before.
    set(field::QUALIFICATION, 2);
    assert_eq!(
        said(Next::Error(8)),
        "VM entry with a host-state field that is not allowed (VM-instruction error 8): none of the checks known fails"
    );
}

#[test]
fn exceptions_that_meet() {
    let both = |first: u64, error: u64, second: u8| {
        let mut vcpu = guest();
        let fields = [
            (field::VECTORING_EVENT, 0x8000_0b00 | first),
            (field::VECTORING_ERROR, error),
            (field::EXIT_EVENT, 0x8000_0b00 | u64::from(second)),
            (field::EXIT_ERROR, 0x20),
        ];
        (exits(&mut vcpu, exit::EXCEPTION_OR_NMI, &fields), vcpu.queued())
    };
    let double = Exit::Exception { vector: vector::DF, error: 0, address: 0 };
    assert_eq!(both(14, 2, 13), (double, None));
    assert_eq!(both(13, 0, 11), (double, None));
    assert_eq!(both(13, 0, 17), (Exit::Exception { vector: 17, error: 0x20, address: 0 }, None));
    assert_eq!(both(8, 0, 13).0, Exit::TripleFault);
}

#[test]
fn an_nmi_waits_for_the_shadow_of_mov_ss() {
    let mut vcpu = guest();
    set(field::GUEST_INTERRUPTIBILITY, shadow::MOV_SS);
    vcpu.inject(Event::Nmi);
    vcpu.intercept(Intercept::Iret, true);
    // The NMI-window exit that comes one instruction later is ours, and not told.
    push(Next::Exit(exit::NMI_WINDOW, vec![(field::GUEST_INTERRUPTIBILITY, 0)]));
    tick(&mut vcpu);
    assert_eq!(last().word, 0x8000_0202);
    assert_eq!(exits(&mut vcpu, exit::NMI_WINDOW, &[]), Exit::NmiWindow);
}

#[test]
fn an_iret_that_faulted_had_unblocked_nmis() {
    let mut vcpu = guest();
    exits(&mut vcpu, exit::EPT_VIOLATION, &[(field::QUALIFICATION, 1 << 12 | 1)]);
    assert_eq!(vmread(field::GUEST_INTERRUPTIBILITY), shadow::NMI);
    let info = u64::from(0x8000_0b0e | word::NMI_UNBLOCKED);
    let mut vcpu = guest();
    exits(&mut vcpu, exit::EXCEPTION_OR_NMI, &[(field::EXIT_EVENT, info)]);
    assert_eq!(vmread(field::GUEST_INTERRUPTIBILITY), shadow::NMI);
}

#[test]
fn a_physical_nmi_is_taken_once() {
    let mut vcpu = guest();
    assert_eq!(
        exits(&mut vcpu, exit::EXCEPTION_OR_NMI, &[(field::EXIT_EVENT, 0x8000_0202)]),
        Exit::Nmi
    );
    assert_eq!(machine(|machine| machine.nmis), 1);
}
