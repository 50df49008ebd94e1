//! INS and OUTS (APM 3, INS and OUTS), in every mode.
use super::bench::{Bench, CODE, LINK};
use vcpu::{Event, Exit, Gpr, PortIo, Seg, Segment, System, Vcpu};
use x86defs::{cr, rflags};

const NEXT: u64 = CODE + 2;
const REP: PortIo = PortIo {
    port: LINK,
    input: true,
    size: 1,
    string: true,
    repeat: true,
    address_size: 0,
    segment: None,
    next_rip: NEXT,
};

fn registers(bench: &mut Bench, rcx: u64, index: u64) {
    for (register, value) in [(Gpr::Rcx, rcx), (Gpr::Rdi, index), (Gpr::Rsi, index)] {
        bench.vcpu.set_gpr(register, value);
    }
}

fn state(bench: &Bench) -> (u64, u64) {
    (bench.vcpu.gpr(Gpr::Rcx), bench.vcpu.gpr(Gpr::Rdi))
}

#[test]
fn real_mode_keeps_the_upper_halves() {
    let mut bench = Bench::new();
    bench.vcpu.set_segment(Seg::Es, Segment::real(0x1000, 0x93));
    registers(&mut bench, 0x7_0003, 0x5_fffe);
    bench.exit_at(&[0xf3, 0x6c], Exit::PortIo(REP));
    assert_eq!(state(&bench), (0x7_0000, 0x5_0001), "DI wraps at 16 bits");
    assert_eq!(bench.read(0x1fffe, 2), [0xff, 0xff]);
    assert_eq!(bench.read(0x10000, 2), [0xff, 0]);
    assert_eq!(bench.rip(), NEXT);
}

#[test]
fn the_decoder_tells_the_address_size() {
    let mut bench = Bench::new();
    registers(&mut bench, 0xffff_ffff_0000_0001, 0x9000);
    bench.exit_at(&[0x67, 0xf3, 0x6c], Exit::PortIo(REP));
    assert_eq!(state(&bench), (0, 0x9001));
    let mut bench = Bench::new();
    registers(&mut bench, 0xffff_0001, 0x9000);
    bench.exit_at(&[0x90], Exit::PortIo(PortIo { address_size: 2, ..REP }));
    assert_eq!(state(&bench), (0xffff_0000, 0x9001), "the CPU's word comes first");
}

#[test]
fn down_and_without_rep() {
    let mut bench = Bench::bits32();
    bench.vcpu.change(System::Rflags, rflags::DF, true);
    registers(&mut bench, 0xdead, 0x9002);
    bench.exit_at(&[0x66, 0x6d], Exit::PortIo(PortIo { size: 2, repeat: false, ..REP }));
    assert_eq!(state(&bench), (0xdead, 0x9000));
    assert_eq!(bench.read(0x9000, 6), [0, 0, 0xff, 0xff, 0, 0]);
    registers(&mut bench, 2, 0);
    bench.vcpu.set_system(System::Rip, CODE);
    bench.exit_at(&[0xf3, 0x6c], Exit::PortIo(REP));
    // The second byte lies at FFFFFFFFh, where there is no RAM.
    assert_eq!(state(&bench), (0, 0xffff_fffe));
}

#[test]
fn a_count_of_zero_does_nothing() {
    let mut bench = Bench::new();
    registers(&mut bench, 0x1_0000, 0x9000);
    bench.exit_at(&[0xf3, 0x6c], Exit::PortIo(PortIo { port: 0x60, ..REP }));
    assert_eq!(state(&bench), (0x1_0000, 0x9000));
    assert_eq!(bench.rip(), NEXT);
    assert!(bench.machine.host.read_ports.borrow().is_empty());
}

#[test]
fn a_long_rep_lets_the_guest_in() {
    let mut bench = Bench::long();
    registers(&mut bench, 150, 0x9000);
    let mut exits = 0;
    while bench.rip() == CODE {
        bench.exit_at(&[0xf3, 0x6c], Exit::PortIo(REP));
        exits += 1;
    }
    assert!(exits > 1);
    assert_eq!(state(&bench), (0, 0x9000 + 150));
    assert!(bench.read(0x9000, 150).iter().all(|byte| *byte == 0xff));
}

#[test]
fn outs_reads_the_overridden_segment() {
    let mut bench = Bench::new();
    bench.vcpu.set_segment(Seg::Fs, Segment::real(0x2000, 0x93));
    bench.write(0x2_9000, &[0xd1, 2]);
    let outs = PortIo { input: false, port: 0x64, ..REP };
    registers(&mut bench, 1, 0x9000);
    bench.exit_at(&[0x64, 0xf3, 0x6e], Exit::PortIo(outs));
    bench.vcpu.set_system(System::Rip, CODE);
    registers(&mut bench, 1, 0x9001);
    bench.exit_at(&[0x64, 0xf3, 0x6e], Exit::PortIo(PortIo { port: 0x60, ..outs }));
    assert_eq!(*bench.machine.host.outputs.borrow(), [(0x64, 0xd1), (0x60, 2)]);
}

