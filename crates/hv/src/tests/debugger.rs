//! The analyst on the line: stop, look, breakpoints, garbage.
mod inspect;
mod registers;

use super::bench::{Bench, CODE};
use super::std;
use proptest::prelude::*;
use vcpu::{Event, Exit, Intercept, System, Vcpu};
use x86defs::rflags;

const AT: u64 = CODE + 0x10;

/// A breakpoint at [`AT`] on a byte 42h; the guest runs.
fn broken() -> Bench {
    let mut bench = Bench::new();
    bench.write(AT, &[0x42]);
    let replies = bench.analyst(&["qSupported:swbreak+;hwbreak+", "Z0,7c10,1", "c"]);
    assert!(replies.contains("$OK#"), "{replies}");
    bench
}

fn reached(bench: &mut Bench) {
    bench.vcpu.set_system(System::Rip, AT);
    bench.exit(Exit::Icebp);
}

#[test]
fn attach_look_detach() {
    let mut bench = Bench::new();
    bench.write(0x9000, &[1, 2, 0xab]);
    let replies = bench.analyst(&["qSupported:swbreak+", "?", "m9000,3", "M9001,1:77", "D"]);
    assert!(replies.contains("PacketSize=") && replies.contains("$T02thread:1;06:"), "{replies}");
    assert!(replies.contains("$0102ab#"), "{replies}");
    assert_eq!(bench.read(0x9000, 3), [1, 0x77, 0xab]);
    assert!(!bench.machine.attached());
    assert_eq!(bench.queued(), None);
}

#[test]
fn memory_that_is_not_there() {
    let mut bench = Bench::long();
    let replies = bench.analyst(&["?", "m400000,4", "M3fffff,2:0102", "Z0,400000,1", "D"]);
    assert_eq!(replies.matches("$E").count(), 3, "{replies}");
    assert_eq!(bench.read(0x3f_ffff, 1), [0], "all or nothing");
}

#[test]
fn physical_memory() {
    let mut bench = Bench::long();
    // Linear page 8000h is physical page 9000h: the 2 MiB page gives way to a table.
    bench.write(0x10_2000, &u64::to_le_bytes(0x10_3000 | 3));
    bench.write(0x10_3040, &u64::to_le_bytes(0x9000 | 3));
    bench.write(0x9000, &[1, 2]);
    bench.write(0x8000, &[5, 6]);
    let last = super::host::RAM - 2;
    bench.write(last as u64, &[7, 8]);
    let near_the_end = std::format!("m{last:x},10");
    let straddling = std::format!("M{last:x},3:010203");
    let replies = bench.analyst(&[
        "?",
        "m8000,2",
        "m9000,2",
        "Qqemu.PhyMemMode:1",
        "m9000,2",
        "m8000,2",
        "M8ffe,4:0a0b0c0d",
        &near_the_end,
        &straddling,
        "mfffffffffffffff8,10",
        "Qqemu.PhyMemMode:0",
        "m8000,2",
        "D",
    ]);
    let said = replies.split('$').skip(2).filter_map(|reply| reply.split('#').next());
    let said: std::vec::Vec<_> = said.collect();
    assert_eq!(said.join(" "), "0102 E0e OK 0102 0506 OK 0708 E0e E0e OK 0c0d OK");
    assert_eq!(bench.read(0x8ffe, 4), [10, 11, 12, 13]);
    assert_eq!(bench.read(last as u64, 2), [7, 8], "all or nothing");
}

#[test]
fn ctrl_c() {
    let mut bench = Bench::new();
    bench.analyst(&["?", "c"]);
    bench.line.bytes(&[3]);
    bench.line.packets(&["c"]);
    bench.exit(Exit::Interrupt);
    assert!(bench.line.stopped("02"));
}

