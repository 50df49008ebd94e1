//! The watched local APIC: while other CPUs wait, none may be started.
use super::bench::{Bench, CODE};
use super::std;
use crate::apic::watch;
use paging::table::{ADDR, TableMemory, WRITE};
use std::vec;
use vcpu::{Event, Exit, Gpr, NestedFault};
use x86defs::{msr, rflags};

const BASE: u64 = 0x2000_0000;

fn watched() -> Bench {
    let mut bench = Bench::with(8, 2);
    bench.machine.host.msrs.borrow_mut().insert(msr::APIC_BASE, BASE | 0x900);
    watch(&bench.machine, &mut bench.vcpu);
    assert_eq!(bench.vcpu.msrs, [msr::X2APIC_ICR]);
    bench
}

fn fault(bench: &mut Bench, gpa: u64) {
    bench.exit(Exit::NestedFault(NestedFault {
        gpa,
        present: true,
        write: true,
        ..Default::default()
    }));
}

/// MOV [register], value.
fn store(bench: &mut Bench, register: u64, value: u32) {
    fault(bench, BASE + register);
    let page = bench.leaf(BASE).unwrap() & ADDR;
    assert_ne!(page, BASE);
    let word = bench.tables.read(page + (register & !7));
    let kept = if register & 4 == 0 { word & !0xffff_ffff } else { word & 0xffff_ffff };
    let shift = (register & 4) * 8;
    bench.tables.clone().write(page + (register & !7), kept | u64::from(value) << shift);
    bench.trap(CODE + 3);
    assert_eq!(bench.leaf(BASE).unwrap() & (ADDR | WRITE), BASE, "watched again");
    assert_eq!(bench.flags() & rflags::TF, 0);
}

fn written(bench: &Bench) -> vec::Vec<(u16, u32)> {
    core::mem::take(&mut bench.machine.host.written_apic.borrow_mut())
}

#[test]
fn one_cpu_alone_is_not_watched() {
    let mut bench = Bench::new();
    watch(&bench.machine, &mut bench.vcpu);
    assert!(bench.vcpu.msrs.is_empty());
    assert_ne!(bench.leaf(BASE).unwrap() & WRITE, 0);
}

#[test]
fn registers_are_written_by_a_step() {
    let mut bench = watched();
    assert_eq!(bench.leaf(BASE).unwrap() & (ADDR | WRITE), BASE);
    assert_ne!(bench.leaf(BASE + 0x1000).unwrap() & WRITE, 0);
    store(&mut bench, 0xb0, 0);
    store(&mut bench, 0x310, 0x0100_0000);
    store(&mut bench, 0x300, 0xc4500);
    store(&mut bench, 0x300, 0x0000_00ef);
    assert_eq!(written(&bench), [(0xb0, 0), (0x310, 0x0100_0000), (0x300, 0xef)]);
}

#[test]
fn the_usual_stores_are_completed() {
    let mut bench = watched();
    let write = |gpa| {
        let fault = NestedFault { gpa, present: true, write: true, ..Default::default() };
        Exit::NestedFault(fault)
    };
    bench.vcpu.gprs[Gpr::Rsi as usize] = 0xffff_ffff_0000_04fd;
    // MOV [EDI], ESI and MOV dword [EDI], imm32, in 32-bit code.
    let (reg, imm) = ([0x66, 0x67, 0x89, 0x37], [0x66, 0x67, 0xc7, 0x07, 0, 0x45, 0x0c, 0]);
    bench.exit_at(&reg, write(BASE + 0x380));
    assert_eq!((bench.rip(), bench.queued()), (CODE + 4, None));
    bench.exit_at(&imm, write(BASE + 0x300));
    assert_eq!(bench.rip(), CODE + 12);
    assert_eq!(written(&bench), [(0x380, 0x4fd)], "another CPU's INIT goes nowhere");
    assert_eq!(bench.leaf(BASE).unwrap() & (ADDR | WRITE), BASE, "never to be written");
    // In real mode the same bytes but for the prefixes store two: a step.
    bench.exit_at(&reg[2..], write(BASE + 0x380));
    assert_eq!((bench.rip(), written(&bench)), (CODE + 12, vec![]));
    assert_ne!(bench.leaf(BASE).unwrap() & ADDR, BASE);
}

#[test]
fn an_access_that_faults_writes_nothing() {
    let mut bench = watched();
    fault(&mut bench, BASE + 0x380);
    bench.exception(14, 0, 0x1234);
    assert_eq!(bench.queued(), Some(Event::Exception(14, None)));
    assert_eq!(written(&bench), []);
    assert_eq!(bench.leaf(BASE).unwrap() & (ADDR | WRITE), BASE);
}

#[test]
fn the_page_stays_where_it_is_watched() {
    let mut bench = watched();
    for base in [BASE + 0x3000, 5 << 30] {
        bench.vcpu.gprs[Gpr::Rcx as usize] = u64::from(msr::APIC_BASE);
        bench.vcpu.gprs[Gpr::Rax as usize] = base & 0xffff_ffff | 0x900;
        bench.vcpu.gprs[Gpr::Rdx as usize] = base >> 32;
        bench.vcpu.queued = None;
        bench.exit_at(&[0x0f, 0x30], Exit::Wrmsr);
        assert_eq!(bench.queued(), Some(Event::Exception(13, None)));
        assert_eq!(bench.leaf(BASE).unwrap() & (ADDR | WRITE), BASE);
    }
    bench.vcpu.queued = None;
    bench.vcpu.gprs[Gpr::Rax as usize] = BASE | 0x100;
    bench.vcpu.gprs[Gpr::Rdx as usize] = 0;
    bench.exit_at(&[0x0f, 0x30], Exit::Wrmsr);
    assert_eq!((bench.queued(), bench.rip()), (None, CODE + 2), "it may be turned off");
}
