//! The analyst's step on a CPU with a monitor trap flag: the guest's own TF is left alone.
use super::bench::{Bench, CODE};
use vcpu::{Event, Exit, Gpr, Intercept, System, Vcpu};
use x86defs::{dr, rflags};

const DB: Option<Event> = Some(Event::Exception(1, None));

/// The analyst comes, says what else they have to say, and steps; the next stop is answered by `c`.
fn step(code: &[u8], before: &[&str]) -> Bench {
    let mut bench = Bench::new();
    bench.vcpu.capabilities.monitor_trap = true;
    bench.write(CODE, code);
    bench.analyst(&[&["qSupported:hwbreak+"], before, &["s"]].concat());
    assert!(bench.vcpu.held && bench.vcpu.intercepts(Intercept::Step));
    assert!(!bench.vcpu.intercepts(Intercept::Everything));
    bench.line.packets(&["c"]);
    bench
}

/// The step is over; nothing of it is left.
fn over(bench: &Bench) {
    assert!(!bench.vcpu.held && !bench.vcpu.intercepts(Intercept::Step));
    assert!(bench.cpu.step.is_none());
}

fn tf(bench: &mut Bench) {
    bench.vcpu.change(System::Rflags, rflags::TF, true);
}

#[test]
fn one_instruction_and_no_flag() {
    let mut bench = step(&[0x90], &[]);
    assert_eq!(bench.flags() & rflags::TF, 0);
    bench.vcpu.set_system(System::Rip, CODE + 1);
    bench.exit(Exit::Stepped);
    assert!(bench.line.stopped("05"));
    over(&bench);
    assert_eq!((bench.queued(), bench.dr6()), (None, dr::DR6_INIT));
}

/// What ticks meanwhile does not end it: the guest is at the same instruction.
#[test]
fn a_tick_is_not_the_end() {
    let mut bench = step(&[0x90], &[]);
    bench.exit(Exit::Tick);
    assert!(bench.cpu.step.is_some());
    assert_eq!(bench.line.replies(), "");
}

#[test]
fn an_instruction_the_vmm_completes_is_a_step() {
    let mut bench = step(&[0x0f, 0xa2], &[]);
    bench.exit(Exit::Cpuid);
    assert!(bench.line.stopped("05"));
    over(&bench);
    assert_eq!((bench.rip(), bench.queued()), (CODE + 2, None));
}

/// The guest steps itself over an instruction that the VMM completes: its own trap is still owed.
#[test]
fn the_guests_own_trap_is_kept() {
    let mut bench = step(&[0x0f, 0xa2], &[]);
    tf(&mut bench);
    bench.exit(Exit::Cpuid);
    assert!(bench.line.stopped("05"));
    over(&bench);
    assert_eq!((bench.rip(), bench.queued()), (CODE + 2, DB));
    assert_eq!(bench.dr6(), dr::DR6_INIT | dr::DR6_BS);
}

/// What an instruction completed by the VMM raises is delivered, and then the CPU ends the step.
#[test]
fn a_fault_ends_at_its_handler() {
    let mut bench = step(&[0x0f, 0x32], &[]);
    bench.vcpu.set_gpr(Gpr::Rcx, 0x4000_0000);
    bench.exit(Exit::Rdmsr);
    assert!(bench.cpu.step.is_some() && bench.queued().is_some());
    bench.vcpu.set_system(System::Rip, 0x500);
    bench.exit(Exit::Stepped);
    assert!(bench.line.stopped("05"));
    over(&bench);
}

/// A watchpoint hits in the stepped instruction: one stop, told with its reason, and the guest is owed nothing.
#[test]
fn a_watchpoint_met_by_the_step_is_told_with_it() {
    let mut bench = step(&[0x90], &["Z2,9000,4"]);
    bench.vcpu.set_system(System::Rip, CODE + 1);
    bench.vcpu.breakpoints = 1;
    bench.exit(Exit::Stepped);
    let replies = bench.line.replies();
    assert!(replies.contains("watch:9000;") && replies.matches("$T05").count() == 1, "{replies}");
    over(&bench);
    assert_eq!((bench.queued(), bench.dr6()), (None, dr::DR6_INIT));
}

/// The guest's own watchpoint: the step is told, and the guest gets its #DB.
#[test]
fn the_guests_watchpoint_met_by_the_step_is_the_guests() {
    let mut bench = step(&[0x90], &[]);
    bench.vcpu.set_system(System::Dr7, dr::DR7_INIT | 1 | 1 << 16);
    bench.vcpu.set_system(System::Rip, CODE + 1);
    bench.vcpu.breakpoints = 1;
    bench.exit(Exit::Stepped);
    assert!(bench.line.stopped("05"));
    over(&bench);
    assert_eq!((bench.queued(), bench.dr6()), (DB, dr::DR6_INIT | 1));
}

/// A #DB of the analyst's before the instruction: the step ends there, and does not stop the guest once more behind it.
#[test]
fn a_breakpoint_before_the_instruction_is_the_end() {
    let mut bench = step(&[0x90], &["Z2,9000,4"]);
    bench.debug_exception(1);
    let replies = bench.line.replies();
    assert!(replies.contains("watch:9000;"), "{replies}");
    over(&bench);
}
