//! Entries and exits: fields written, shadows, sleep, tasks, INIT. The CPU is `switch_tests.rs`'s, which checks each entry.
extern crate std;
use crate::capability::{Controls, tests::haswell};
use crate::switch::{Entered, Next, machine, vmread};
use crate::{HostState, MsrMap, Parts, Vmx};
use core::sync::atomic::{AtomicBool, AtomicU8};
use std::boxed::Box;
use vcpu::{Event, Exit, Gpr, Intercept, IoMap, Seg, Segment, System, TaskSource, Vcpu};
use x86defs::vmx::{activity, exit, field, pending, shadow};
use x86defs::{cr, dr, msr, rflags, vector};

pub(crate) const RIP: u64 = 0x1000;
const STACK: u64 = 0x8000;

/// A guest in 32-bit protected mode with interrupts on.
pub(crate) fn guest() -> Vmx {
    guest_of(true)
}

fn guest_of(saves_timer: bool) -> Vmx {
    let tables = |register| match register {
        msr::VMX_EPT_VPID => u64::MAX,
        other => haswell(saves_timer, true)(other),
    };
    let controls = Controls::new(tables).unwrap();
    machine(|machine| *machine = Default::default());
    machine(|machine| machine.controls = controls);
    let parts = Parts {
        controls,
        io_map: IoMap(Box::leak(Box::new([const { AtomicU8::new(0) }; 0x2000]))),
        io_map_hpa: 0x10_0000,
        msr_map: MsrMap(Box::leak(Box::new([const { AtomicU8::new(0) }; 0x1000]))),
        msr_map_hpa: 0x10_2000,
        nested_root: 0x10_3000,
        host: HostState { selectors: (8, 16, 24), task: 0, gs: 0 },
        nmi: Box::leak(Box::new(AtomicBool::new(false))),
        millisecond: 2_000_000,
    };
    // SAFETY: there is no CPU.
    let mut vcpu = unsafe { Vmx::new(parts) };
    let flat = |attributes| Segment { selector: 8, attributes, limit: u32::MAX, base: 0 };
    vcpu.set_segment(Seg::Cs, flat(0xc9b));
    for register in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
        vcpu.set_segment(register, flat(0xc93));
    }
    vcpu.set_system(System::Cr0, cr::CR0_PE | cr::CR0_ET);
    vcpu.set_system(System::Rip, RIP);
    vcpu.set_system(System::Rflags, rflags::RESERVED_ONE | rflags::IF);
    vcpu.set_gpr(Gpr::Rsp, STACK);
    vcpu
}

pub(crate) fn push(next: Next) {
    machine(|machine| machine.next.push_back(next));
}

/// The guest exits so at the next entry.
pub(crate) fn exits(vcpu: &mut Vmx, reason: u32, fields: &[(u32, u64)]) -> Exit {
    push(Next::Exit(reason, fields.to_vec()));
    vcpu.run()
}

pub(crate) fn tick(vcpu: &mut Vmx) {
    assert_eq!(exits(vcpu, exit::PREEMPTION_TIMER, &[(field::TIMER_VALUE, 0)]), Exit::Tick);
}

pub(crate) fn last() -> Entered {
    machine(|machine| machine.entered.last().copied()).unwrap()
}

pub(crate) fn set(field: u32, value: u64) {
    machine(|machine| machine.fields.insert(field, value));
}

#[test]
fn a_cpuid_writes_one_field() {
    for saves_timer in [true, false] {
        let mut vcpu = guest_of(saves_timer);
        for n in 1..4 {
            assert_eq!(
                exits(&mut vcpu, exit::CPUID, &[(field::INSTRUCTION_LENGTH, 2)]),
                Exit::Cpuid
            );
            let next = vcpu.next_rip().unwrap();
            assert_eq!(next, RIP + 2 * n);
            vcpu.set_system(System::Rip, next);
            vcpu.clear_interrupt_shadow();
            assert_eq!(machine(|machine| machine.written.clone()), [field::GUEST_RIP]);
        }
    }
}

#[test]
fn what_is_set_to_what_it_is_writes_nothing() {
    let mut vcpu = guest();
    machine(|machine| machine.written.clear());
    for register in [
        System::Rip,
        System::Rflags,
        System::Cr0,
        System::Cr3,
        System::Cr4,
        System::Efer,
        System::Dr7,
    ] {
        let value = vcpu.system(register);
        vcpu.set_system(register, value);
    }
    for register in [Seg::Cs, Seg::Tr, Seg::Gdtr] {
        let value = vcpu.segment(register);
        vcpu.set_segment(register, value);
    }
    vcpu.set_tsc_offset(0);
    vcpu.set_pae_pointers([0; 4]);
    for what in [
        Intercept::Mwait,
        Intercept::Iret,
        Intercept::DebugRegisters,
        Intercept::Everything,
        Intercept::Step,
    ] {
        vcpu.intercept(what, false);
    }
    assert!(machine(|machine| machine.written.is_empty()));
}

