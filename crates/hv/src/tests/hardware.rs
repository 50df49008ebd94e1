//! The debug registers, shared by the guest and the analyst (APM 2, 13.1).
use super::bench::{Bench, CODE};
use vcpu::{Event, Exit, Gpr, Intercept, Seg, Segment, System, Vcpu};
use x86defs::{dr, rflags, segment};

const DB: Option<Event> = Some(Event::Exception(1, None));
/// The guest's: DR0, instruction, local.
const GUEST: u64 = dr::DR7_INIT | 1;

/// The guest has a breakpoint at 1111h in DR0 and rubbish in the others; the analyst watches writes
/// to 9000h.
fn shared() -> Bench {
    let mut bench = Bench::new();
    bench.vcpu.dr = [0x1111, 0x2222, 0x3333, 0x4444];
    bench.vcpu.set_system(System::Dr7, GUEST);
    bench.analyst(&["qSupported:hwbreak+", "Z2,9000,4", "c"]);
    bench
}

/// MOV between ECX and a debug register.
fn mov(bench: &mut Bench, register: u8, write: Option<u64>) -> u64 {
    bench.vcpu.set_system(System::Rip, CODE);
    if let Some(value) = write {
        bench.vcpu.set_gpr(Gpr::Rcx, value);
    }
    let write = write.is_some();
    let code = [0x0f, 0x21 + 2 * u8::from(write), 0xc1 | register << 3];
    bench.exit_at(&code, Exit::MovDr { register, write, gpr: Some(0) });
    bench.vcpu.gpr(Gpr::Rcx)
}

fn stop(bench: &mut Bench, packets: &[&str]) {
    bench.line.bytes(&[3]);
    bench.line.packets(packets);
    bench.exit(Exit::Interrupt);
}

#[test]
fn both_are_armed() {
    let bench = shared();
    assert_eq!(bench.vcpu.dr, [0x1111, 0x9000, 0x3333, 0x4444]);
    assert_eq!(bench.vcpu.system(System::Dr7), GUEST | 2 << 2 | 0b1101 << 20);
    assert!(bench.vcpu.intercepts(Intercept::DebugRegisters));
}

#[test]
fn the_guest_sees_its_own() {
    let mut bench = shared();
    for (register, value) in [(0, 0x1111), (1, 0x2222), (2, 0x3333), (3, 0x4444), (7, GUEST)] {
        assert_eq!(mov(&mut bench, register, None), value);
        assert_eq!(bench.rip(), CODE + 3);
    }
    mov(&mut bench, 1, Some(0xffff_ffff_0000_8888));
    assert_eq!(mov(&mut bench, 1, None), 0x8888, "32 bits outside long mode");
    assert_eq!(bench.vcpu.dr, [0x1111, 0x9000, 0x3333, 0x4444], "not enabled");
    mov(&mut bench, 7, Some(GUEST | 4 | 0x800));
    assert_eq!(mov(&mut bench, 7, None), GUEST | 4);
    assert_eq!(bench.vcpu.dr, [0x1111, 0x8888, 0x9000, 0x4444], "the analyst's makes room");
    assert_eq!(bench.vcpu.system(System::Dr7), GUEST | 4 | 2 << 4 | 0b1101 << 24);
}

#[test]
fn an_init_clears_the_guest_s_own() {
    let mut bench = shared();
    bench.vcpu.init = true;
    bench.exit(Exit::Init);
    assert_eq!(bench.vcpu.dr, [0x9000, 0, 0, 0], "the analyst's stays");
    assert_eq!(bench.vcpu.system(System::Dr7), dr::DR7_INIT | 2 | 0b1101 << 16);
    bench.vcpu.set_segment(Seg::Cs, Segment::real(0, segment::CODE16));
    for (register, value) in [(0, 0), (1, 0), (2, 0), (3, 0), (7, dr::DR7_INIT)] {
        assert_eq!(mov(&mut bench, register, None), value);
    }
}

#[test]
fn dr6() {
    let mut bench = shared();
    mov(&mut bench, 6, Some(0xffff_f00f));
    let init = dr::DR6_INIT;
    assert_eq!(mov(&mut bench, 6, None), init | 0xe00f);
    assert_eq!(mov(&mut bench, 4, None), init | 0xe00f, "DR4 is DR6 while CR4.DE is 0");
    mov(&mut bench, 6, Some(0));
    assert_eq!(bench.dr6(), init);
}

