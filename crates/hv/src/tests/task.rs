//! Hardware task switches, done by the VMM (SDM 3A, 7.3).
mod iret;

use super::bench::{Bench, CODE};
use super::std;
use std::format;
use vcpu::{Event, Exit, Gpr, Intercept, Seg, Segment, System, TaskSource, TaskSwitch, Vcpu, Wait};
use x86defs::{cr, rflags};

const GDT: u64 = 0x1000;
const LDT: u64 = 0x1800;
const OLD: u64 = 0x2000;
const NEW: u64 = 0x3000;
/// Selectors of the two tasks.
const A: u16 = 0x40;
const B: u16 = 0x48;
const NT: u64 = 1 << 14;

fn descriptor(base: u64, limit: u64, rights: u64) -> u64 {
    limit & 0xffff
        | (base & 0xff_ffff) << 16
        | rights << 40
        | (limit >> 16 & 15) << 48
        | (base >> 24 & 0xff) << 56
}

/// Writes the descriptor of a selector.
fn set(bench: &Bench, selector: u16, value: u64) {
    let (table, at) = if selector & 4 != 0 { (LDT, 0) } else { (GDT, 0) };
    bench.write(table + at + u64::from(selector & 0xfff8), &value.to_le_bytes());
}

fn word(bench: &Bench, at: u64) -> u32 {
    u32::from_le_bytes(bench.read(at, 4).try_into().unwrap())
}

fn half(bench: &Bench, at: u64) -> u16 {
    word(bench, at) as u16
}

fn busy(bench: &Bench, selector: u16) -> bool {
    bench.read(GDT + u64::from(selector) + 5, 1)[0] & 2 != 0
}

/// A flat 32-bit guest in task A, which has 32 bits or 16, and a task B likewise.
fn tasks(wide: bool) -> Bench {
    let mut bench = Bench::bits32();
    let flat = 0x00cf_0000_0000_ffff;
    set(&bench, 0x08, flat | 0x9b << 40);
    set(&bench, 0x10, flat | 0x93 << 40);
    set(&bench, 0x18, flat | 0xfb << 40);
    set(&bench, 0x20, flat | 0xf3 << 40);
    set(&bench, 0x28, flat | 0x13 << 40); // data, not present
    set(&bench, 0x30, descriptor(LDT, 0x1f, 0x82));
    set(&bench, 0x0c, flat | 0x92 << 40); // the same of the LDT, not accessed
    let (kind, limit) = if wide { (9, 0x67) } else { (1, 0x2b) };
    set(&bench, A, descriptor(OLD, limit, 0x80 | kind | 2));
    set(&bench, B, descriptor(NEW, limit, 0x80 | kind));
    let table = |base, limit| Segment { selector: 0, attributes: 0, limit, base };
    bench.vcpu.set_segment(Seg::Gdtr, table(GDT, 0x5f));
    let tr =
        Segment { selector: A, attributes: 0x82 | kind as u16, limit: limit as u32, base: OLD };
    bench.vcpu.set_segment(Seg::Tr, tr);
    let code = bench.vcpu.segment(Seg::Cs);
    bench.vcpu.set_segment(Seg::Cs, Segment { selector: 8, ..code });
    for register in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
        let data = bench.vcpu.segment(register);
        bench.vcpu.set_segment(register, Segment { selector: 0x10, ..data });
    }
    for (n, register) in (0_u64..).zip(Gpr::ALL.into_iter().take(8)) {
        bench.vcpu.set_gpr(register, 0x1111_0000 + n);
    }
    bench.vcpu.set_gpr(Gpr::Rsp, 0x6000);
    if wide {
        for n in 0..8_u32 {
            bench.write(NEW + 0x28 + 4 * u64::from(n), &(0x2222_0000 + n).to_le_bytes());
        }
        for (at, value) in [(0x20, 0x9000_u32), (0x24, 2), (0x38, 0x7000)] {
            bench.write(NEW + at, &value.to_le_bytes());
        }
        for (at, selector) in [
            (0x48, 0x10_u16),
            (0x4c, 8),
            (0x50, 0x10),
            (0x54, 0x0c),
            (0x58, 0),
            (0x5c, 0),
            (0x60, 0x30),
        ] {
            bench.write(NEW + at, &selector.to_le_bytes());
        }
    } else {
        for (at, value) in [(0x0e, 0x9000_u16), (0x10, 2), (0x1a, 0x7000), (0x14, 0x5eed)] {
            bench.write(NEW + at, &value.to_le_bytes());
        }
        for (at, selector) in
            [(0x22, 0x10_u16), (0x24, 8), (0x26, 0x10), (0x28, 0x0c), (0x2a, 0x30)]
        {
            bench.write(NEW + at, &selector.to_le_bytes());
        }
    }
    bench.vcpu.next_rip = Some(CODE + 7);
    bench
}

