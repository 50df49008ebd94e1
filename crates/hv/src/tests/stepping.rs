//! The analyst's step: one instruction or one event, TF never seen by the guest.
use super::bench::{Bench, CODE};
use vcpu::{Event, Exit, Gpr, Intercept, NestedFault, Seg, System, Vcpu};
use x86defs::{cr, dr, msr, rflags};

const DB: Option<Event> = Some(Event::Exception(1, None));

/// The analyst comes and steps; the next stop is answered by `c`.
fn step(bench: &mut Bench, code: &[u8]) {
    let at = bench.vcpu.segment(Seg::Cs).base + bench.rip();
    bench.write(at, code);
    bench.analyst(&["?", "s"]);
    assert!(bench.vcpu.held && bench.vcpu.intercepts(Intercept::Everything));
    bench.line.packets(&["c"]);
}

/// The step is over and was told; nothing of it is left.
fn done(bench: &Bench) {
    assert!(bench.line.stopped("05"), "no stop was told");
    assert!(!bench.vcpu.held && !bench.vcpu.intercepts(Intercept::Everything));
    assert_eq!(bench.vcpu.root, bench.machine.nested.lock().root());
}

/// The first fetch of a handler.
fn fetch(bench: &mut Bench) {
    assert_ne!(bench.vcpu.root, bench.machine.nested.lock().root());
    let fault = NestedFault { gpa: 0x500, present: true, fetch: true, ..NestedFault::default() };
    bench.exit(Exit::NestedFault(fault));
}

fn tf(bench: &mut Bench, on: bool) {
    bench.vcpu.change(System::Rflags, rflags::TF, on);
}

#[test]
fn one_instruction() {
    let mut bench = Bench::new();
    let flags = bench.flags();
    step(&mut bench, &[0x90]);
    assert_eq!(bench.flags(), flags | rflags::TF);
    bench.trap(CODE + 1);
    done(&bench);
    assert_eq!((bench.flags(), bench.dr6(), bench.queued()), (flags, dr::DR6_INIT, None));
}

#[test]
fn one_instruction_of_a_guest_that_steps_itself() {
    let mut bench = Bench::new();
    tf(&mut bench, true);
    step(&mut bench, &[0x90]);
    bench.trap(CODE + 1);
    done(&bench);
    assert_eq!((bench.queued(), bench.dr6()), (DB, dr::DR6_INIT | dr::DR6_BS));
    assert_ne!(bench.flags() & rflags::TF, 0);
}

/// The guest steps itself by branches; the analyst steps it by instructions.
#[test]
fn one_instruction_of_a_guest_that_steps_branches() {
    for (code, next, traps) in [([0x90, 0x90], CODE + 1, false), ([0xeb, 0x10], CODE + 0x12, true)]
    {
        let mut bench = Bench::new();
        tf(&mut bench, true);
        bench.vcpu.set_system(System::DebugCtl, msr::DEBUGCTL_BTF);
        step(&mut bench, &code);
        assert_eq!(bench.vcpu.system(System::DebugCtl), 0);
        bench.trap(next);
        done(&bench);
        assert_eq!(bench.queued(), DB.filter(|_| traps));
        let left = if traps { 0 } else { msr::DEBUGCTL_BTF };
        assert_eq!(bench.vcpu.system(System::DebugCtl), left);
    }
}

#[test]
fn pushf_shows_the_guests_tf() {
    for (own, pushed) in [(false, 0x02), (true, 0x03)] {
        for mut bench in [Bench::new(), Bench::bits32(), Bench::long()] {
            tf(&mut bench, own);
            step(&mut bench, &[0x9c]);
            bench.vcpu.set_gpr(Gpr::Rsp, 0x8ff0);
            bench.write(0x8ff0, &[0x02, 0x03]);
            bench.trap(CODE + 1);
            done(&bench);
            assert_eq!(bench.read(0x8ff0, 2), [0x02, pushed]);
            assert_eq!(bench.flags() & rflags::TF != 0, own);
            assert_eq!(bench.queued(), DB.filter(|_| own));
        }
    }
}

#[test]
fn popf_and_iret_load_tf_themselves() {
    for code in [0x9d, 0xcf] {
        for (before, after) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut bench = Bench::new();
            tf(&mut bench, before);
            step(&mut bench, &[code]);
            tf(&mut bench, after);
            bench.trap(CODE + 1);
            done(&bench);
            assert_eq!(bench.flags() & rflags::TF != 0, after);
            assert_eq!(bench.queued(), DB.filter(|_| before), "{code:#x} {before} {after}");
        }
    }
}