#[test]
fn interrupts_are_held_by_a_shadow_of_ours() {
    let mut vcpu = guest();
    vcpu.hold_interrupts(true);
    exits(&mut vcpu, exit::EPT_VIOLATION, &[]);
    assert_eq!(vmread(field::GUEST_INTERRUPTIBILITY), shadow::STI);
    vcpu.hold_interrupts(false);
    assert_eq!(vmread(field::GUEST_INTERRUPTIBILITY), 0, "RIP is where it was set");
    vcpu.hold_interrupts(true);
    // The instruction was an STI or MOV SS: the shadow behind it is the guest's.
    exits(&mut vcpu, exit::MONITOR_TRAP, &[(field::GUEST_RIP, RIP + 1)]);
    vcpu.hold_interrupts(false);
    assert_eq!(vmread(field::GUEST_INTERRUPTIBILITY), shadow::STI);
    for (flags, blocked) in [(0, 0), (rflags::IF | rflags::TF, 0), (rflags::IF, shadow::MOV_SS)] {
        let mut vcpu = guest();
        vcpu.set_system(System::Rflags, rflags::RESERVED_ONE | flags);
        set(field::GUEST_INTERRUPTIBILITY, blocked);
        vcpu.hold_interrupts(true);
        tick(&mut vcpu);
        assert_eq!(vmread(field::GUEST_INTERRUPTIBILITY), blocked, "{flags:#x}");
    }
}

/// What the analyst or `hv` makes of the flags must be one that the CPU enters; `switch_tests` checks.
#[test]
fn flags_and_shadows_fit_at_every_entry() {
    for flags in [0, rflags::IF, rflags::TF, rflags::IF | rflags::TF] {
        for blocked in [0, shadow::STI, shadow::MOV_SS] {
            for due in [0, pending::BS] {
                for btf in [0, msr::DEBUGCTL_BTF] {
                    let mut vcpu = guest();
                    set(field::GUEST_INTERRUPTIBILITY, blocked);
                    set(field::GUEST_PENDING_DEBUG, due);
                    set(field::GUEST_DEBUGCTL, btf);
                    vcpu.set_system(System::Rflags, rflags::RESERVED_ONE | flags | rflags::RF);
                    tick(&mut vcpu);
                }
            }
        }
    }
}

#[test]
fn debug_exceptions() {
    let mut vcpu = guest();
    machine(|machine| machine.dr6 = dr::DR6_INIT);
    let fields = [(field::EXIT_EVENT, 0x8000_0301), (field::QUALIFICATION, dr::DR6_BS | 1)];
    let found = exits(&mut vcpu, exit::EXCEPTION_OR_NMI, &fields);
    assert_eq!(found, Exit::Exception { vector: vector::DB, error: 0, address: 0 });
    assert_eq!(vcpu.system(System::Dr6), dr::DR6_INIT | dr::DR6_BS | 1);
    set(field::GUEST_PENDING_DEBUG, 0b101);
    assert_eq!((vcpu.take_breakpoints(), vcpu.take_breakpoints()), (0b101, 0));
}

#[test]
fn writes_of_cr0() {
    let write = |value: u64| {
        let mut vcpu = guest();
        vcpu.set_gpr(Gpr::Rbx, value);
        let found = exits(&mut vcpu, exit::CR, &[(field::QUALIFICATION, 3 << 8)]);
        assert_eq!(found, Exit::ControlRegister);
        (vcpu.system(System::Cr0) & cr::CR0_NE != 0, vcpu.queued())
    };
    assert_eq!(write(cr::CR0_PE | cr::CR0_NE), (true, None), "the guest executes it again");
    let gp = Some(Event::Exception(vector::GP, Some(0)));
    assert_eq!(write(cr::CR0_PE | cr::CR0_NE | cr::CR0_NW), (false, gp));
    let mut vcpu = guest();
    exits(&mut vcpu, exit::CR, &[(field::QUALIFICATION, 4)]);
    assert_eq!(vcpu.queued(), gp, "VMXE does not exist");
}