fn to(source: TaskSource, selector: u16) -> TaskSwitch {
    TaskSwitch { selector, source, software: false, exception: None, error: None }
}

fn switch(bench: &mut Bench, what: TaskSwitch) {
    bench.exit(Exit::TaskSwitch(what));
}

fn selectors(bench: &Bench) -> [u16; 8] {
    [Seg::Es, Seg::Cs, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs, Seg::Ldtr, Seg::Tr]
        .map(|register| bench.vcpu.segment(register).selector)
}

#[test]
fn a_jump_saves_one_task_and_loads_the_other() {
    let mut bench = tasks(true);
    bench.vcpu.set_system(System::Dr7, 0x455);
    bench.vcpu.shadow = true;
    switch(&mut bench, to(TaskSource::Jump, B));
    assert_eq!(bench.queued(), None);
    assert_eq!(
        (u64::from(word(&bench, OLD + 0x20)), word(&bench, OLD + 0x28)),
        (CODE + 7, 0x1111_0000)
    );
    assert_eq!((half(&bench, OLD + 0x4c), half(&bench, OLD + 0x5c)), (8, 0x10));
    assert_eq!(word(&bench, OLD + 0x1c), 0, "CR3 is not saved");
    assert_eq!((bench.rip(), bench.flags()), (0x9000, 2));
    assert_eq!((bench.vcpu.gpr(Gpr::Rcx), bench.vcpu.gpr(Gpr::Rsp)), (0x2222_0001, 0x7000));
    assert_eq!(selectors(&bench), [0x10, 8, 0x10, 0x0c, 0, 0, 0x30, B]);
    assert_eq!(bench.vcpu.segment(Seg::Fs).attributes, 0, "an empty selector is no segment");
    assert_eq!(bench.vcpu.segment(Seg::Tr).attributes, 0x8b);
    assert_eq!((busy(&bench, A), busy(&bench, B)), (false, true));
    assert_eq!(bench.read(LDT + 8 + 5, 1), [0x93], "accessed");
    assert_ne!(bench.vcpu.system(System::Cr0) & cr::CR0_TS, 0);
    assert_eq!(bench.vcpu.system(System::Dr7), 0x400);
    assert!(!bench.vcpu.shadow);
}

#[test]
fn a_call_is_linked_and_iret_goes_back() {
    let mut bench = tasks(true);
    switch(&mut bench, to(TaskSource::Call, B));
    assert_eq!((half(&bench, NEW), bench.flags()), (A, NT | 2));
    assert_eq!((busy(&bench, A), busy(&bench, B)), (true, true));
    bench.vcpu.next_rip = Some(0x9001);
    switch(&mut bench, to(TaskSource::Iret, A));
    assert_eq!((bench.queued(), bench.rip()), (None, CODE + 7));
    assert_eq!((busy(&bench, A), busy(&bench, B)), (true, false));
    assert_eq!(word(&bench, NEW + 0x24), 2, "NT is not saved");
    assert_eq!(bench.vcpu.gpr(Gpr::Rax), 0x1111_0000);
}

