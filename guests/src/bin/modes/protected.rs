//! 32-bit protected mode.

use crate::real::compare_steps;
use guests::cpu::{self, Racy};
use guests::report::{fact, info};
use guests::{low, pic};

guests::labels!(
    pm_exceptions,
    pm_bp,
    pm_int,
    pm_of,
    pm_ud,
    pm_de,
    pm_gp,
    pm_np,
    pm_ss,
    pm_gate,
    pm_limit,
    pm_step,
    pm_steps,
    pm_steps_end,
    pm_paging,
    pm_np_read,
    pm_np_write,
    pm_ro_write,
    pm_rsvd,
    pm_tss_a,
    pm_tss_b,
    pm_user,
    pm_user_int,
    pm_user_cli,
    pm_user_gate,
    pm_user_sysenter,
    pm_user_syscall,
    pm_sysenter_entry,
    pm_syscall_entry,
    pm_vm86,
    vm86_bp,
    vm86_int,
    vm86_int_at,
    vm86_hlt,
    pm_task,
    pm_task_b,
    pm_task_gate,
);

const INTERRUPT_GATE: u32 = 0x8e;
const USER_GATE: u32 = 0xee;
const ABSENT_GATE: u32 = 0x0e;
const TASK_GATE: u32 = 0x85;
const VM: u32 = 1 << 17;
const NT: u32 = 1 << 14;

/// Everything.
pub(crate) fn all() {
    exceptions();
    low::protected(pm_step());
    compare_steps("pm", pm_steps(), pm_steps_end());
    fact("pm.step-pushf-shows-tf", low::result(0) & 0x100, 0x100);
    paging("paging32", false, 0);
    paging("paging-pse", false, 1 << 4);
    paging("paging-pae", true, 1 << 5);
    user();
    vm86();
    tasks();
}

/// One record of the log: vector, error code, address.
fn logged(name: &str, n: usize, expected: (u32, u32, u64)) {
    let r = low::log(n);
    fact(name, (r.vector, r.error, u64::from(r.ip)), expected);
}

/// The gate of a vector, for another privilege or absent; the usual one is restored by `logging`.
fn gate(vector: u32, kind: u32) {
    low::set_gate32(vector, (low::low_stubs32() + u64::from(vector) * 16) as u32, kind);
}

fn exceptions() {
    gate(0x4f, ABSENT_GATE);
    low::protected(pm_exceptions());
    gate(0x4f, INTERRUPT_GATE);
    let expected = [
        ("pm.bp", 3, 0, pm_bp()),
        ("pm.int", 0x42, 0, pm_int()),
        ("pm.of", 4, 0, pm_of()),
        ("pm.ud", 6, 0, pm_ud()),
        ("pm.de", 0, 0, pm_de()),
        ("pm.gp", 13, 0x100, pm_gp()),
        ("pm.np", 11, 0x48, pm_np()),
        ("pm.ss", 12, 0x48, pm_ss()),
        ("pm.gate-absent", 11, 0x4f * 8 + 2, pm_gate()),
        ("pm.gate-limit", 13, 0x50 * 8 + 2, pm_limit()),
    ];
    for (n, (name, vector, error, ip)) in expected.into_iter().enumerate() {
        logged(name, n, (vector, error, ip));
    }
    fact("pm.exception-count", low::log_len(), expected.len());
}

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u64; 512]);

const EMPTY: Page = Page([0; 512]);
static ROOT: Racy<Page> = Racy::new(EMPTY);
static FIRST: Racy<Page> = Racy::new(EMPTY);
static SECOND: Racy<Page> = Racy::new(EMPTY);
static TABLE: Racy<Page> = Racy::new(EMPTY);
static DATA: Racy<Page> = Racy::new(EMPTY);