#[test]
fn a_guest_in_hlt_wakes_when_rip_is_set() {
    let mut vcpu = guest();
    set(field::GUEST_ACTIVITY, activity::HLT);
    tick(&mut vcpu);
    vcpu.set_system(System::Rip, RIP);
    assert_eq!(vmread(field::GUEST_ACTIVITY), activity::HLT, "it is there already");
    vcpu.set_system(System::Rip, RIP + 1);
    assert_eq!(vmread(field::GUEST_ACTIVITY), activity::ACTIVE);
}

#[test]
fn a_task_gate_takes_the_event_with_it() {
    let mut vcpu = guest();
    let gate = [
        (field::QUALIFICATION, 0x50 | 3 << 30),
        (field::VECTORING_EVENT, 0x8000_0b0d),
        (field::VECTORING_ERROR, 0x18),
    ];
    let Exit::TaskSwitch(switch) = exits(&mut vcpu, exit::TASK_SWITCH, &gate) else { panic!() };
    assert_eq!(
        (switch.source, switch.exception, switch.error),
        (TaskSource::Gate, Some(13), Some(0x18))
    );
    assert_eq!(vcpu.queued(), None);
    let gate = [(field::QUALIFICATION, 0x50 | 3 << 30), (field::VECTORING_EVENT, 0x8000_0202)];
    let Exit::TaskSwitch(switch) = exits(&mut vcpu, exit::TASK_SWITCH, &gate) else { panic!() };
    assert!(!switch.software && switch.exception.is_none());
    assert_eq!(vmread(field::GUEST_INTERRUPTIBILITY), shadow::NMI);
    let back = [(field::QUALIFICATION, 0x50 | 1 << 30)];
    exits(&mut vcpu, exit::TASK_SWITCH, &back);
    assert_eq!(vmread(field::GUEST_INTERRUPTIBILITY), 0, "IRET unblocks");
}

#[test]
fn a_guest_that_exits_often_has_a_tick_where_the_timer_is_not_saved() {
    let mut vcpu = guest_of(false);
    let period = vmread(field::TIMER_VALUE);
    for _ in 0..1_000_000 {
        if vmread(field::TIMER_VALUE) == 0 {
            tick(&mut vcpu);
            assert_eq!(vmread(field::TIMER_VALUE), period);
            return;
        }
        // Each entry begins with the whole period.
        exits(&mut vcpu, exit::CPUID, &[(field::TIMER_VALUE, period)]);
    }
    panic!("no tick in ten milliseconds");
}

/// SDM 3A, table 9-1, the column of INIT.
#[test]
fn what_an_init_clears_and_what_it_keeps() {
    const KEPT: [u32; 5] = [
        field::GUEST_SYSENTER_CS,
        field::GUEST_SYSENTER_ESP,
        field::GUEST_SYSENTER_EIP,
        field::GUEST_DEBUGCTL,
        field::GUEST_PAT,
    ];
    let mut vcpu = guest();
    for field in KEPT {
        machine(|machine| machine.fields.insert(field, 0x0001_0203));
    }
    for n in 0..4 {
        vcpu.set_debug_address(n, 0x1111 << n);
    }
    vcpu.set_system(System::Dr6, 0xffff_4ff1);
    vcpu.set_system(System::Dr7, dr::DR7_INIT | 0xff);
    vcpu.set_system(System::Efer, cr::EFER_LME | cr::EFER_NXE);
    vcpu.set_system(System::Cr0, cr::CR0_PE | cr::CR0_ET | cr::CR0_CD);
    vcpu.init();
    assert_eq!(KEPT.map(vmread), [0x0001_0203; 5]);
    assert_eq!([0, 1, 2, 3].map(|n| vcpu.debug_address(n)), [0; 4]);
    let system = |register| vcpu.system(register);
    assert_eq!((system(System::Dr6), system(System::Dr7)), (dr::DR6_INIT, dr::DR7_INIT));
    assert_eq!((system(System::Cr0), system(System::Efer)), (cr::CR0_ET | cr::CR0_CD, 0));
    assert_eq!([System::Cr2, System::Cr3, System::Cr4].map(system), [0; 3]);
    assert_eq!((system(System::Rflags), system(System::Rip)), (2, 0xfff0));
    for register in [Seg::Gdtr, Seg::Idtr, Seg::Ldtr, Seg::Tr, Seg::Es, Seg::Gs] {
        let Segment { selector, limit, base, .. } = vcpu.segment(register);
        assert_eq!((selector, limit, base), (0, 0xffff, 0), "{register:?}");
    }
    assert_eq!(vcpu.segment(Seg::Cs).base, 0xffff_0000);
}
