//! The hole reads FFh and swallows writes; memory above RAM appears on first touch (APM 2, 15.25).
use super::bench::{Bench, CODE, END, HOLE};
use paging::table::{ADDR, LARGE, NX, PRESENT, TableMemory, USER, WRITE};
use vcpu::{Event, Exit, Intercept, NestedFault, System, Vcpu};
use x86defs::{dr, rflags};

const GIB: u64 = 1 << 30;
const PAGE: u64 = HOLE.base + 0x5000;
const WRITTEN: Exit = Exit::NestedFault(NestedFault {
    gpa: PAGE + 0x123,
    present: true,
    write: true,
    fetch: false,
    table_walk: false,
});
const FETCHED: Exit = Exit::NestedFault(NestedFault {
    gpa: CODE,
    present: true,
    write: false,
    fetch: true,
    table_walk: false,
});

fn touch(gpa: u64) -> Exit {
    Exit::NestedFault(NestedFault { gpa, ..NestedFault::default() })
}

fn stepping(bench: &Bench) -> bool {
    assert_eq!(bench.vcpu.intercepts(Intercept::Everything), bench.vcpu.held);
    bench.vcpu.held
}

#[test]
fn it_shows_ff() {
    let bench = Bench::new();
    for page in (HOLE.base..HOLE.end()).step_by(0x1000) {
        assert!(Bench::shows_ff(bench.leaf(page)));
    }
}

#[test]
fn a_write_is_stepped_on_a_scratch_page() {
    let mut bench = Bench::new();
    let (flags, flushes) = (bench.flags(), bench.vcpu.flushes);
    bench.exit(WRITTEN);
    let open = bench.leaf(PAGE).unwrap();
    assert_eq!(open & (PRESENT | WRITE | USER), 7);
    assert!(!HOLE.contains(open & ADDR, 1));
    assert!(Bench::shows_ff(bench.leaf(PAGE + 0x1000)));
    assert_eq!(bench.flags(), flags | rflags::TF);
    assert!(stepping(&bench) && bench.vcpu.flushes > flushes);
    assert_eq!(bench.tables.read(open & ADDR), u64::MAX);
    let mut tables = bench.tables.clone();
    tables.write((open & ADDR) + 0x120, 0);

    let flushes = bench.vcpu.flushes;
    bench.trap(CODE + 3);
    assert!(Bench::shows_ff(bench.leaf(PAGE)));
    assert!(!stepping(&bench) && bench.vcpu.flushes > flushes);
    assert_eq!((bench.flags(), bench.dr6()), (flags, dr::DR6_INIT));
    assert_eq!(bench.queued(), None);
    assert_eq!(tables.read((open & ADDR) + 0x120), u64::MAX, "nothing stays written");
}

#[test]
fn an_instruction_may_write_two_pages() {
    let mut bench = Bench::new();
    bench.exit(WRITTEN);
    let second =
        NestedFault { gpa: PAGE + 0x1000, present: true, write: true, ..Default::default() };
    bench.exit(Exit::NestedFault(second));
    assert!(!Bench::shows_ff(bench.leaf(PAGE)) && !Bench::shows_ff(bench.leaf(PAGE + 0x1000)));
    bench.trap(CODE + 3);
    assert!(Bench::shows_ff(bench.leaf(PAGE)) && Bench::shows_ff(bench.leaf(PAGE + 0x1000)));
    assert_eq!(bench.flags() & rflags::TF, 0);
}

#[test]
fn the_guests_own_step_traps_as_well() {
    let mut bench = Bench::new();
    bench.vcpu.change(System::Rflags, rflags::TF, true);
    bench.exit(WRITTEN);
    bench.trap(CODE + 3);
    assert_eq!(bench.queued(), Some(Event::Exception(1, None)));
    assert_eq!(bench.dr6(), dr::DR6_INIT | dr::DR6_BS);
    assert_ne!(bench.flags() & rflags::TF, 0);
    assert!(!stepping(&bench));
}

#[test]
fn an_exception_of_the_instruction_reaches_the_guest_without_tf() {
    let mut bench = Bench::bits32();
    let flags = bench.flags();
    bench.exit(WRITTEN);
    bench.exception(14, 7, 0x1234);
    assert_eq!(bench.queued(), Some(Event::Exception(14, Some(7))));
    assert_eq!(bench.vcpu.system(System::Cr2), 0x1234);
    assert_eq!((bench.flags(), bench.dr6(), bench.rip()), (flags | rflags::RF, dr::DR6_INIT, CODE));
    assert!(Bench::shows_ff(bench.leaf(PAGE)) && !stepping(&bench));
}

