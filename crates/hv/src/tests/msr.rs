//! EFER and the MSRs that are not there for the guest (APM 2, 3.1.7 and 15.30).
use super::bench::{Bench, CODE, HOLE};
use super::std;
use crate::Host;
use std::vec;
use vcpu::{Event, Exit, Gpr, System, Vcpu};
use x86defs::{cr, msr};

const GP: Option<Event> = Some(Event::Exception(13, Some(0)));

fn read(bench: &mut Bench, register: u32) -> u64 {
    bench.vcpu.set_system(System::Rip, CODE);
    bench.vcpu.queued = None;
    bench.vcpu.set_gpr(Gpr::Rcx, u64::from(register) | 7 << 32);
    bench.exit_at(&[0x0f, 0x32], Exit::Rdmsr);
    bench.vcpu.gpr(Gpr::Rdx) << 32 | bench.vcpu.gpr(Gpr::Rax)
}

fn write(bench: &mut Bench, register: u32, value: u64) {
    bench.vcpu.set_system(System::Rip, CODE);
    bench.vcpu.queued = None;
    bench.vcpu.set_gpr(Gpr::Rcx, u64::from(register));
    bench.vcpu.set_gpr(Gpr::Rax, value & 0xffff_ffff | 0xdead << 32);
    bench.vcpu.set_gpr(Gpr::Rdx, value >> 32 | 0xdead << 32);
    bench.exit_at(&[0x0f, 0x30], Exit::Wrmsr);
}

fn long() -> Bench {
    let bench = Bench::long();
    bench.machine.host.msrs.borrow_mut().insert(msr::EFER, 0x1d01);
    bench
}

#[test]
fn efer_hides_svme() {
    let mut bench = long();
    assert_eq!(read(&mut bench, msr::EFER), cr::EFER_LME | cr::EFER_LMA | cr::EFER_SCE);
    assert_eq!(bench.rip(), CODE + 2);
    assert_eq!(bench.queued(), None);
}

#[test]
fn efer_is_written_with_svme_and_lma_kept() {
    let mut bench = long();
    write(&mut bench, msr::EFER, cr::EFER_LME | cr::EFER_NXE);
    assert_eq!(bench.queued(), None);
    assert_eq!(bench.rip(), CODE + 2);
    let expected = cr::EFER_LME | cr::EFER_NXE | cr::EFER_LMA | cr::EFER_SVME;
    assert_eq!(bench.vcpu.system(System::Efer), expected);
    assert_eq!(bench.machine.host.msrs.borrow()[&msr::EFER], 0x1d01, "the VMM's own is back");
}

#[test]
fn efer_keeps_what_the_cpu_takes() {
    let mut bench = long();
    write(&mut bench, msr::EFER, cr::EFER_LME | cr::EFER_SCE | cr::EFER_FFXSR);
    assert_ne!(bench.vcpu.system(System::Efer) & cr::EFER_FFXSR, 0);
    write(&mut bench, msr::EFER, cr::EFER_LME | 1 << 40);
    assert_eq!(bench.queued(), GP, "a reserved bit");
    assert_ne!(bench.vcpu.system(System::Efer) & cr::EFER_FFXSR, 0, "nothing changed");
    assert_eq!(bench.rip(), CODE);
    assert_eq!(bench.machine.host.msrs.borrow()[&msr::EFER], 0x1d01);
}

#[test]
fn efer_refuses_svme_and_lme_under_paging() {
    let mut bench = long();
    let before = bench.vcpu.system(System::Efer);
    for value in [cr::EFER_LME | cr::EFER_SVME, 0, cr::EFER_SCE] {
        write(&mut bench, msr::EFER, value);
        assert_eq!(bench.queued(), GP, "{value:#x}");
        assert_eq!(bench.vcpu.system(System::Efer), before);
        assert_eq!(bench.rip(), CODE);
    }
    bench.vcpu.change(System::Cr0, cr::CR0_PG, false);
    write(&mut bench, msr::EFER, 0);
    assert_eq!(bench.queued(), None, "without paging LME may change");
}

#[test]
fn concealed_msrs_do_not_exist() {
    let mut bench = Bench::bits32();
    let svm = [msr::VM_CR, msr::SMM_CTL, msr::VM_HSAVE_PA, msr::SVM_KEY];
    for register in svm.into_iter().chain([0xc001_011e, 0xc001_0130, 0xc001_0131]) {
        bench.machine.host.msrs.borrow_mut().insert(register, 5);
        read(&mut bench, register);
        assert_eq!(bench.queued(), GP, "{register:#x}");
        write(&mut bench, register, 0);
        assert_eq!(bench.queued(), GP, "{register:#x}");
        assert_eq!(bench.rip(), CODE);
    }
    assert_eq!(*bench.machine.host.written_msrs.borrow(), vec![]);
}