#[test]
fn software_interrupts_are_delivered_with_the_guests_tf() {
    let cases = [
        (&[0xcd, 0x21][..], Exit::SoftwareInterrupt, Event::Software(0x21)),
        (&[0x66, 0xcd, 3], Exit::SoftwareInterrupt, Event::Software(3)),
        (&[0xcc], Exit::Exception { vector: 3, error: 0, address: 0 }, Event::Exception(3, None)),
        (&[0xce], Exit::Exception { vector: 4, error: 0, address: 0 }, Event::Exception(4, None)),
    ];
    for (code, exit, event) in cases {
        let mut bench = Bench::new();
        let flags = bench.flags();
        step(&mut bench, code);
        bench.exit(exit);
        assert_eq!(bench.queued(), Some(event));
        assert_eq!((bench.rip(), bench.flags()), (CODE + code.len() as u64, flags));
        assert_eq!(bench.line.replies(), "");
        fetch(&mut bench);
        assert_eq!(bench.vcpu.delivered, [event]);
        done(&bench);
    }
}

#[test]
fn a_fault_ends_at_its_handler() {
    let mut bench = Bench::bits32();
    let flags = bench.flags();
    step(&mut bench, &[0x8b, 0x00]);
    bench.exception(14, 2, 0xdead_0000);
    assert_eq!(bench.queued(), Some(Event::Exception(14, Some(2))));
    assert_eq!((bench.flags(), bench.vcpu.system(System::Cr2)), (flags | rflags::RF, 0xdead_0000));
    fetch(&mut bench);
    done(&bench);
}

#[test]
fn a_fault_of_an_emulated_instruction_ends_at_its_handler() {
    let mut bench = Bench::bits32();
    let flags = bench.flags();
    step(&mut bench, &[0x0f, 0x32]);
    bench.vcpu.set_gpr(Gpr::Rcx, 0x4000_0000);
    bench.exit(Exit::Rdmsr);
    assert_eq!(
        (bench.queued(), bench.flags()),
        (Some(Event::Exception(13, Some(0))), flags | rflags::RF)
    );
    fetch(&mut bench);
    done(&bench);
}

#[test]
fn an_event_in_delivery_is_the_step() {
    let mut bench = Bench::new();
    let flags = bench.flags();
    bench.vcpu.interrupted = Some(Event::Interrupt(8));
    step(&mut bench, &[0x90]);
    assert_eq!((bench.queued(), bench.flags()), (Some(Event::Interrupt(8)), flags));
    fetch(&mut bench);
    assert_eq!(bench.vcpu.delivered, [Event::Interrupt(8)]);
    done(&bench);
}

#[test]
fn emulated_instructions_end_the_step() {
    for own in [false, true] {
        let mut bench = Bench::new();
        tf(&mut bench, own);
        step(&mut bench, &[0x0f, 0xa2]);
        bench.exit(Exit::Cpuid);
        done(&bench);
        assert_eq!(bench.rip(), CODE + 2);
        assert_eq!((bench.queued(), bench.flags() & rflags::TF != 0), (DB.filter(|_| own), own));
    }
    let mut bench = Bench::new();
    step(&mut bench, &[0xf4]);
    bench.exit(Exit::Hlt);
    done(&bench);
    assert!(!bench.cpu.halted);
}

fn syscall_guest() -> Bench {
    let mut bench = Bench::long();
    bench.vcpu.set_system(System::Lstar, 0x9000);
    bench.vcpu.set_system(System::Star, 0x0023_0010_0000_0000);
    bench.vcpu.set_system(System::Sfmask, rflags::IF | rflags::TF);
    bench
}

#[test]
fn syscall_in_long_mode() {
    let mut bench = syscall_guest();
    let flags = bench.flags();
    bench.line.packets(&["?", "s", "c"]);
    bench.write(CODE, &[0x0f, 0x05]);
    bench.exit(Exit::Interrupt);
    done(&bench);
    assert_eq!(bench.rip(), 0x9000);
    assert_eq!(bench.vcpu.gpr(Gpr::Rcx), CODE + 2);
    assert_eq!(bench.vcpu.gpr(Gpr::R11), flags);
    assert_eq!(bench.flags(), flags & !rflags::IF);
    assert_eq!(bench.vcpu.segment(Seg::Cs).selector, 0x10);
    assert_eq!((bench.vcpu.segment(Seg::Ss).selector, bench.vcpu.cpl()), (0x18, 0));
}

#[test]
fn syscall_behind_an_emulated_instruction() {
    let mut bench = syscall_guest();
    bench.write(CODE + 2, &[0x0f, 0x05]);
    step(&mut bench, &[0x0f, 0xa2]);
    bench.line.0.borrow_mut().to_vmm.clear();
    bench.line.packets(&["s", "c"]);
    bench.exit(Exit::Cpuid);
    assert_eq!(bench.line.left(), 0, "the second step was not told");
    done(&bench);
    assert_eq!(bench.rip(), 0x9000);
}

#[test]
fn syscall_that_is_off_is_ud() {
    let mut bench = syscall_guest();
    bench.vcpu.change(System::Efer, cr::EFER_SCE, false);
    step(&mut bench, &[0x0f, 0x05]);
    assert_eq!(bench.rip(), CODE);
    bench.exception(6, 0, 0);
    assert_eq!(bench.queued(), Some(Event::Exception(6, None)));
    fetch(&mut bench);
    done(&bench);
}

