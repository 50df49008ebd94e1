//! An exit the VMM does not know never stops it: every code, known and unknown.
use super::bench::{Bench, CODE};
use super::std;
use proptest::prelude::*;
use std::string::ToString;
use vcpu::{Event, Exit, System, Vcpu};
use x86defs::vmcb::exit;

const INFOS: [(u64, u64); 6] = [
    (0, 0),
    (1, CODE),
    (u64::MAX, u64::MAX),
    (0x1f0_0040 | 1, CODE),
    (1 << 33 | 2, 0x80_0000_1234),
    (0x3f8_0079, 0xffff_f000),
];

/// Feed one code; then the guest runs on.
fn feed(bench: &mut Bench, code: u64, info: (u64, u64)) {
    let exit = svm::decode::decode(code, info.0, info.1);
    let before = bench.cpu.counters[exit.reason()];
    bench.cpu.halted = false;
    bench.exit(exit);
    assert_eq!(bench.cpu.counters[exit.reason()], before + 1, "{code:#x} was not counted");
    bench.cpu.halted = false;
    bench.vcpu.next_rip = Some(CODE + 2);
    let before = bench.cpu.counters[Exit::Cpuid.reason()];
    bench.exit(Exit::Cpuid);
    assert_eq!(bench.cpu.counters[Exit::Cpuid.reason()], before + 1);
    assert_eq!(bench.rip(), CODE + 2, "the guest does not go on after {code:#x}");
    bench.vcpu.next_rip = None;
    bench.vcpu.queued = None;
}

#[test]
fn every_code_returns_and_the_guest_runs_on() {
    for mut bench in [Bench::new(), Bench::bits32(), Bench::long()] {
        bench.line.0.borrow_mut().detach = true;
        for code in (0..=0x500).chain([u64::from(u32::MAX), u64::MAX - 1, u64::MAX]) {
            for info in INFOS {
                feed(&mut bench, code, info);
            }
        }
        assert_eq!(bench.machine.host.resets.get(), INFOS.len() as u32, "a reset per SHUTDOWN");
    }
}

proptest! {
    #[test]
    fn any_code_returns(codes in proptest::collection::vec(any::<(u64, u64, u64)>(), 1..40)) {
        let mut bench = Bench::new();
        bench.line.0.borrow_mut().detach = true;
        for (code, info1, info2) in codes {
            feed(&mut bench, code, (info1, info2));
            feed(&mut bench, code & 0x1ff, (info1, info2));
        }
    }
}

#[test]
fn unknown_is_ud_and_logged() {
    let mut bench = Bench::new();
    bench.exit(svm::decode::decode(0x4ff, 0, 0));
    assert_eq!(bench.queued(), Some(Event::Exception(6, None)));
    assert_eq!(bench.rip(), CODE);
    assert!(bench.log().contains("0x4ff"), "{}", bench.log());
}

#[test]
fn instructions_of_svm_are_ud() {
    for code in (exit::VMRUN..=exit::SKINIT).chain([exit::INVLPGA]) {
        let mut bench = Bench::long();
        bench.exit(svm::decode::decode(code, 0, 0));
        assert_eq!(bench.queued(), Some(Event::Exception(6, None)), "{code:#x}");
    }
}

#[test]
fn triple_fault_resets_the_machine() {
    let mut bench = Bench::new();
    bench.exit(svm::decode::decode(exit::SHUTDOWN, 0, 0));
    assert_eq!(bench.machine.host.resets.get(), 1);
}

#[test]
fn a_refused_state_freezes_the_guest_with_the_line_alive() {
    let mut bench = Bench::new();
    bench.line.packets(&["?", "c"]);
    bench.exit(svm::decode::decode(exit::INVALID, 0, 0));
    assert!(bench.line.stopped("06"));
    assert_eq!(bench.line.left(), 0);
}

#[test]
fn init_reaches_the_guest() {
    let mut bench = Bench::long();
    bench.vcpu.init = true;
    bench.exit(Exit::Init);
    assert_eq!(bench.rip(), 0xfff0);
    assert_eq!(bench.vcpu.system(System::Cr0) & 1, 0);
}

#[test]
fn invd_writes_back() {
    let mut bench = Bench::new();
    bench.exit_at(&[0x0f, 0x08], Exit::Invd);
    assert_eq!(bench.machine.host.write_backs.get(), 1);
    assert_eq!(bench.rip(), CODE + 2);
}

