//! Hardware task switches: each way to ask for one, tasks of 32 and 16 bits, and what is wrong with a task. On VMX the VMM
//! does them; every line must be the same with and without it.

#![no_std]
#![no_main]

use guests::report::{fact, value};
use guests::{cpu, low, start};

guests::guest!(main);
guests::assembly!("tasks.S");
guests::labels!(
    task_a,
    task_b,
    task_go,
    task_out,
    task_jump,
    task_jumped,
    task_call,
    task_called,
    task_int,
    task_inted,
    task_ud,
    task_gp,
    task_back,
    task_nmi,
    task_code,
    task_nop,
);

/// Selectors of the two tasks, and of a descriptor that is free.
const A: u64 = 0x88;
const B: u64 = 0x90;
const FREE: u64 = 0x98;
const LDT: u64 = 0x70;
/// The handlers' gates.
const TASK_GATE: u32 = 0x85;
const INTERRUPT_GATE: u32 = 0x8e;
const NT: u32 = 1 << 14;
const TF: u32 = 1 << 8;
/// DR6's bits for a step and for a task's T flag.
const BS: u32 = 1 << 14;
const BT: u32 = 1 << 15;

/// How a task is asked for.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    routine: u64,
    /// B goes back by IRET; else by JMP.
    iret: bool,
    /// A vector with a gate to B.
    gate: Option<u32>,
}

fn ways() -> [Way; 5] {
    let way = |name, routine, iret, gate| Way { name, routine, iret, gate };
    [
        way("jmp", task_jump(), false, None),
        way("call", task_call(), true, None),
        way("int", task_int(), true, Some(0x44)),
        way("ud", task_ud(), true, Some(6)),
        way("gp", task_gp(), true, Some(13)),
    ]
}

/// Places in a task's segment.
struct Layout {
    bits: u64,
    ip: u64,
    flags: u64,
    cx: u64,
    sp: u64,
    bp: u64,
    es: u64,
    cs: u64,
    ss: u64,
    ds: u64,
    ldt: u64,
    kind: u64,
    limit: u64,
}

const WIDE: Layout = Layout {
    bits: 32,
    ip: 0x20,
    flags: 0x24,
    cx: 0x2c,
    sp: 0x38,
    bp: 0x3c,
    es: 0x48,
    cs: 0x4c,
    ss: 0x50,
    ds: 0x54,
    ldt: 0x60,
    kind: 0x89,
    limit: 0x67,
};
const NARROW: Layout = Layout {
    bits: 16,
    ip: 0x0e,
    flags: 0x10,
    cx: 0x14,
    sp: 0x1a,
    bp: 0x1c,
    es: 0x22,
    cs: 0x24,
    ss: 0x26,
    ds: 0x28,
    ldt: 0x2a,
    kind: 0x81,
    limit: 0x2b,
};

/// Both tasks as they should be, one of each size.
fn prepare(a: &Layout, b: &Layout) {
    for tss in [task_a(), task_b()] {
        (0..26).for_each(|n| cpu::write32(tss + 4 * n, 0));
    }
    // The stack of ring 0, for what goes wrong in the new task.
    cpu::write32(task_b() + 4, 0x7600);
    cpu::write32(task_b() + 8, 0x10);
    let at = task_b();
    let put = |offset: u64, value: u64| {
        if b.bits == 32 {
            cpu::write32(at + offset, value as u32)
        } else {
            cpu::write16(at + offset, value as u16)
        }
    };
    put(b.ip, task_code());
    put(b.flags, 2);
    put(b.cx, 0x5eed);
    put(b.sp, 0x7200);
    put(b.bp, 0xb00d);
    cpu::write32(0x7200, 0xe44e_e44e);
    cpu::write32(0x71fc, 0);
    for (offset, selector) in [(b.es, 0x10), (b.cs, 0x18), (b.ss, 0x10), (b.ds, 0x10), (b.ldt, 0)] {
        cpu::write16(at + offset, selector);
    }
    if b.bits == 16 {
        // In a stack of 32 bits the upper half of ESP counts, and no manual says what that is.
        cpu::write16(at + b.ss, 0x28);
    }
    descriptor(A, task_a(), a.limit, a.kind);
    descriptor(B, task_b(), b.limit, b.kind);
    low::set_descriptor(LDT, 0, 0, 0, 0);
    low::set_descriptor(FREE, 0, 0, 0, 0);
}

fn descriptor(selector: u64, base: u64, limit: u64, kind: u64) {
    low::set_descriptor(selector, base, limit, kind, 0);
}

fn gate(vector: u32, to_task: bool) {
    if to_task {
        low::set_gate32(vector, B as u32, TASK_GATE);
    } else {
        low::set_gate32(
            vector,
            (low::low_stubs32() + u64::from(vector) * 16) as u32,
            INTERRUPT_GATE,
        );
    }
}