#[test]
fn a_stack_in_the_hole_swallows_an_events_frame() {
    let mut bench = Bench::new();
    let root = bench.vcpu.root;
    bench.vcpu.interrupted = Some(Event::Interrupt(0x20));
    bench.exit(WRITTEN);
    assert_eq!(bench.queued(), Some(Event::Interrupt(0x20)), "still to be delivered");
    assert_eq!(bench.flags() & rflags::TF, 0);
    assert_ne!(bench.vcpu.root, root);
    assert_ne!(bench.tables.read(bench.vcpu.root) & NX, 0);
    assert!(stepping(&bench));
    bench.exit(FETCHED);
    assert_eq!(bench.vcpu.delivered, [Event::Interrupt(0x20)]);
    assert_eq!(bench.vcpu.root, root);
    assert!(Bench::shows_ff(bench.leaf(PAGE)) && !stepping(&bench));
}

#[test]
fn mmio_is_mapped_on_first_touch() {
    let mut bench = Bench::new();
    let flushes = bench.vcpu.flushes;
    assert_eq!(bench.leaf(3 * GIB + 0x1234), None);
    bench.exit(touch(3 * GIB + 0x20_1234));
    let flags = PRESENT | WRITE | USER | LARGE;
    assert_eq!(bench.leaf(3 * GIB + 0x20_0000), Some((3 * GIB + 0x20_0000) | flags));
    assert_eq!(bench.leaf(3 * GIB), None);
    assert!(bench.vcpu.flushes > flushes && !stepping(&bench));
    assert_eq!(bench.rip(), CODE);
}

#[test]
fn the_oldest_go_when_the_tables_are_used_up() {
    let mut bench = Bench::with_tables(4);
    for round in 0..20 {
        for gib in [1, 2, 3, 4, 5, 600, 1200, 7] {
            let gpa = gib * GIB + round * (2 << 20);
            bench.exit(touch(gpa + 5));
            assert_eq!(bench.leaf(gpa).unwrap() & ADDR, gpa);
            assert_eq!(bench.leaf(0x1000).unwrap() & ADDR, 0x1000);
            assert_eq!(bench.leaf(END / 2).unwrap() & ADDR, END / 2);
            assert!(Bench::shows_ff(bench.leaf(HOLE.base)));
        }
    }
}

/// What is mapped during a delivery must be there for the CPU, which uses another root then.
#[test]
fn first_touch_by_a_delivery() {
    for (spare, gpa) in [(4, 2 * GIB), (4, 1200 * GIB), (3, 1200 * GIB), (3, 2 * GIB)] {
        let mut bench = Bench::with_tables(spare);
        bench.exit(touch(600 * GIB));
        bench.vcpu.interrupted = Some(Event::Interrupt(0x20));
        bench.exit(WRITTEN);
        bench.vcpu.interrupted = Some(Event::Interrupt(0x20));
        bench.exit(touch(gpa));
        let found = bench.leaf_in(bench.vcpu.root, gpa).map(|entry| entry & ADDR);
        assert_eq!(found, Some(gpa), "{gpa:#x} with {spare}");
    }
}

/// Beyond what may be mapped nothing is: not elsewhere, for four levels translate 48 bits, and not the hole, which it is
/// with the number of another key.
#[test]
fn addresses_beyond_the_tables() {
    for beyond in [1 << 46, 1 << 47, 1 << 48] {
        for low in [600 * GIB, HOLE.base] {
            let mut bench = Bench::bits32();
            bench.line.0.borrow_mut().detach = true;
            let before = bench.leaf(low);
            bench.exit(touch(beyond | low));
            assert_eq!(bench.leaf(low), before);
            assert!(beyond == 1 << 48 || bench.leaf(beyond | low).is_none());
            assert_eq!(bench.queued(), Some(Event::Exception(13, Some(0))), "{beyond:#x}");
        }
    }
}

#[test]
fn what_cannot_be_mapped_is_gp() {
    let mut bench = Bench::bits32();
    bench.exit(Exit::NestedFault(NestedFault { gpa: 0x5000, present: true, ..Default::default() }));
    assert_eq!(bench.queued(), Some(Event::Exception(13, Some(0))));
}