#[test]
fn refusals() {
    let mut bench = shared();
    bench.vcpu.change(System::Cr4, 1 << 3, true);
    mov(&mut bench, 4, None);
    assert_eq!(bench.queued(), Some(Event::Exception(6, None)));
    bench.vcpu.queued = None;
    bench.vcpu.cpl = 3;
    mov(&mut bench, 7, None);
    assert_eq!(bench.queued(), Some(Event::Exception(13, None)));
    assert_eq!(bench.rip(), CODE);
    let mut bench = Bench::long();
    bench.analyst(&["?", "Z1,9000,1", "c"]);
    mov(&mut bench, 7, Some(1 << 32));
    assert_eq!(bench.queued(), Some(Event::Exception(13, Some(0))));
}

#[test]
fn general_detect_is_the_guests() {
    let mut bench = Bench::new();
    bench.vcpu.set_system(System::Dr7, GUEST | dr::DR7_GD);
    bench.analyst(&["?", "Z2,9000,4", "c"]);
    assert_eq!(bench.vcpu.system(System::Dr7) & dr::DR7_GD, 0);
    mov(&mut bench, 0, None);
    assert_eq!((bench.queued(), bench.rip()), (DB, CODE));
    assert_eq!(bench.dr6(), dr::DR6_INIT | dr::DR6_BD);
    bench.vcpu.queued = None;
    assert_eq!(mov(&mut bench, 7, None), GUEST, "the exception cleared it");
    assert_eq!(bench.queued(), None);
}

#[test]
fn a_hit_of_the_analysts_is_his_alone() {
    let mut bench = shared();
    bench.line.packets(&["c"]);
    bench.debug_exception(2);
    assert!(bench.line.replies().contains("watch:9000;"));
    assert_eq!((bench.queued(), bench.dr6()), (None, dr::DR6_INIT));
}

#[test]
fn a_hit_of_the_guests_is_its_alone() {
    let mut bench = shared();
    bench.debug_exception(1);
    assert_eq!((bench.queued(), bench.dr6()), (DB, dr::DR6_INIT | 1));
    assert_eq!(bench.line.replies(), "");
}

/// Data breakpoints of both on one access: the guest's #DB is still owed (APM 2, 13.1.3).
#[test]
fn a_hit_of_both() {
    let mut bench = shared();
    bench.line.packets(&["c"]);
    bench.debug_exception(1 | 2);
    assert!(bench.line.replies().contains("watch:9000;"));
    assert_eq!((bench.queued(), bench.dr6()), (DB, dr::DR6_INIT | 1));
}

/// The guest's single step ends where the analyst's breakpoint is: both are told.
#[test]
fn the_guests_step_onto_the_analysts_breakpoint() {
    let mut bench = Bench::new();
    bench.analyst(&["qSupported:hwbreak+", "Z1,7c01,1", "c"]);
    bench.vcpu.change(System::Rflags, rflags::TF, true);
    bench.line.packets(&["c"]);
    bench.vcpu.set_system(System::Rip, CODE + 1);
    bench.debug_exception(dr::DR6_BS | 1);
    assert!(bench.line.replies().contains("hwbreak"));
    assert_eq!((bench.queued(), bench.dr6()), (DB, dr::DR6_INIT | dr::DR6_BS));
}

#[test]
fn an_instruction_breakpoint_is_passed_by_rf() {
    let mut bench = Bench::new();
    bench.analyst(&["qSupported:hwbreak+", "Z1,7c01,1", "c"]);
    assert_eq!(bench.flags() & rflags::RF, 0);
    bench.line.packets(&["c"]);
    bench.vcpu.set_system(System::Rip, CODE + 1);
    bench.debug_exception(1);
    assert!(bench.line.replies().contains("hwbreak"));
    assert_ne!(bench.flags() & rflags::RF, 0);
    assert_eq!((bench.queued(), bench.dr6()), (None, dr::DR6_INIT));
}

#[test]
fn all_four_and_no_more() {
    let mut bench = Bench::new();
    let five = ["?", "Z1,1,1", "Z2,2,2", "Z4,4,4", "Z2,8,8", "Z1,5,1", "Z3,9000,1", "Z2,3,2", "c"];
    let replies = bench.analyst(&five);
    assert_eq!(replies.matches("$OK#").count(), 4, "{replies}");
    assert_eq!(bench.vcpu.dr, [1, 2, 4, 8]);
    let types = 0b1001_1111_0101_0000 << 16;
    assert_eq!(bench.vcpu.system(System::Dr7), dr::DR7_INIT | 0xaa | types);
}

#[test]
fn the_guest_gets_all_back() {
    let mut bench = shared();
    mov(&mut bench, 2, Some(0x5555));
    stop(&mut bench, &["z2,9000,4", "c"]);
    assert_eq!(bench.vcpu.dr, [0x1111, 0x2222, 0x5555, 0x4444]);
    assert_eq!(bench.vcpu.system(System::Dr7), GUEST);
    assert!(!bench.vcpu.intercepts(Intercept::DebugRegisters));
}