#[test]
fn the_cpu_knows_the_others() {
    let mut bench = Bench::bits32();
    bench.machine.host.msrs.borrow_mut().insert(0x4000_0000, 0x1234_5678_9abc_def0);
    assert_eq!(read(&mut bench, 0x4000_0000), 0x1234_5678_9abc_def0);
    write(&mut bench, 0x4000_0000, 0xa_0000_0005);
    assert_eq!(read(&mut bench, 0x4000_0000), 0xa_0000_0005);
    read(&mut bench, 0x4000_0001);
    assert_eq!(bench.queued(), GP);
    write(&mut bench, 0x4000_0001, 0);
    assert_eq!(bench.queued(), GP);
}

#[test]
fn real_mode_pushes_no_error_code() {
    let mut bench = Bench::new();
    read(&mut bench, msr::VM_CR);
    assert_eq!(bench.queued(), Some(Event::Exception(13, None)));
}

#[test]
fn what_moves_memory_keeps_its_value() {
    for register in [msr::TOP_MEM, msr::IORR_BASE0 + 2, msr::SMM_MASK] {
        let mut bench = Bench::bits32();
        bench.machine.host.msrs.borrow_mut().insert(register, 0x4000_0000);
        write(&mut bench, register, 0x4000_0000);
        assert_eq!(bench.queued(), None);
        write(&mut bench, register, 0x2000_0000);
        assert_eq!(bench.queued(), GP);
        assert_eq!(bench.machine.host.msrs.borrow()[&register], 0x4000_0000);
    }
}

#[test]
fn syscfg_changes_where_no_memory_moves() {
    let mut bench = Bench::bits32();
    bench.machine.host.msrs.borrow_mut().insert(msr::SYSCFG, 0x74_0000);
    write(&mut bench, msr::SYSCFG, 0x88_0000);
    assert_eq!(bench.queued(), None);
    assert_eq!(bench.machine.host.msrs.borrow()[&msr::SYSCFG], 0x38_0000);
}

#[test]
fn the_apic_never_comes_over_the_hole() {
    let mut bench = Bench::bits32();
    let base = 0xfee0_0900;
    bench.machine.host.msrs.borrow_mut().insert(msr::APIC_BASE, base);
    write(&mut bench, msr::APIC_BASE, HOLE.base | 0x900);
    assert_eq!(bench.queued(), GP);
    bench.vcpu.queued = None;
    write(&mut bench, msr::APIC_BASE, 0xfee1_0900);
    assert_eq!(bench.queued(), None);
}

#[test]
fn a_microcode_patch_is_given_to_the_cpu() {
    let mut bench = Bench::bits32();
    bench.machine.host.write_memory(0x8ffe, &[1, 2, 3, 4]);
    write(&mut bench, msr::PATCH_LOADER, 0x8ffe);
    let patches = bench.machine.host.patches.borrow();
    assert_eq!(patches[0][..5], [1, 2, 3, 4, 0]);
    assert_eq!(patches[0].len(), crate::MICROCODE);
}

#[test]
fn mcip_in_the_register_is_the_cpus_alone() {
    let mut bench = Bench::long();
    bench.machine.host.msrs.borrow_mut().insert(msr::MCG_STATUS, 0);
    for (value, kept) in [(4, 0), (5, 1), (0, 0), (7, 3)] {
        write(&mut bench, msr::MCG_STATUS, value);
        assert_eq!((bench.queued(), bench.rip()), (None, CODE + 2));
        assert_eq!(bench.machine.host.msrs.borrow()[&msr::MCG_STATUS], kept);
        assert_eq!(read(&mut bench, msr::MCG_STATUS), value);
    }
    // A machine check: the guest's handler sees it, and ends it.
    write(&mut bench, msr::MCG_STATUS, 0);
    bench.machine.host.msrs.borrow_mut().insert(msr::MCG_STATUS, 5);
    assert_eq!(read(&mut bench, msr::MCG_STATUS), 5);
    write(&mut bench, msr::MCG_STATUS, 0);
    assert_eq!(read(&mut bench, msr::MCG_STATUS), 0);
}

#[test]
fn a_dead_vmm_asks_no_device() {
    let bench = Bench::long();
    let host = &bench.machine.host;
    let mut out = [0; 8];
    for device in [0xfee0_0020, 0xfffc_0000, 1 << 40] {
        assert!(!crate::frozen::as_the_vmm(host, device, &mut out), "{device:x}");
    }
    assert!(crate::frozen::as_the_vmm(host, CODE, &mut out));
    assert!(crate::frozen::as_the_vmm(host, handover::VMM_BASE, &mut out));
}
