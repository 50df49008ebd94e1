//! HLT, MONITOR and MWAIT.
use super::bench::{Bench, CODE};
use vcpu::{Event, Exit, Intercept, System, Wait};
use x86defs::rflags;

fn halted() -> Bench {
    let mut bench = Bench::new();
    bench.exit_at(&[0xf4], Exit::Hlt);
    assert!(bench.cpu.halted);
    assert_eq!(bench.rip(), CODE + 1);
    bench
}

#[test]
fn an_interrupt_wakes() {
    let mut bench = halted();
    bench.once();
    assert!(bench.cpu.halted);
    assert_eq!(bench.vcpu.waits, [Wait::Halt]);
    bench.vcpu.pending.push_back(0x20);
    bench.once();
    assert!(!bench.cpu.halted);
    assert_eq!(bench.queued(), Some(Event::Interrupt(0x20)));
}

#[test]
fn only_an_nmi_wakes_with_interrupts_off() {
    let mut bench = halted();
    bench.vcpu.change(System::Rflags, rflags::IF, false);
    bench.vcpu.pending.push_back(0x20);
    bench.once();
    assert!(bench.cpu.halted);
    assert_eq!(bench.vcpu.waits, [Wait::Nmi]);
    bench.vcpu.nmi = true;
    bench.once();
    assert!(!bench.cpu.halted);
    assert_eq!(bench.queued(), Some(Event::Nmi));
}

#[test]
fn the_analyst_is_heard_while_the_guest_sleeps() {
    let mut bench = halted();
    bench.line.packets(&["?", "c"]);
    bench.once();
    assert!(bench.line.stopped("02"));
    assert!(bench.cpu.halted, "and it sleeps on");
    bench.once();
    assert_eq!(bench.vcpu.waits, [Wait::Look], "never asleep while a client is attached");
    bench.line.bytes(&[3]);
    bench.line.packets(&["c"]);
    bench.once();
    assert!(bench.line.stopped("02"));
}

#[test]
fn a_step_wakes() {
    let mut bench = halted();
    bench.line.packets(&["?", "s"]);
    bench.once();
    assert!(!bench.cpu.halted);
    bench.line.packets(&["c"]);
    bench.trap(CODE + 2);
    assert!(bench.line.stopped("05"));
}

#[test]
fn the_guests_own_trap_comes_before_sleep() {
    let mut bench = Bench::new();
    bench.vcpu.change(System::Rflags, rflags::TF, true);
    bench.exit_at(&[0xf4], Exit::Hlt);
    assert!(!bench.cpu.halted);
    assert_eq!(bench.queued(), Some(Event::Exception(1, None)));
}

#[test]
fn monitor_and_mwait_are_watched_while_attached() {
    let mut bench = Bench::new();
    assert!(!bench.vcpu.intercepts(Intercept::Mwait));
    bench.analyst(&["?", "c"]);
    assert!(bench.vcpu.intercepts(Intercept::Mwait) && bench.machine.attached());
    bench.exit_at(&[0x0f, 0x01, 0xc8], Exit::Monitor);
    assert_eq!(bench.rip(), CODE + 3);
    bench.exit_at(&[0x0f, 0x01, 0xc9], Exit::Mwait);
    assert_eq!(bench.rip(), CODE + 6);
    assert!(!bench.cpu.halted);
    bench.line.bytes(&[3]);
    bench.line.packets(&["D"]);
    bench.exit_at(&[0x0f, 0x01, 0xc9], Exit::Mwait);
    assert!(bench.line.stopped("02"), "MWAIT is a tick");
    assert!(!bench.vcpu.intercepts(Intercept::Mwait) && !bench.machine.attached());
}

#[test]
fn an_interrupt_is_taken_and_given_on() {
    let mut bench = Bench::new();
    bench.vcpu.pending.push_back(0x31);
    bench.exit(Exit::Interrupt);
    assert_eq!(bench.queued(), Some(Event::Interrupt(0x31)));
    bench.exit(Exit::Interrupt);
    assert_eq!(bench.queued(), None, "it was withdrawn");
}