#[test]
fn sixteen_bits() {
    let mut bench = tasks(false);
    switch(&mut bench, to(TaskSource::Call, B));
    assert_eq!(bench.queued(), None);
    assert_eq!((half(&bench, OLD + 0x0e), half(&bench, OLD + 0x12)), (CODE as u16 + 7, 0));
    assert_eq!((half(&bench, OLD + 0x24), half(&bench, NEW)), (8, A));
    assert_eq!((bench.rip(), bench.flags()), (0x9000, NT | 2));
    assert_eq!(bench.vcpu.gpr(Gpr::Rcx) as u16, 0x5eed);
    assert_eq!(selectors(&bench), [0x10, 8, 0x10, 0x0c, 0, 0, 0x30, B]);
}

#[test]
fn an_event_goes_through_a_gate_with_its_error_code() {
    let mut bench = tasks(true);
    let gate = TaskSwitch { exception: Some(13), error: Some(0x50), ..to(TaskSource::Gate, B) };
    bench.vcpu.change(System::Rflags, rflags::RF, true);
    switch(&mut bench, gate);
    assert_eq!((bench.queued(), bench.vcpu.gpr(Gpr::Rsp)), (None, 0x6ffc));
    assert_eq!(word(&bench, 0x6ffc), 0x50);
    assert_eq!(u64::from(word(&bench, OLD + 0x20)), CODE, "of a fault");
    assert_ne!(u64::from(word(&bench, OLD + 0x24)) & rflags::RF, 0, "as the exit saved it");
    // INT n: behind it.
    let mut bench = tasks(true);
    switch(&mut bench, TaskSwitch { software: true, ..to(TaskSource::Gate, B) });
    assert_eq!(u64::from(word(&bench, OLD + 0x20)), CODE + 7);
    // In 16 bits the code has 16.
    let mut bench = tasks(false);
    switch(&mut bench, gate);
    assert_eq!((bench.vcpu.gpr(Gpr::Rsp) & 0xffff, half(&bench, 0x6ffe)), (0x6ffe, 0x50));
}

#[test]
fn a_stack_too_small_for_the_error_code() {
    let mut bench = tasks(true);
    set(&bench, 0x38, descriptor(0, 0xfff, 0x93));
    bench.write(NEW + 0x50, &0x38_u16.to_le_bytes());
    let gate = TaskSwitch { exception: Some(13), error: Some(0x50), ..to(TaskSource::Gate, B) };
    switch(&mut bench, gate);
    assert_eq!(bench.queued(), Some(Event::Exception(8, Some(0))), "#SS while #GP is delivered");
    let mut bench = tasks(true);
    set(&bench, 0x38, descriptor(0, 0xfff, 0x93));
    bench.write(NEW + 0x50, &0x38_u16.to_le_bytes());
    switch(&mut bench, TaskSwitch { exception: Some(6), ..gate });
    assert_eq!(bench.queued(), Some(Event::Exception(12, Some(1))), "an event, so EXT");
}

#[test]
fn the_t_flag_traps() {
    let mut bench = tasks(true);
    bench.write(NEW + 0x64, &[1]);
    switch(&mut bench, to(TaskSource::Jump, B));
    assert_eq!(bench.queued(), Some(Event::Exception(1, None)));
    assert_ne!(bench.dr6() & 1 << 15, 0);
    assert_eq!(bench.rip(), 0x9000);
}

/// What is refused before anything has changed.
fn refused(change: impl FnOnce(&mut Bench), what: TaskSwitch, expected: Event) {
    let mut bench = tasks(true);
    change(&mut bench);
    let before = bench.read(OLD, 0x68);
    switch(&mut bench, what);
    assert_eq!(bench.queued(), Some(expected), "{what:?}");
    assert_eq!((bench.rip(), bench.vcpu.segment(Seg::Tr).selector), (CODE, A));
    assert_eq!(bench.read(OLD, 0x68), before);
    assert!(busy(&bench, A));
}

