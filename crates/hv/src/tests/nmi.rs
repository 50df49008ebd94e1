//! NMIs are given on once, and blocked until the handler's IRET is complete (APM 2, 8.2.3).
use super::bench::{Bench, CODE};
use vcpu::{Event, Exit, Intercept, System, Vcpu};
use x86defs::rflags;

fn in_handler() -> Bench {
    let mut bench = Bench::bits32();
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
    assert_eq!(bench.queued(), Some(Event::Nmi));
    assert!(bench.vcpu.intercepts(Intercept::Iret));
    bench
}

/// IRET went to 9000h and loaded flags without TF.
fn iret_done(bench: &mut Bench) {
    bench.vcpu.change(System::Rflags, rflags::TF, false);
    bench.trap(0x9000);
}

fn skip_cpuid(bench: &mut Bench) {
    bench.vcpu.next_rip = Some(CODE);
    bench.exit(Exit::Cpuid);
}

#[test]
fn nothing_came() {
    let mut bench = Bench::new();
    bench.exit(Exit::Nmi);
    assert_eq!(bench.queued(), None);
}

#[test]
fn blocked_until_iret() {
    let mut bench = in_handler();
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
    assert_eq!(bench.queued(), None, "in the handler");
    bench.exit_at(&[0xcf], Exit::Iret);
    assert!(!bench.vcpu.intercepts(Intercept::Iret) && bench.vcpu.held);
    assert_eq!((bench.queued(), bench.rip()), (None, CODE), "IRET is still to come");
    iret_done(&mut bench);
    assert_eq!(bench.queued(), Some(Event::Nmi));
    assert!(!bench.vcpu.held);
    skip_cpuid(&mut bench);
    assert_eq!(bench.vcpu.delivered, [Event::Nmi, Event::Nmi]);
    assert_eq!(bench.queued(), None);
}

#[test]
fn an_iret_that_faults_ends_it_too() {
    let mut bench = in_handler();
    bench.exit_at(&[0xcf], Exit::Iret);
    bench.exception(13, 0x10, 0);
    assert_eq!(bench.queued(), Some(Event::Exception(13, Some(0x10))));
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
    assert_eq!(bench.queued(), Some(Event::Nmi));
}

#[test]
fn after_an_event_in_delivery() {
    let mut bench = Bench::new();
    bench.vcpu.nmi = true;
    bench.vcpu.interrupted = Some(Event::Interrupt(9));
    bench.exit(Exit::Nmi);
    assert_eq!(bench.queued(), Some(Event::Interrupt(9)));
    skip_cpuid(&mut bench);
    assert_eq!(bench.queued(), Some(Event::Nmi));
}

#[test]
fn after_a_step() {
    let mut bench = Bench::new();
    bench.analyst(&["?", "s"]);
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
    assert_eq!(bench.queued(), None);
    bench.line.packets(&["c"]);
    bench.trap(CODE + 1);
    assert_eq!(bench.queued(), Some(Event::Nmi));
}

#[test]
fn a_stepped_iret_ends_it() {
    let mut bench = in_handler();
    bench.write(CODE, &[0xcf]);
    bench.analyst(&["?", "s"]);
    bench.vcpu.nmi = true;
    bench.exit(Exit::Iret);
    bench.line.packets(&["c"]);
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
    assert_eq!(bench.queued(), None, "IRET is not complete");
    iret_done(&mut bench);
    assert_eq!(bench.queued(), Some(Event::Nmi));
    assert_eq!(bench.vcpu.system(System::Rip), 0x9000);
}

/// An NMI goes first, and the interrupt stays pending; one that is in service already does not hold it up.
#[test]
fn one_that_comes_with_an_interrupt() {
    let mut bench = Bench::new();
    bench.vcpu.pending.push_back(0x20);
    bench.vcpu.nmi_in_window = true;
    bench.exit(Exit::Interrupt);
    assert_eq!(bench.queued(), Some(Event::Nmi));
    bench.vcpu.nmi_in_window = true;
    bench.exit(Exit::Interrupt);
    assert_eq!(bench.queued(), Some(Event::Interrupt(0x20)));
}

#[test]
fn an_init_forgets_them() {
    let mut bench = in_handler();
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
    bench.vcpu.init = true;
    bench.exit(Exit::Init);
    assert_eq!(bench.queued(), None);
    assert!(!bench.vcpu.intercepts(Intercept::Iret));
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
    assert_eq!(bench.queued(), Some(Event::Nmi), "not blocked");
}

/// An access of a port opens a window on AMD, in which the VMM's handler takes an NMI.
#[test]
fn one_that_came_while_an_exit_was_dealt_with_does_not_wait_for_another() {
    let mut bench = Bench::bits32();
    bench.vcpu.nmi = true;
    bench.input(0x92, 1);
    assert_eq!(bench.queued(), Some(Event::Nmi));
}
