//! How an instruction is completed: RIP, shadows, RF and TF (APM 2, 13.1.4).
use super::bench::{Bench, CODE};
use vcpu::{Event, Exit, Seg, Segment, System, Vcpu};
use x86defs::{dr, msr, rflags, segment};

#[test]
fn the_cpu_may_tell_the_next_rip() {
    let mut bench = Bench::new();
    bench.vcpu.next_rip = Some(CODE + 5);
    bench.exit(Exit::Cpuid);
    assert_eq!(bench.rip(), CODE + 5);
}

#[test]
fn prefixes_count() {
    for (code, len) in
        [(&[0x0f, 0xa2][..], 2), (&[0x66, 0x0f, 0xa2], 3), (&[0xf3, 0x2e, 0x0f, 0xa2], 4)]
    {
        let mut bench = Bench::new();
        bench.exit_at(code, Exit::Cpuid);
        assert_eq!(bench.rip(), CODE + len);
    }
    let mut bench = Bench::long();
    bench.exit_at(&[0x48, 0xf4], Exit::Hlt);
    assert_eq!(bench.rip(), CODE + 2);
}

#[test]
fn across_a_page() {
    for at in [0x1ffe, 0x1fff] {
        for mut bench in [Bench::new(), Bench::long()] {
            bench.vcpu.set_system(System::Rip, at);
            bench.exit_at(&[0x0f, 0xa2], Exit::Cpuid);
            assert_eq!(bench.rip(), at + 2);
        }
    }
}

#[test]
fn at_the_end_of_ram() {
    let end = super::host::RAM as u64;
    let mut bench = Bench::bits32();
    bench.vcpu.set_system(System::Rip, end - 1);
    bench.exit_at(&[0xf4], Exit::Hlt);
    assert_eq!(bench.rip(), end);
    assert!(bench.cpu.halted);
}

#[test]
fn changed_bytes_are_executed_as_they_are_now() {
    let mut bench = Bench::new();
    bench.exit_at(&[0x90, 0x90], Exit::Hlt);
    assert_eq!(bench.rip(), CODE);
    assert!(!bench.cpu.halted);
    assert_eq!(bench.queued(), None);
}

#[test]
fn eip_has_32_bits_outside_long_mode() {
    let mut bench = Bench::bits32();
    bench.vcpu.next_rip = Some(0x1_0000_0001);
    bench.exit(Exit::Cpuid);
    assert_eq!(bench.rip(), 1);
    let mut bench = Bench::long();
    bench.vcpu.next_rip = Some(0xffff_8000_0000_0002);
    bench.exit(Exit::Cpuid);
    assert_eq!(bench.rip(), 0xffff_8000_0000_0002);
}

#[test]
fn eip_has_32_bits_in_compatibility_mode() {
    let mut bench = Bench::long();
    bench.vcpu.next_rip = Some(0x1_0000_0000);
    bench.exit(Exit::Cpuid);
    assert_eq!(bench.rip(), 0x1_0000_0000, "in 64-bit mode it is an address");
    let cs = bench.vcpu.segment(Seg::Cs);
    let attributes = cs.attributes & !segment::ATTR_L | segment::ATTR_DB;
    bench.vcpu.set_segment(Seg::Cs, Segment { attributes, ..cs });
    bench.exit(Exit::Cpuid);
    assert_eq!(bench.rip(), 0);
}

#[test]
fn cs_base_counts() {
    let mut bench = Bench::new();
    bench.vcpu.set_segment(Seg::Cs, Segment::real(0x1234, segment::CODE16));
    bench.vcpu.set_system(System::Rip, 0x10);
    bench.write(0x12350, &[0x67, 0x0f, 0xa2]);
    bench.exit(Exit::Cpuid);
    assert_eq!(bench.rip(), 0x13);
}

#[test]
fn a_set_tf_traps_afterwards() {
    let mut bench = Bench::new();
    bench.vcpu.change(System::Rflags, rflags::TF | rflags::RF, true);
    bench.vcpu.shadow = true;
    bench.exit_at(&[0x0f, 0xa2], Exit::Cpuid);
    assert_eq!(bench.rip(), CODE + 2);
    assert_eq!(bench.queued(), Some(Event::Exception(1, None)));
    assert_eq!(bench.dr6(), dr::DR6_INIT | dr::DR6_BS);
    assert_eq!(bench.flags() & (rflags::RF | rflags::TF), rflags::TF);
    assert!(!bench.vcpu.shadow);
}

/// With BTF it is branches that trap, and what is completed here is none.
#[test]
fn a_set_tf_with_btf_does_not() {
    let mut bench = Bench::new();
    bench.vcpu.change(System::Rflags, rflags::TF, true);
    bench.vcpu.set_system(System::DebugCtl, msr::DEBUGCTL_BTF);
    bench.exit_at(&[0x0f, 0xa2], Exit::Cpuid);
    assert_eq!((bench.rip(), bench.queued(), bench.dr6()), (CODE + 2, None, dr::DR6_INIT));
    assert_eq!(bench.vcpu.system(System::DebugCtl), msr::DEBUGCTL_BTF);
}

#[test]
fn a_debug_exception_ends_branch_records_and_branch_steps() {
    let mut bench = Bench::new();
    bench.vcpu.set_system(System::DebugCtl, msr::DEBUGCTL_LBR | msr::DEBUGCTL_BTF | 1 << 6);
    bench.vcpu.set_system(System::Dr6, dr::DR6_INIT | dr::DR6_BS);
    bench.exception(1, 0, 0);
    assert_eq!(bench.queued(), Some(Event::Exception(1, None)));
    assert_eq!(bench.vcpu.system(System::DebugCtl), 1 << 6);
}

/// The handler of a #DB that general detect raised reads DR6 at once: it must not raise the next one.
#[test]
fn general_detect_is_off_in_its_handler() {
    let mut bench = Bench::new();
    bench.vcpu.set_system(System::Dr7, dr::DR7_INIT | dr::DR7_GD | 3);
    bench.vcpu.set_system(System::Dr6, dr::DR6_INIT | dr::DR6_BD);
    bench.exception(1, 0, 0);
    assert_eq!(bench.queued(), Some(Event::Exception(1, None)));
    assert_eq!(bench.vcpu.system(System::Dr7), dr::DR7_INIT | 3);
    assert_eq!(bench.dr6(), dr::DR6_INIT | dr::DR6_BD);
}

#[test]
fn rf_clears_and_the_shadow_ends() {
    let mut bench = Bench::new();
    bench.vcpu.change(System::Rflags, rflags::RF, true);
    bench.vcpu.shadow = true;
    bench.exit_at(&[0x0f, 0xa2], Exit::Cpuid);
    assert_eq!(bench.flags() & rflags::RF, 0);
    assert_eq!(bench.queued(), None);
    assert_eq!(bench.dr6(), dr::DR6_INIT);
    assert!(!bench.vcpu.shadow);
}
