//! The hidden UARTs and the two A20 gates.
use super::bench::{Bench, LINK, LOG};
use super::std;
use crate::ports::watch;
use paging::table::{ADDR, PRESENT, USER, WRITE};
use std::vec;
use vcpu::{Event, Exit, PortIo};
use x86defs::rflags;

const MIB: u64 = 1 << 20;

/// Whether the guest has A20 on: where 1 MiB leads. The rest of the first 2 MiB must stay.
fn a20(bench: &Bench) -> bool {
    let page = |gpa| bench.leaf(gpa).unwrap() & ADDR;
    for gpa in [0, 0xf_f000, MIB + 0x1_0000, 2 * MIB] {
        assert_eq!(page(gpa), gpa);
        assert_eq!(bench.leaf(gpa).unwrap() & (PRESENT | WRITE | USER), 7);
    }
    let on = page(MIB) == MIB;
    assert_eq!(page(MIB + 0xf000), 0xf000 + if on { MIB } else { 0 });
    on
}

fn sent(bench: &Bench) -> vec::Vec<(u16, u8)> {
    core::mem::take(&mut bench.machine.host.outputs.borrow_mut())
}

#[test]
fn what_is_watched() {
    let mut bench = Bench::new();
    watch(&bench.machine, &mut bench.vcpu);
    assert_eq!(bench.vcpu.ports, [(0x60, 1), (0x64, 1), (0x92, 1), (LINK, 8), (LOG, 8)]);
}

#[test]
fn the_uarts_are_not_there() {
    let mut bench = Bench::new();
    bench.vcpu.gprs[0] = 0x1122_3344_5566_7788;
    assert_eq!(bench.input(LINK, 1), 0x1122_3344_5566_77ff);
    assert_eq!(bench.input(LINK + 6, 2), 0x1122_3344_5566_ffff);
    assert_eq!(bench.input(LOG, 4), 0xffff_ffff);
    assert_eq!(*bench.machine.host.read_ports.borrow(), vec![]);
    bench.out(LOG + 7, 5);
    assert_eq!(sent(&bench), []);
    // Bytes beside it are the machine's.
    bench.machine.host.inputs.borrow_mut().insert(LINK - 1, 0x42);
    assert_eq!(bench.input(LINK - 1, 2) & 0xffff, 0xff42);
    assert_eq!(*bench.machine.host.read_ports.borrow(), [LINK - 1]);
    let io = PortIo { port: LOG + 6, size: 4, ..PortIo::default() };
    bench.vcpu.gprs[0] = 0x4433_2211;
    bench.exit(Exit::PortIo(io));
    assert_eq!(sent(&bench), [(LOG + 8, 0x33), (LOG + 9, 0x44)]);
}

#[test]
fn port_92() {
    let mut bench = Bench::new();
    assert!(a20(&bench));
    let flushes = bench.vcpu.flushes;
    bench.out(0x92, 0);
    assert!(!a20(&bench));
    assert_eq!(bench.vcpu.flushes, flushes + 1);
    bench.machine.host.inputs.borrow_mut().insert(0x92, 0xa2);
    assert_eq!(bench.input(0x92, 1) & 0xff, 0xa0);
    bench.out(0x92, 0);
    assert_eq!(bench.vcpu.flushes, flushes + 1, "nothing changed");
    bench.out(0x92, 2);
    assert!(a20(&bench));
    assert_eq!(bench.vcpu.flushes, flushes + 2);
    assert_eq!(bench.input(0x92, 1) & 0xff, 0xa2);
    bench.out(0x92, 1);
    assert_eq!(sent(&bench), [(0x92, 2), (0x92, 2), (0x92, 2), (0x92, 3)], "reset goes through");
}

#[test]
fn keyboard_controller_output_port() {
    let mut bench = Bench::new();
    bench.out(0x64, 0xd1);
    bench.out(0x60, 0xdd);
    assert!(!a20(&bench));
    assert_eq!(sent(&bench), [(0x64, 0xd1), (0x60, 0xdf)]);
    bench.out(0x60, 0xed);
    assert_eq!(sent(&bench), [(0x60, 0xed)], "the next byte is the keyboard's");
    bench.machine.host.inputs.borrow_mut().insert(0x60, 0xdf);
    assert_eq!(bench.input(0x60, 1) & 0xff, 0xdf, "a scan code");
    bench.out(0x64, 0xd0);
    assert_eq!(bench.input(0x60, 1) & 0xff, 0xdd, "the output port");
    assert_eq!(bench.input(0x60, 1) & 0xff, 0xdf);
    bench.out(0x64, 0xd1);
    bench.out(0x60, 0xdf);
    assert!(a20(&bench));
}

#[test]
fn keyboard_controller_commands() {
    let mut bench = Bench::new();
    bench.out(0x64, 0xdd);
    assert!(!a20(&bench));
    bench.out(0x64, 0xdf);
    assert!(a20(&bench));
    bench.out(0x64, 0xfe);
    bench.out(0x64, 0xfd);
    bench.out(0x64, 0xf0);
    assert!(a20(&bench));
    let expected = [0xdf, 0xdf, 0xfe, 0xff, 0xf2];
    assert_eq!(sent(&bench), expected.map(|byte| (0x64, byte)));
}

#[test]
fn a_word_reaches_both_ports_behind_it() {
    let mut bench = Bench::new();
    bench.vcpu.gprs[0] = 0x0012;
    bench.exit(Exit::PortIo(PortIo { port: 0x91, size: 2, ..PortIo::default() }));
    assert!(!a20(&bench));
    assert_eq!(sent(&bench), [(0x91, 0x12), (0x92, 2)]);
}

/// Only a byte of data ends D1h: no other command and no read (QEMU's 8042 keeps waiting as well).
#[test]
fn the_real_a20_never_falls_whatever_comes_between() {
    for between in [0xae_u8, 0xaa, 0x20, 0xd0, 0xdf, 0xfe, 0xff] {
        let mut bench = Bench::new();
        bench.out(0x64, 0xd1);
        bench.out(0x64, between);
        bench.out(0x60, 0xdd);
        let (_, last) = *sent(&bench).last().unwrap();
        assert_ne!(last & 2, 0, "D1 {between:X} DD");
    }
    let mut bench = Bench::new();
    bench.out(0x64, 0xd1);
    bench.input(0x60, 1);
    bench.input(0x64, 1);
    bench.out(0x60, 0xdd);
    assert_eq!(sent(&bench), [(0x64, 0xd1), (0x60, 0xdf)], "reads come between");
    assert!(!a20(&bench));
}

#[test]
fn it_is_an_instruction_like_others() {
    let mut bench = Bench::new();
    bench.vcpu.change(vcpu::System::Rflags, rflags::TF, true);
    bench.vcpu.gprs[0] = 2;
    let io = PortIo { port: 0x92, size: 1, next_rip: 0x7c02, ..PortIo::default() };
    bench.exit(Exit::PortIo(io));
    assert_eq!(bench.rip(), 0x7c02);
    assert_eq!(bench.queued(), Some(Event::Exception(1, None)));
}