#[test]
fn a_breakpoint_is_in_memory_while_the_guest_runs() {
    let mut bench = broken();
    assert_eq!(bench.read(AT, 1), [0xf1]);
    assert!(bench.vcpu.intercepts(Intercept::Icebp));
    assert!(bench.cpu.step.is_none());
    bench.line.packets(&["m7c10,1", "c"]);
    reached(&mut bench);
    let replies = bench.line.replies();
    assert!(replies.contains("swbreak:;") && replies.contains("$42#"), "{replies}");
    // It goes on by a step off the instruction itself.
    assert_eq!(bench.read(AT, 1), [0x42]);
    assert_ne!(bench.flags() & rflags::TF, 0);
    bench.trap(AT + 1);
    assert_eq!(bench.read(AT, 1), [0xf1]);
    assert_eq!(bench.flags() & rflags::TF, 0);
    assert_eq!(bench.line.replies(), "", "that step is not told");
}

#[test]
fn a_removed_breakpoint_is_gone() {
    let mut bench = broken();
    bench.line.packets(&["z0,7c10,1", "c"]);
    reached(&mut bench);
    assert_eq!(bench.read(AT, 1), [0x42]);
    assert!(!bench.vcpu.intercepts(Intercept::Icebp));
    assert!(bench.cpu.step.is_none());
}

#[test]
fn detaching_removes_them() {
    let mut bench = broken();
    bench.line.bytes(&[3]);
    bench.line.packets(&["D"]);
    bench.exit(Exit::Interrupt);
    assert_eq!(bench.read(AT, 1), [0x42]);
    assert!(!bench.vcpu.intercepts(Intercept::Icebp));
}

#[test]
fn a_new_client_finds_a_clean_guest() {
    let mut bench = broken();
    bench.analyst(&["qSupported", "c"]);
    assert_eq!(bench.read(AT, 1), [0x42]);
}

#[test]
fn what_the_guest_wrote_over_one_stays() {
    let mut bench = broken();
    bench.write(AT, &[0x77]);
    for _ in 0..2 {
        bench.line.bytes(&[3]);
        bench.line.packets(&["m7c10,1", "c"]);
        bench.exit(Exit::Interrupt);
        assert!(bench.line.replies().contains("$77#"));
        assert_eq!(bench.read(AT, 1), [0xf1]);
    }
}

#[test]
fn two_views_of_one_byte() {
    let mut bench = Bench::long();
    // 2 MiB up is the first 2 MiB again.
    bench.write(0x10_2008, &u64::to_le_bytes(0x83));
    bench.write(AT, &[0x42]);
    bench.analyst(&["?", "Z0,7c10,1", "Z0,207c10,1", "Z0,7c10,1", "c"]);
    assert_eq!(bench.read(AT, 1), [0xf1]);
    bench.line.bytes(&[3]);
    bench.line.packets(&["m207c10,1", "z0,7c10,1", "c"]);
    bench.exit(Exit::Interrupt);
    assert!(bench.line.replies().contains("$42#"));
    bench.line.bytes(&[3]);
    bench.line.packets(&["D"]);
    bench.exit(Exit::Interrupt);
    assert_eq!(bench.read(AT, 1), [0x42]);
}

#[test]
fn the_guests_own_icebp() {
    for (code, len) in [(&[0xf1][..], 1), (&[0x66, 0xf1], 2)] {
        let mut bench = broken();
        let dr6 = bench.dr6();
        bench.exit_at(code, Exit::Icebp);
        assert_eq!(bench.queued(), Some(Event::Exception(1, None)));
        assert_eq!((bench.rip(), bench.dr6()), (CODE + len, dr6));
        assert_eq!(bench.line.replies(), "");
    }
}

#[test]
fn no_single_step_trap_behind_the_guests_own_icebp() {
    let mut bench = broken();
    let (dr6, flags) = (bench.dr6(), bench.vcpu.system(System::Rflags) | rflags::TF);
    bench.vcpu.set_system(System::Rflags, flags);
    bench.exit_at(&[0xf1], Exit::Icebp);
    assert_eq!(bench.queued(), Some(Event::Exception(1, None)));
    assert_eq!((bench.rip(), bench.dr6()), (CODE + 1, dr6));
    assert_eq!(bench.vcpu.system(System::Rflags), flags, "in the image on the stack");
}