/// Runs one way, and tells all that can be seen of it.
fn run(name: core::fmt::Arguments<'_>, way: Way, resume: bool) {
    // What faulted would fault again: B has A go on behind it.
    let faults = matches!(way.gate, Some(6 | 13));
    run_mended(name, way, resume, if faults { task_a() + WIDE.ip } else { 0 });
}

/// As [`run`]; B changes the IP of A at `mended`, if that is not 0.
fn run_mended(name: core::fmt::Arguments<'_>, way: Way, resume: bool, mended: u64) {
    if let Some(vector) = way.gate {
        gate(vector, true);
    }
    low::set_arg(0, way.routine as u32);
    low::set_arg(1, if resume { task_out() as u32 } else { 0 });
    low::set_arg(2, u32::from(way.iret));
    low::set_arg(3, mended as u32);
    low::protected(task_go());
    if let Some(vector) = way.gate {
        gate(vector, false);
    }
    let r = |n| low::result(n);
    value(
        format_args!("{name}.b"),
        format_args!(
            "tr {:x} ss {:x} sp {:x} top {:x} flags {:x} ds {:x} es {:x} fs {:x} gs {:x} ldt {:x} ts {:x} dr7 {:x} \
             cx {:x} bp {:x} times {}",
            r(0),
            r(1),
            r(2),
            r(3),
            r(4),
            r(5),
            r(6),
            r(7),
            r(8),
            r(9),
            r(10) & 8,
            r(11),
            r(12),
            r(13),
            r(14)
        ),
    );
    value(
        format_args!("{name}.end"),
        format_args!(
            "tr {:x} flags {:x} ts {:x} ax {:x} dr6 {:x} dr7 {:x} busy {:x} {:x} link {:x}",
            r(32),
            r(33),
            r(34) & 8,
            r(35),
            causes(r(36)),
            r(37),
            low::descriptor(A) >> 40 & 0xff,
            low::descriptor(B) >> 40 & 0xff,
            cpu::read16(task_b())
        ),
    );
    for n in 0..low::log_len() {
        let e = low::log(n);
        value(
            format_args!("{name}.exception-{n}"),
            format_args!(
                "{:x} error {:x} at {:x}:{:x} flags {:x}",
                e.vector, e.error, e.cs, e.ip, e.flags
            ),
        );
    }
}

/// What DR6 names. Where the emulator does not tell a task's T flag from a step, both.
fn causes(dr6: u32) -> u32 {
    let unsure = start::has_word("unsure") && dr6 & (BS | BT) != 0;
    dr6 & 0xe00f | if unsure { BS | BT } else { 0 }
}

/// What of A was saved.
fn saved(name: core::fmt::Arguments<'_>, a: &Layout) {
    let get = |offset: u64| {
        if a.bits == 32 {
            cpu::read32(task_a() + offset)
        } else {
            cpu::read16(task_a() + offset).into()
        }
    };
    let half = |offset: u64| cpu::read16(task_a() + offset);
    value(
        format_args!("{name}.a"),
        format_args!(
            "ip {:x} flags {:x} cx {:x} sp {:x} es {:x} cs {:x} ss {:x} ds {:x} ldt {:x}",
            get(a.ip),
            get(a.flags),
            get(a.cx),
            get(a.sp),
            half(a.es),
            half(a.cs),
            half(a.ss),
            half(a.ds),
            half(a.ldt)
        ),
    );
}

fn main() {
    cpu::set_dr7(0x400);
    good();
    tasks_that_are_none();
    segments();
    flags();
    nmi();
    guests::report::holds("tasks.finished", true);
}

/// Each way, B of both sizes.
fn good() {
    for (a, b) in [(&WIDE, &WIDE), (&WIDE, &NARROW)] {
        for way in ways() {
            prepare(a, b);
            let faults = matches!(way.gate, Some(6 | 13));
            let name = format_args!("{}-{}.{}", a.bits, b.bits, way.name);
            // What faulted would fault again: B has A go on behind it.
            run_mended(name, way, false, if faults { task_a() + a.ip } else { 0 });
            saved(name, a);
            fact(format_args!("{name}.ip"), low::result(16) == 0, !faults);
            value(format_args!("{name}.ip-saved"), format_args!("{:x}", low::result(16)));
            fact(format_args!("{name}.came"), low::result(0), B as u32);
        }
    }
}