/// What the CPU tells is not looked for in the code, which may have changed since.
#[test]
fn a_segment_that_is_told_needs_no_code() {
    let mut bench = Bench::new();
    bench.vcpu.set_segment(Seg::Gs, Segment::real(0x2000, 0x93));
    bench.write(0x2_9000, &[0xd1]);
    let told = PortIo { address_size: 2, segment: Some(Seg::Gs), ..REP };
    registers(&mut bench, 1, 0x9000);
    bench.exit_at(&[0x64, 0xf3, 0x6e], Exit::PortIo(PortIo { input: false, port: 0x64, ..told }));
    assert_eq!(*bench.machine.host.outputs.borrow(), [(0x64, 0xd1)]);
    bench.vcpu.set_system(System::Rip, CODE);
    registers(&mut bench, 1, 0x9000);
    bench.exit(Exit::PortIo(told));
    assert_eq!((bench.read(0x9000, 1)[0], bench.read(0x2_9000, 1)[0]), (0xff, 0xd1), "ES");
}

#[test]
fn segments_limit() {
    let mut bench = Bench::new();
    registers(&mut bench, 1, 0xffff);
    bench.exit_at(&[0xf3, 0x6d], Exit::PortIo(PortIo { size: 2, ..REP }));
    assert_eq!(bench.queued(), Some(Event::Exception(13, None)));
    assert_eq!((bench.rip(), state(&bench)), (CODE, (1, 0xffff)));
    let mut bench = Bench::bits32();
    let down = Segment { selector: 8, attributes: 0xc97, limit: 0x8fff, base: 0 };
    bench.vcpu.set_segment(Seg::Es, down);
    registers(&mut bench, 2, 0x9000);
    bench.vcpu.change(System::Rflags, rflags::DF, true);
    bench.exit_at(&[0xf3, 0x6c], Exit::PortIo(REP));
    assert_eq!(bench.queued(), Some(Event::Exception(13, Some(0))));
    assert_eq!(state(&bench), (1, 0x8fff), "the first element was done");
}

/// A null selector leaves base and limit as they were, but nothing may be reached by it (APM 2, 4.5.1).
#[test]
fn segments_that_allow_no_access() {
    let segment = |attributes| Segment { selector: 8, attributes, limit: u32::MAX, base: 0 };
    for attributes in [0, 0xc91] {
        let mut bench = Bench::bits32();
        bench.vcpu.set_segment(Seg::Es, segment(attributes));
        registers(&mut bench, 1, 0x9000);
        bench.exit_at(&[0xf3, 0x6c], Exit::PortIo(REP));
        assert_eq!(bench.queued(), Some(Event::Exception(13, Some(0))), "{attributes:#x}");
    }
}

#[test]
fn page_faults() {
    let mut bench = Bench::long();
    registers(&mut bench, 1, 0x40_0000);
    bench.exit_at(&[0xf3, 0x6c], Exit::PortIo(REP));
    assert_eq!(bench.queued(), Some(Event::Exception(14, Some(2))));
    assert_eq!(bench.vcpu.system(System::Cr2), 0x40_0000);
    bench.vcpu.cpl = 3;
    registers(&mut bench, 1, 0x9000);
    bench.exit(Exit::PortIo(PortIo { input: false, ..REP }));
    assert_eq!(bench.queued(), Some(Event::Exception(14, Some(5))));
    bench.vcpu.cpl = 0;
    registers(&mut bench, 1, 1 << 47);
    bench.exit(Exit::PortIo(REP));
    assert_eq!(bench.queued(), Some(Event::Exception(13, Some(0))), "not canonical");
}

#[test]
fn an_element_across_pages_is_done_whole_or_not_at_all() {
    let mut bench = Bench::long();
    registers(&mut bench, 1, 0x3f_fffe);
    bench.exit_at(&[0xf3, 0x6d], Exit::PortIo(PortIo { size: 4, port: 0x60, ..REP }));
    assert_eq!(bench.queued(), Some(Event::Exception(14, Some(2))));
    assert_eq!(bench.vcpu.system(System::Cr2), 0x40_0000, "the page that is missing");
    assert_eq!(bench.read(0x3f_fffe, 2), [0, 0]);
    assert!(bench.machine.host.read_ports.borrow().is_empty());
}

#[test]
fn write_protection_is_the_guests_choice() {
    for (wp, faults) in [(true, true), (false, false)] {
        let mut bench = Bench::long();
        bench.write(0x10_2000, &u64::to_le_bytes(0x81));
        bench.vcpu.change(System::Cr0, cr::CR0_WP, wp);
        registers(&mut bench, 1, 0x9000);
        bench.exit_at(&[0xf3, 0x6c], Exit::PortIo(REP));
        let fault = Some(Event::Exception(14, Some(3)));
        assert_eq!(bench.queued(), fault.filter(|_| faults));
    }
}

#[test]
fn a_step_ends_with_the_last_element() {
    let mut bench = Bench::long();
    registers(&mut bench, 70, 0x9000);
    bench.write(CODE, &[0xf3, 0x6c]);
    bench.analyst(&["?", "s"]);
    bench.exit(Exit::PortIo(REP));
    assert_eq!(bench.line.replies(), "", "64 of 70");
    bench.line.packets(&["c"]);
    bench.exit(Exit::PortIo(REP));
    assert!(bench.line.stopped("05"));
    assert_eq!(bench.rip(), NEXT);
    assert_eq!(bench.flags() & rflags::TF, 0);
}