/// Identity for the first 4 MiB; at 1 GiB a page of data, one not present, the data read-only.
fn paging(name: &str, pae: bool, cr4: u32) {
    const GIB: u32 = 1 << 30;
    const PRESENT: u64 = 1;
    const WRITABLE: u64 = 2;
    const LARGE: u64 = 0x80;
    const RESERVED: u64 = 1 << 62;
    for page in [&ROOT, &FIRST, &SECOND, &TABLE, &DATA] {
        page.set(EMPTY);
    }
    cpu::write32(DATA.address(), 0xdada_0001);
    let at = |page: &Racy<Page>, n: u64, entry: u64| {
        if pae {
            cpu::write64(page.address() + 8 * n, entry);
        } else {
            cpu::write32(page.address() + 4 * n, entry as u32);
        }
    };
    let table = PRESENT | WRITABLE;
    at(&TABLE, 0, DATA.address() | PRESENT | WRITABLE);
    at(&TABLE, 2, DATA.address() | PRESENT);
    let mut reserved = 0;
    if pae {
        at(&TABLE, 3, DATA.address() | PRESENT | RESERVED);
        reserved = GIB + 0x3000;
        at(&ROOT, 0, FIRST.address() | PRESENT);
        at(&ROOT, 1, SECOND.address() | PRESENT);
        at(&FIRST, 0, table | LARGE);
        at(&FIRST, 1, 0x20_0000 | table | LARGE);
        at(&SECOND, 0, TABLE.address() | table);
    } else {
        if cr4 == 0 {
            (0..1024).for_each(|n| at(&FIRST, n, n << 12 | table));
            at(&ROOT, 0, FIRST.address() | table);
        } else {
            at(&ROOT, 0, table | LARGE);
        }
        at(&ROOT, u64::from(GIB >> 22), TABLE.address() | table);
    }
    for (n, arg) in [ROOT.address() as u32, cr4, GIB, GIB + 0x1000, GIB + 0x2000, reserved]
        .into_iter()
        .enumerate()
    {
        low::set_arg(n as u64, arg);
    }
    low::protected(pm_paging());
    fact(format_args!("{name}.read"), low::result(0), 0xdada_0001);
    fact(format_args!("{name}.write"), low::result(1), 0x1357_2468);
    fact(format_args!("{name}.write-arrived"), cpu::read32(DATA.address() + 4), 0x1357_2468);
    fact(format_args!("{name}.read-only"), low::result(2), 0xdada_0001);
    let faults = [
        ("not-present-read", 0, pm_np_read(), GIB + 0x1000),
        ("not-present-write", 2, pm_np_write(), GIB + 0x1000),
        ("read-only-write", 3, pm_ro_write(), GIB + 0x2000),
        ("reserved", 9, pm_rsvd(), GIB + 0x3000),
    ];
    let count = if reserved == 0 { 3 } else { 4 };
    for (n, (what, error, ip, address)) in faults.into_iter().take(count).enumerate() {
        let r = low::log(n);
        // TCG (7.2) leaves P clear when a reserved bit faults.
        let got = if error == 9 { r.error | 1 } else { r.error };
        fact(
            format_args!("{name}.{what}"),
            (r.vector, got, u64::from(r.ip), r.cr2),
            (14, error, ip, address),
        );
    }
    fact(format_args!("{name}.off-again"), (low::result(3), low::log_len()), (0x600d, count));
}

/// Both task segments: ring 0's stack, and for the second all a switch loads.
fn task_segments() {
    for tss in [pm_tss_a(), pm_tss_b()] {
        (0..26).for_each(|n| cpu::write32(tss + 4 * n, 0));
        cpu::write32(tss + 4, 0x7600);
        cpu::write32(tss + 8, 0x10);
        cpu::write32(tss + 100, 104 << 16);
    }
    let b = pm_tss_b();
    cpu::write32(b + 32, pm_task_b() as u32);
    cpu::write32(b + 36, 2);
    cpu::write32(b + 44, 0x5eed); // ECX
    cpu::write32(b + 56, 0x7200);
    for (offset, selector) in [(72, 0x10), (76, 0x18), (80, 0x10), (84, 0x10), (88, 0), (92, 0)] {
        cpu::write32(b + offset, selector);
    }
    low::set_tss32(0x88, pm_tss_a());
    low::set_tss32(0x90, b);
}