fn tasks_that_are_none() {
    type Change = fn();
    let changes: [(&str, Change); 6] = [
        ("short", || descriptor(B, task_b(), 0x66, 0x89)),
        ("short-16", || descriptor(B, task_b(), 0x2a, 0x81)),
        ("absent", || descriptor(B, task_b(), 0x67, 0x09)),
        ("busy", || descriptor(B, task_b(), 0x67, 0x8b)),
        ("data", || descriptor(B, 0, 0xffff, 0x93)),
        ("old-short", || descriptor(A, task_a(), 0x50, 0x89)),
    ];
    for (what, change) in changes {
        for way in ways() {
            prepare(&WIDE, &WIDE);
            change();
            run(format_args!("none.{what}.{}", way.name), way, true);
        }
    }
    // IRET to a task that does not wait, and to one that does.
    for (what, kind, limit) in
        [("available", 0x89, 0x67), ("waits", 0x8b, 0x67), ("short", 0x8b, 0x66)]
    {
        prepare(&WIDE, &WIDE);
        descriptor(B, task_b(), limit, kind);
        cpu::write16(task_a(), B as u16);
        let way = Way { name: "iret", routine: task_back(), iret: false, gate: None };
        run(format_args!("none.iret-{what}"), way, true);
    }
    for (what, link) in [("ldt", B as u16 | 4), ("beyond", 0x108), ("null", 0)] {
        prepare(&WIDE, &WIDE);
        cpu::write16(task_a(), link);
        let way = Way { name: "iret", routine: task_back(), iret: false, gate: None };
        run(format_args!("none.iret-{what}"), way, true);
    }
}

/// Selectors of the new task that cannot be loaded: faults of its own.
fn segments() {
    let wrong: [(&str, u64, u16); 16] = [
        ("es-absent", WIDE.es, 0x48),
        ("es-beyond", WIDE.es, 0x108),
        ("es-system", WIDE.es, A as u16),
        ("ds-null", WIDE.ds, 0),
        ("ds-rpl3", WIDE.ds, 0x13),
        ("ds-code", WIDE.ds, 0x18),
        ("ds-ldt", WIDE.ds, 0x14),
        ("cs-data", WIDE.cs, 0x10),
        ("cs-null", WIDE.cs, 0),
        ("cs-user", WIDE.cs, 0x30),
        ("ss-null", WIDE.ss, 0),
        ("ss-code", WIDE.ss, 0x18),
        ("ss-absent", WIDE.ss, 0x48),
        ("ss-user", WIDE.ss, 0x38),
        ("ldt-data", WIDE.ldt, 0x10),
        ("ldt-ti", WIDE.ldt, 0x74),
    ];
    for (what, offset, selector) in wrong {
        for way in ways() {
            prepare(&WIDE, &WIDE);
            cpu::write16(task_b() + offset, selector);
            run(format_args!("segment.{what}.{}", way.name), way, true);
        }
    }
    // A local table of the new task's, from which its data segment comes.
    prepare(&WIDE, &WIDE);
    low::set_descriptor(LDT, FREE - 8 + low::low_gdt(), 15, 0x82, 0);
    low::set_descriptor(FREE, 0, 0xf_ffff, 0x92, 0xc);
    cpu::write16(task_b() + WIDE.ldt, LDT as u16);
    cpu::write16(task_b() + WIDE.ds, 0x0c);
    run(format_args!("segment.own-ldt"), ways()[0], false);
    value("segment.accessed", format_args!("{:x}", low::descriptor(FREE) >> 40 & 0xff));
    fact("segment.own-ds", low::result(5), 0x0c);
}

/// T, NT, and the debug register's local enables. (QEMU's TCG, 7.2, knows no T.)
fn flags() {
    prepare(&WIDE, &WIDE);
    cpu::write16(task_b() + 100, 1);
    run(format_args!("flags.t"), ways()[0], true);
    cpu::set_dr6(0xffff_0ff0);
    prepare(&WIDE, &WIDE);
    cpu::set_dr7(0x401);
    run(format_args!("flags.local"), ways()[0], false);
    fact("flags.local-ends", low::result(11) & 1, 0);
    cpu::set_dr7(0x400);
    prepare(&WIDE, &WIDE);
    cpu::write32(task_b() + WIDE.flags, NT | 0x202 & !0x200);
    run(format_args!("flags.nt-of-its-own"), ways()[0], false);
}

/// An NMI's handler is a task: the next NMI waits for its IRET.
fn nmi() {
    prepare(&WIDE, &WIDE);
    let id = cpu::read32(0xfee0_0020);
    cpu::write32(0xfee0_0310, id);
    low::set_arg(3, 0);
    gate(2, true);
    low::set_arg(0, task_nmi() as u32);
    low::set_arg(1, 0);
    low::set_arg(2, 2);
    low::protected(task_go());
    gate(2, false);
    fact("nmi.times", low::result(14), 2);
    fact("nmi.held-in-its-handler", low::result(15), 1);
    fact("nmi.back", low::result(32), A as u32);
    // What B has left behind is what B had.
    fact("nmi.flags-saved", cpu::read32(task_b() + WIDE.flags) & TF, 0);
}