/// The guest's own watchpoint hits in the stepped instruction: one #DB with both bits (APM 2, 13.1.3).
#[test]
fn the_guests_breakpoint_is_not_lost_in_a_step() {
    let mut bench = Bench::new();
    bench.vcpu.set_system(System::Dr7, dr::DR7_INIT | 1 | 1 << 16);
    step(&mut bench, &[0x90]);
    bench.vcpu.set_system(System::Rip, CODE + 1);
    bench.debug_exception(dr::DR6_BS | 1);
    done(&bench);
    assert_eq!((bench.queued(), bench.dr6()), (DB, dr::DR6_INIT | 1));
}

/// DR6.BS stays until software clears it (APM 2, 13.1.1): it may be old.
#[test]
fn an_old_bs_does_not_end_the_step() {
    let mut bench = Bench::new();
    bench.vcpu.set_system(System::Dr6, dr::DR6_INIT | dr::DR6_BS);
    bench.vcpu.set_system(System::Dr7, dr::DR7_INIT | 1);
    step(&mut bench, &[0x90]);
    bench.debug_exception(1);
    assert_eq!(bench.queued(), DB, "an instruction breakpoint of the guest comes first");
    assert_eq!(bench.dr6(), dr::DR6_INIT | dr::DR6_BS | 1);
    fetch(&mut bench);
    done(&bench);
}

/// MOV between ECX and DR6, stepped: by the CPU, or by us if it is intercepted meanwhile.
fn step_mov_dr6(bench: &mut Bench, write: bool, native: impl Fn(&mut Bench)) {
    let next = bench.rip() + 3;
    step(bench, &[0x0f, 0x21 + 2 * u8::from(write), 0xf1]);
    if bench.vcpu.intercepts(Intercept::DebugRegisters) {
        bench.exit(Exit::MovDr { register: 6, write, gpr: None });
    } else {
        native(bench);
        bench.trap(next);
    }
    done(bench);
    assert_eq!(bench.rip(), next);
    assert!(!bench.vcpu.intercepts(Intercept::DebugRegisters));
}

#[test]
fn dr6_is_the_guests_in_a_step() {
    let old = dr::DR6_INIT | dr::DR6_BS | 2;
    let mut bench = Bench::new();
    bench.vcpu.set_system(System::Dr6, old);
    step_mov_dr6(&mut bench, false, |bench| bench.vcpu.set_gpr(Gpr::Rcx, bench.dr6()));
    assert_eq!((bench.vcpu.gpr(Gpr::Rcx), bench.dr6()), (old, old));
    bench.vcpu.set_gpr(Gpr::Rcx, dr::DR6_INIT);
    step_mov_dr6(&mut bench, true, |bench| bench.vcpu.set_system(System::Dr6, dr::DR6_INIT));
    assert_eq!(bench.dr6(), dr::DR6_INIT);
}

/// INIT ends whatever is under way: nothing of the step may hold interrupts for ever.
#[test]
fn init_ends_a_step() {
    let mut bench = Bench::new();
    step(&mut bench, &[0x90]);
    bench.vcpu.init = true;
    bench.exit(Exit::Init);
    assert!(!bench.vcpu.held && !bench.vcpu.intercepts(Intercept::Everything));
    assert!(bench.cpu.step.is_none());
}

/// gdb's `next`: one round trip, whatever the loop does, unless it comes to a breakpoint.
#[test]
fn a_range_is_stepped_through() {
    for (breakpoint, end) in
        [("Z0,9000,1", CODE + 4), ("Z0,7c02,1", CODE + 2), ("Z1,7c02,1", CODE + 2)]
    {
        let mut bench = Bench::new();
        bench.write(CODE, &[0x90; 8]);
        bench.line.packets(&["?", breakpoint, "vCont;r7c00,7c04:1;c"]);
        bench.exit(Exit::Interrupt);
        assert!(bench.line.stopped("02"));
        // Round the loop once, then to its end.
        for rip in [CODE + 1, CODE, CODE + 1] {
            bench.trap(rip);
            assert_eq!(bench.line.replies(), "");
            assert_ne!(bench.flags() & rflags::TF, 0, "the next step is under way");
        }
        bench.line.packets(&["D"]);
        bench.trap(end);
        done(&bench);
    }
}

#[test]
fn a_range_that_is_never_left_comes_to_the_line() {
    let mut bench = Bench::new();
    bench.write(CODE, &[0x90; 8]);
    bench.line.packets(&["?", "vCont;r7c00,7c04:1;c"]);
    bench.exit(Exit::Interrupt);
    bench.line.bytes(&[3]);
    bench.line.packets(&["vCont;r7c00,7c04:1;c", "D"]);
    for _ in 0..100 {
        if bench.line.left() == 0 {
            break;
        }
        bench.trap(CODE + 1);
    }
    let replies = bench.line.replies();
    let told = ["S05", "S02", "OK"].map(|it| replies.rfind(it));
    assert!(told.is_sorted() && told.iter().all(Option::is_some), "{replies}");
    assert!(!bench.vcpu.held && bench.cpu.step.is_none());
}