fn user() {
    const EFER: u32 = 0xc000_0080;
    const STAR: u32 = 0xc000_0081;
    let sysenter = cpu::has(1, 3, 11);
    // SYSCALL of legacy modes is AMD's alone.
    let syscall = cpu::is_amd() && cpu::has(0x8000_0001, 3, 11);
    task_segments();
    gate(0x43, USER_GATE);
    if sysenter {
        cpu::wrmsr(0x174, 0x50);
        cpu::wrmsr(0x175, 0x7800);
        cpu::wrmsr(0x176, pm_sysenter_entry());
    }
    let efer = cpu::rdmsr(EFER);
    if syscall {
        cpu::wrmsr(EFER, efer | 1);
        cpu::wrmsr(STAR, 0x33 << 48 | 0x50 << 32 | pm_syscall_entry());
    }
    low::set_arg(0, u32::from(sysenter));
    low::set_arg(1, u32::from(syscall));
    // SYSRET of legacy modes sets IF (AMD APM 3, SYSRET).
    let masks = pic::mask_all();
    low::protected(pm_user());
    pic::restore(masks);
    cpu::wrmsr(EFER, efer);
    gate(0x43, INTERRUPT_GATE);
    logged("pm.user-int", 0, (0x43, 0, pm_user_int()));
    fact("pm.user-cs", low::log(0).cs, 0x33);
    logged("pm.user-cli", 1, (13, 0, pm_user_cli()));
    logged("pm.user-gate", 2, (13, 0x42 * 8 + 2, pm_user_gate()));
    let mut n = 3;
    if sysenter {
        logged("pm.sysenter-back", n, (0x43, 0, pm_user_sysenter()));
        fact("pm.sysexit-cs", low::log(n).cs, 0x63);
        fact("pm.sysenter-cs-esp", (low::result(0), low::result(1)), (0x50, 0x7800));
        n += 1;
    }
    if syscall {
        logged("pm.syscall-back", n, (0x43, 0, pm_user_syscall()));
        fact("pm.sysret-cs", low::log(n).cs, 0x33);
        fact("pm.syscall-cs", low::result(2), 0x50);
        fact("pm.syscall-ecx", u64::from(low::result(3)), pm_user_syscall() - 2);
    } else {
        info(format_args!("no SYSCALL in protected mode"));
    }
}

fn vm86() {
    const IOPL3: u32 = 3 << 12;
    gate(0x43, USER_GATE);
    gate(3, USER_GATE);
    for (name, flags) in [("iopl3", VM | IOPL3 | 2), ("iopl0", VM | 2)] {
        task_segments();
        let privileged = flags & IOPL3 != 0;
        low::set_arg(0, flags);
        low::set_arg(1, u32::from(!privileged));
        low::protected(pm_vm86());
        fact(format_args!("vm86.{name}-gs"), low::result(0), 0x40);
        fact(format_args!("vm86.{name}-memory"), low::result(1), cpu::read16(0x413).into());
        fact(format_args!("vm86.{name}-cpuid"), low::result(2), cpu::cpuid(0, 0)[1]);
        logged("vm86.bp", 0, (3, 0, vm86_bp()));
        fact("vm86.bp-flags", low::log(0).flags & (VM | IOPL3), flags & (VM | IOPL3));
        if privileged {
            logged("vm86.int", 1, (0x43, 0, vm86_int()));
            logged("vm86.hlt", 2, (13, 0, vm86_hlt()));
            fact("vm86.pushf-shows-iopl", low::result(3) & IOPL3, IOPL3);
        } else {
            logged("vm86.int-refused", 1, (13, 0, vm86_int_at()));
        }
        fact(format_args!("vm86.{name}-count"), low::log_len(), if privileged { 3 } else { 2 });
    }
    gate(0x43, INTERRUPT_GATE);
    gate(3, INTERRUPT_GATE);
}

fn tasks() {
    const TS: u32 = 1 << 3;
    const BUSY: u64 = 1 << 41;
    task_segments();
    low::set_gate32(0x44, 0x90, TASK_GATE);
    low::protected(pm_task());
    gate(0x44, INTERRUPT_GATE);
    fact("task.jmp-tr", low::result(0), 0x90);
    fact("task.ts-set", low::result(1) & TS, TS);
    fact("task.ecx-loaded", low::result(8), 0x5eed);
    fact("task.back-tr", low::result(5), 0x88);
    fact("task.call-nt", low::result(2) & NT, NT);
    fact("task.call-link", low::result(3), 0x88);
    fact("task.iret-nt", low::result(6) & NT, 0);
    fact("task.gate-nt", low::result(4) & NT, NT);
    fact("task.gate-back-tr", low::result(7), 0x88);
    fact("task.gate-eip-saved", u64::from(cpu::read32(pm_tss_a() + 32)), pm_task_gate());
    fact("task.busy-a", low::descriptor(0x88) & BUSY, BUSY);
    fact("task.busy-b", low::descriptor(0x90) & BUSY, 0);
}