const fn ts(error: u16) -> Event {
    Event::Exception(10, Some(error as u32))
}

#[test]
fn tasks_that_are_none() {
    let jump = to(TaskSource::Jump, B);
    refused(|_| {}, to(TaskSource::Jump, B | 4), ts(B | 4));
    refused(|_| {}, to(TaskSource::Jump, 0x60), ts(0x60));
    refused(|_| {}, to(TaskSource::Jump, 0x08), ts(0x08));
    refused(|_| {}, to(TaskSource::Jump, A), ts(A));
    refused(|_| {}, to(TaskSource::Iret, B), ts(B));
    refused(|b| set(b, B, descriptor(NEW, 0x66, 0x89)), jump, ts(B));
    refused(|b| set(b, B, descriptor(NEW, 0x67, 9)), jump, Event::Exception(11, Some(B.into())));
    let gate = to(TaskSource::Gate, B);
    refused(|b| set(b, B, descriptor(NEW, 0x66, 0x89)), gate, ts(B | 1));
    let int = TaskSwitch { software: true, ..gate };
    refused(|b| set(b, B, descriptor(NEW, 0x66, 0x89)), int, ts(B));
    let short = |b: &mut Bench| {
        let tr = b.vcpu.segment(Seg::Tr);
        b.vcpu.set_segment(Seg::Tr, Segment { limit: 0x5c, ..tr });
    };
    refused(short, jump, ts(A));
}

#[test]
fn two_faults_at_once() {
    let broken = |b: &mut Bench| set(b, B, descriptor(NEW, 0x66, 0x89));
    let of = |vector| TaskSwitch { exception: Some(vector), ..to(TaskSource::Gate, B) };
    refused(broken, of(13), Event::Exception(8, Some(0)));
    refused(broken, of(14), Event::Exception(8, Some(0)));
    refused(broken, of(6), ts(B | 1));
    let mut bench = tasks(true);
    broken(&mut bench);
    bench.line.0.borrow_mut().detach = true;
    switch(&mut bench, of(8));
    assert_eq!(bench.machine.host.resets.get(), 1, "a shutdown");
}

#[test]
fn segments_of_the_new_task() {
    for (at, selector, expected) in [
        (0x48, 0x28_u16, Event::Exception(11, Some(0x28))), // ES: not present
        (0x4c, 0x10, ts(0x10)),                             // CS: data
        (0x4c, 0, ts(0)),
        (0x4c, 0x18, ts(0x18)), // CS: of ring 3, RPL 0
        (0x50, 0, ts(0)),
        (0x50, 8, ts(8)),       // SS: code
        (0x50, 0x20, ts(0x20)), // SS: of ring 3
        (0x50, 0x28, Event::Exception(12, Some(0x28))),
        (0x54, 0x60, ts(0x60)), // DS: beyond the table
        (0x54, 0x2c, ts(0x2c)), // DS: beyond the LDT
        (0x60, 0x34, ts(0x34)), // LDTR: in the LDT
        (0x60, 0x10, ts(0x10)), // LDTR: data
    ] {
        let mut bench = tasks(true);
        bench.write(NEW + at, &selector.to_le_bytes());
        switch(&mut bench, to(TaskSource::Jump, B));
        let what = format!("{at:#x} {selector:#x}");
        assert_eq!(bench.queued(), Some(expected), "{what}");
        // In the new task, with its selectors.
        assert_eq!((bench.rip(), bench.vcpu.segment(Seg::Tr).selector), (0x9000, B), "{what}");
        let cs = bench.vcpu.segment(Seg::Cs);
        assert_eq!(cs.selector, half(&bench, NEW + 0x4c), "{what}");
        assert_eq!(cs.dpl(), bench.vcpu.segment(Seg::Ss).dpl(), "the CPU takes nothing else");
    }
}

