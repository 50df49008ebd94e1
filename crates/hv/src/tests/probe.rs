//! The probe is answered in real mode and in protected mode without paging, until there was paging.
use super::bench::{Bench, CODE};
use handover::{ANSWER, NO_DISK, PROBE};
use vcpu::{Event, Exit, Gpr, System, Vcpu};
use x86defs::{cr, rflags};

const VMMCALL: [u8; 3] = [0x0f, 0x01, 0xd9];
const UD: Option<Event> = Some(Event::Exception(6, None));
const NEXT: u32 = 0x9ea0_0010;

/// Whether it is answered; if not, it is #UD and changes nothing.
fn answered(bench: &mut Bench) -> bool {
    bench.machine.next_disk = NEXT;
    bench.vcpu.queued = None;
    bench.vcpu.set_system(System::Rip, CODE);
    for register in [Gpr::Rbx, Gpr::Rcx] {
        bench.vcpu.set_gpr(register, 0);
    }
    bench.vcpu.set_gpr(Gpr::Rax, PROBE.into());
    bench.exit_at(&VMMCALL, Exit::Hypercall);
    let registers = [Gpr::Rax, Gpr::Rbx, Gpr::Rcx].map(|register| bench.vcpu.gpr(register));
    if bench.queued() == UD {
        assert_eq!((registers, bench.rip()), ([PROBE.into(), 0, 0], CODE));
        return false;
    }
    assert_eq!(registers, [ANSWER, NEXT, !PROBE].map(u64::from));
    assert_eq!((bench.queued(), bench.rip()), (None, CODE + 3));
    true
}

#[test]
fn answered_without_paging() {
    assert!(answered(&mut Bench::new()));
    assert!(answered(&mut Bench::bits32()));
}

#[test]
fn another_hypercall_is_ud() {
    for eax in [0, PROBE - 1, ANSWER] {
        let mut bench = Bench::new();
        bench.vcpu.set_gpr(Gpr::Rax, eax.into());
        bench.exit_at(&VMMCALL, Exit::Hypercall);
        assert_eq!(bench.queued(), UD);
    }
}

/// What starts a disk says why it cannot; with paging that is #UD too.
#[test]
fn a_disk_that_does_not_start_is_logged() {
    for (bh, line) in [
        (0, "disk 81 cannot be read, the firmware goes on\n"),
        (1, "disk 81 has no boot sector, the firmware goes on\n"),
    ] {
        let mut bench = Bench::new();
        bench.vcpu.set_gpr(Gpr::Rax, NO_DISK.into());
        bench.vcpu.set_gpr(Gpr::Rbx, 0xffff_0081 | bh << 8);
        bench.exit_at(&VMMCALL, Exit::Hypercall);
        assert_eq!((bench.queued(), bench.rip()), (None, CODE + 3));
        assert_eq!(bench.vcpu.gpr(Gpr::Rax), NO_DISK.into());
        assert!(bench.log().ends_with(line), "{}", bench.log());
    }
    let mut bench = Bench::long();
    bench.vcpu.set_gpr(Gpr::Rax, NO_DISK.into());
    bench.exit_at(&VMMCALL, Exit::Hypercall);
    assert_eq!(bench.queued(), UD);
}

#[test]
fn not_for_programs() {
    let mut bench = Bench::bits32();
    bench.vcpu.cpl = 3;
    assert!(!answered(&mut bench));
    bench.vcpu.cpl = 0;
    bench.vcpu.change(System::Rflags, rflags::VM, true);
    assert!(!answered(&mut bench));
    bench.vcpu.change(System::Rflags, rflags::VM, false);
    assert!(answered(&mut bench));
}

#[test]
fn ud_with_paging_and_ever_after() {
    let mut bench = Bench::long();
    assert!(!answered(&mut bench));
    bench.vcpu.change(System::Cr0, cr::CR0_PG, false);
    assert!(!answered(&mut bench));
}

#[test]
fn paging_is_seen_at_exits_that_come_anyway() {
    for exit in [Exit::Interrupt, Exit::Hlt, Exit::Rdmsr, Exit::Wrmsr] {
        let mut bench = Bench::bits32();
        bench.exit(exit);
        bench.vcpu.change(System::Cr0, cr::CR0_PG, true);
        bench.vcpu.change(System::Cr0, cr::CR0_PG, false);
        bench.cpu.halted = false;
        assert!(answered(&mut bench), "{exit:?}");
        bench.vcpu.change(System::Cr0, cr::CR0_PG, true);
        bench.exit(exit);
        bench.vcpu.change(System::Cr0, cr::CR0_PG, false);
        bench.cpu.halted = false;
        assert!(!answered(&mut bench), "{exit:?}");
    }
}

/// The loader has paging on for a moment before it asks for the next disk, with interrupts off; a system has both on.
#[test]
fn a_tick_within_the_loader_closes_nothing() {
    let mut bench = Bench::bits32();
    for (interrupts, open) in [(false, true), (true, false)] {
        bench.vcpu.change(System::Cr0, cr::CR0_PG, true);
        bench.vcpu.change(System::Rflags, rflags::IF, interrupts);
        bench.exit(Exit::Tick);
        bench.vcpu.change(System::Cr0, cr::CR0_PG, false);
        assert_eq!(answered(&mut bench), open);
    }
}
