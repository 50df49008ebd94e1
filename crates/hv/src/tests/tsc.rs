//! The time-stamp counter while the analyst has the guest stopped.
use super::bench::{Bench, CODE};
use vcpu::{Exit, Gpr, System, Vcpu};
use x86defs::msr;

fn stopped(freeze: bool) -> Bench {
    let mut bench = Bench::new();
    bench.machine.options.tsc_freeze = freeze;
    bench.machine.host.msrs.borrow_mut().insert(msr::TSC, 50_000);
    bench.vcpu.next_rip = Some(CODE);
    crate::tsc::watch(&bench.machine, &mut bench.vcpu);
    // Between two looks at the counter a thousand ticks pass: one stop, two stops.
    bench.analyst(&["?", "c"]);
    bench.analyst(&["\u{3}", "c"]);
    bench
}

#[test]
fn it_runs_on() {
    let bench = stopped(false);
    assert_eq!(bench.vcpu.tsc_offset, 0);
    assert!(!bench.vcpu.msrs.contains(&msr::TSC), "nothing exits");
}

#[test]
fn it_stands_still_and_its_msr_agrees() {
    let mut bench = stopped(true);
    let stood = bench.vcpu.tsc_offset.wrapping_neg();
    assert!(stood >= 1_000 && stood.is_multiple_of(1_000), "{stood}");
    assert!(bench.vcpu.msrs.contains(&msr::TSC));
    bench.vcpu.set_gpr(Gpr::Rcx, u64::from(msr::TSC));
    bench.exit(Exit::Rdmsr);
    assert_eq!(bench.vcpu.gpr(Gpr::Rax), 50_000 - stood);
    // What is written is what is read.
    bench.vcpu.set_gpr(Gpr::Rax, 7);
    bench.vcpu.set_gpr(Gpr::Rdx, 1);
    bench.exit(Exit::Wrmsr);
    assert_eq!(bench.machine.host.msrs.borrow()[&msr::TSC], (1 << 32 | 7) + stood);
    bench.exit(Exit::Rdmsr);
    assert_eq!((bench.vcpu.gpr(Gpr::Rax), bench.vcpu.gpr(Gpr::Rdx)), (7, 1));
    assert_eq!(bench.vcpu.system(System::Rip), CODE);
}