#[test]
fn a_task_of_virtual_8086_mode() {
    let mut bench = tasks(true);
    bench.write(NEW + 0x24, &0x2_0002_u32.to_le_bytes());
    bench.write(NEW + 0x4c, &0x1234_u16.to_le_bytes());
    switch(&mut bench, to(TaskSource::Jump, B));
    assert_eq!(bench.queued(), None);
    let cs = bench.vcpu.segment(Seg::Cs);
    assert_eq!((cs.selector, cs.base, cs.attributes, cs.limit), (0x1234, 0x1_2340, 0xf3, 0xffff));
    assert_eq!(bench.vcpu.segment(Seg::Gs).attributes, 0xf3);
}

/// Two levels of paging, all of the first 4 MiB mapped to itself by 4 KiB pages.
fn paged() -> Bench {
    let mut bench = tasks(true);
    bench.write(0x10_0000, &0x10_1003_u32.to_le_bytes());
    for n in 0..1024_u32 {
        bench.write(0x10_1000 + 4 * u64::from(n), &(n << 12 | 3).to_le_bytes());
    }
    bench.write(NEW + 0x1c, &0x10_0000_u32.to_le_bytes());
    bench.vcpu.set_system(System::Cr3, 0x10_0000);
    bench.vcpu.change(System::Cr0, cr::CR0_PG | cr::CR0_WP, true);
    bench
}

/// Changes the entry of a page.
fn page(bench: &Bench, linear: u64, entry: u32) {
    bench.write(0x10_1000 + 4 * (linear >> 12), &entry.to_le_bytes());
}

#[test]
fn page_faults_are_page_faults() {
    for (linear, entry, source, error, address) in [
        (NEW, 0, TaskSource::Jump, 0, NEW),
        (NEW, NEW as u32 | 1, TaskSource::Call, 3, NEW),
        (OLD, OLD as u32 | 1, TaskSource::Jump, 3, OLD + 0x20),
        (GDT, 0, TaskSource::Jump, 0, GDT + u64::from(B)),
    ] {
        let mut bench = paged();
        page(&bench, linear, entry);
        switch(&mut bench, to(source, B));
        assert_eq!(bench.queued(), Some(Event::Exception(14, Some(error))), "{linear:#x}");
        assert_eq!(bench.vcpu.system(System::Cr2), address);
        assert_eq!((bench.rip(), bench.vcpu.segment(Seg::Tr).selector), (CODE, A));
    }
    let mut bench = paged();
    switch(&mut bench, to(TaskSource::Jump, B));
    assert_eq!((bench.queued(), bench.rip()), (None, 0x9000));
}

#[test]
fn the_new_task_has_its_own_tables() {
    let mut bench = paged();
    bench.write(NEW + 0x1c, &0x10_2000_u32.to_le_bytes());
    bench.write(0x10_2000, &0x10_1003_u32.to_le_bytes());
    switch(&mut bench, to(TaskSource::Jump, B));
    assert_eq!((bench.queued(), bench.vcpu.system(System::Cr3)), (None, 0x10_2000));
    // PAE's pointers have reserved bits: found in the new task.
    let mut bench = tasks(true);
    bench.write(0x10_0000, &0x10_1001_u64.to_le_bytes());
    bench.write(0x10_1000, &0x83_u64.to_le_bytes());
    bench.write(0x10_2000, &0x10_1023_u64.to_le_bytes());
    bench.write(NEW + 0x1c, &0x10_2000_u32.to_le_bytes());
    bench.vcpu.set_system(System::Cr3, 0x10_0000);
    bench.vcpu.set_system(System::Cr4, cr::CR4_PAE);
    bench.vcpu.change(System::Cr0, cr::CR0_PG, true);
    switch(&mut bench, to(TaskSource::Jump, B));
    assert_eq!((bench.queued(), bench.rip()), (Some(ts(0)), 0x9000));
}