#[test]
fn a_step_over_the_guests_own_icebp_ends_in_its_handler() {
    let mut bench = broken();
    let (dr6, flags) = (bench.dr6(), bench.vcpu.system(System::Rflags) | rflags::TF);
    bench.vcpu.set_system(System::Rflags, flags);
    bench.write(CODE, &[0xf1]);
    bench.vcpu.set_system(System::Rip, CODE);
    bench.line.bytes(&[3]);
    bench.line.packets(&["s"]);
    bench.exit(Exit::Interrupt);
    bench.exit(Exit::Icebp);
    assert_eq!(bench.queued(), Some(Event::Exception(1, None)));
    assert_eq!((bench.rip(), bench.dr6()), (CODE + 1, dr6));
}

#[test]
fn an_icebp_that_is_not_there_any_more_raises_nothing() {
    let mut bench = broken();
    bench.exit_at(&[0x90], Exit::Icebp);
    assert_eq!((bench.queued(), bench.rip()), (None, CODE));
}

#[test]
fn a_cpu_without_icebp() {
    let mut bench = broken();
    bench.exception(6, 0, 0);
    assert_eq!(bench.queued(), Some(Event::Exception(6, None)), "the guest's own #UD");
    bench.vcpu.queued = None;
    bench.line.packets(&["c"]);
    bench.vcpu.set_system(System::Rip, AT);
    bench.exception(6, 0, 0);
    assert!(bench.line.replies().contains("swbreak"));
    assert_eq!(bench.queued(), None);
}

#[test]
fn a_step_onto_a_breakpoint_stops_once() {
    let mut bench = broken();
    bench.vcpu.set_system(System::Rip, AT - 1);
    bench.line.bytes(&[3]);
    bench.line.packets(&["s"]);
    bench.exit(Exit::Interrupt);
    assert_eq!(bench.read(AT, 1), [0x42], "none is in memory during a step");
    bench.line.packets(&["c"]);
    bench.trap(AT);
    assert!(bench.cpu.step.is_some(), "and on by a step off it");
    bench.trap(AT + 1);
    assert_eq!(bench.read(AT, 1), [0xf1]);
}

/// #DB and #AC that their own delivery raises again, for ever and with no way in for an interrupt
/// (CVE-2015-8104, CVE-2015-5307): the exits themselves must look at the line.
#[test]
fn endless_exceptions_leave_the_line_alive() {
    for (vector, delivering) in [(1, None), (1, Some(1)), (17, None), (17, Some(17))] {
        let mut bench = Bench::bits32();
        bench.analyst(&["?", "c"]);
        bench.vcpu.set_system(System::Dr7, 0x401);
        bench.line.bytes(&[3]);
        bench.line.packets(&["c"]);
        let error = (vector == 17).then_some(0);
        let event = Event::Exception(vector, error);
        bench.vcpu.change(System::Dr6, 1, vector == 1);
        bench.vcpu.interrupted = delivering.map(|_| event);
        bench.exception(vector, 0, 0);
        assert_eq!(bench.queued(), Some(event));
        assert!(bench.line.stopped("02"), "{vector} while delivering {delivering:?}");
    }
}

#[test]
fn a_flood_does_not_keep_the_guest() {
    for byte in [b'x', b'$', b'#', b'}', 0] {
        let mut bench = Bench::new();
        bench.line.bytes(&[byte; 20_000]);
        bench.vcpu.pending.push_back(0x20);
        bench.exit(Exit::Interrupt);
        assert!(bench.line.0.borrow().received <= 4096);
        assert_eq!(bench.queued(), Some(Event::Interrupt(0x20)));
        for _ in 0..8 {
            bench.exit(Exit::Interrupt);
        }
        assert_eq!(bench.line.left(), 0);
        let replies = bench.analyst(&["?", "D"]);
        assert!(
            replies.contains("$T02") || replies.contains("$S02"),
            "deaf after {byte:#x}: {replies}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_on_the_line(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut bench = broken();
        bench.line.0.borrow_mut().detach = true;
        bench.line.bytes(&bytes);
        for _ in 0..3 {
            bench.exit(Exit::Interrupt);
        }
    }
}