#[test]
fn counters_are_told_to_the_analyst() {
    let mut bench = Bench::new();
    bench.exit_at(&[0x0f, 0xa2], Exit::Cpuid);
    let hex: std::string::String = "counters".bytes().map(|b| std::format!("{b:02x}")).collect();
    let replies = bench.analyst(&["?", &std::format!("qRcmd,{hex}"), "D"]);
    let cpuid: std::string::String = "cpuid 1\n".bytes().map(|b| std::format!("{b:02x}")).collect();
    assert!(replies.to_string().contains(&cpuid), "{replies}");
}

#[test]
fn the_last_exits_are_told_oldest_first() {
    let mut bench = Bench::new();
    for _ in 0..300 {
        bench.exit_at(&[0x0f, 0xa2], Exit::Cpuid);
        bench.vcpu.set_system(System::Rip, CODE);
    }
    bench.vcpu.next_rip = Some(CODE);
    bench.input(0x92, 1);
    bench.vcpu.gprs[1] = 0xc001_0117;
    bench.exit(Exit::Rdmsr);
    bench.exit(svm::decode::decode(0x4ff, 0, 0));
    let mut told = std::string::String::new();
    bench.cpu.exits.write(4, &mut told).unwrap();
    assert_eq!(
        told,
        "cpuid at 0000:7c00\nport-io at 0000:7c00 in 0x92, 1 bytes\n\
         rdmsr at 0000:7c00 MSR 0xc0010117\nunknown at 0000:7c00 code 0x4ff\n"
    );
    let mut all = std::string::String::new();
    bench.cpu.exits.write(255, &mut all).unwrap();
    assert_eq!(all.lines().count(), 255);
    let mut none = std::string::String::new();
    Bench::new().cpu.exits.write(255, &mut none).unwrap();
    assert_eq!(none, "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// What an exit has to say is told of that exit, whatever the hardware said.
    #[test]
    fn any_exit_is_told(exits in proptest::collection::vec(any::<(u16, u64, u64)>(), 1..20)) {
        let mut bench = Bench::new();
        bench.line.0.borrow_mut().detach = true;
        for (code, info1, info2) in exits {
            bench.cpu.halted = false;
            let exit = svm::decode::decode(u64::from(code & 0x1ff), info1, info2);
            bench.exit(exit);
            let mut told = std::string::String::new();
            bench.cpu.exits.write(1, &mut told).unwrap();
            prop_assert!(told.starts_with(Exit::NAMES[exit.reason()]), "{exit:?}: {told}");
        }
    }
}

#[test]
fn a_guest_the_cpu_refuses_is_frozen_and_explained() {
    let mut bench = Bench::new();
    bench.analyst(&["qSupported:", "?", "c"]);
    bench.line.replies();
    bench.line.packets(&["?", "p10", "c"]);
    bench.exit(Exit::Invalid);
    let said = bench.line.replies();
    let told: std::string::String = "the CPU refused to run the guest: the CPU does not say why\n"
        .bytes()
        .map(|byte| std::format!("{byte:02x}"))
        .collect();
    let (text, stop) = (said.find(&std::format!("$O{told}#")), said.find("06"));
    assert!(text.is_some() && stop > text, "{said}");
    assert!(bench.log().contains("refused to run the guest: the CPU does not say why; frozen"));
    assert_eq!((bench.machine.host.resets.get(), bench.rip(), bench.queued()), (0, CODE, None));
    // A step that could not begin is over: what is put right then runs on.
    let mut bench = Bench::new();
    bench.vcpu.capabilities.monitor_trap = true;
    bench.analyst(&["?", "s"]);
    assert!(bench.vcpu.intercepts(vcpu::Intercept::Step));
    bench.line.packets(&["c"]);
    bench.exit(Exit::Invalid);
    assert!(bench.line.stopped("06"));
    assert!(!bench.vcpu.intercepts(vcpu::Intercept::Step) && !bench.vcpu.held);
    // Nobody attached: it waits for who comes.
    let mut bench = Bench::new();
    bench.line.packets(&["?", "D"]);
    bench.exit(Exit::Invalid);
    assert!(!bench.line.replies().contains("$O74"));
}
