//! INIT and SIPI to the others, by every kind of destination and of store.

use crate::apic::{self, ASSERT, ICR_LOW, INIT, LOGICAL, PAGE, STARTUP, TO_OTHERS, TO_SELF};
use crate::{pit, trampoline_end, trampoline_nmi, trampoline_start};
use guests::exception::{self, Frame};
use guests::report::{fact, info};
use guests::{cpu, cpu_asm, start};

/// Where a started CPU begins, and the SIPI's vector that says so. As an interrupt's vector it is a
/// good one too, so that a command can grow out of a harmless one by OR.
const TRAMPOLINE: u64 = 0x4_0000;
const VECTOR: u32 = 0x40;
const TRAMPOLINE_IDT: u64 = TRAMPOLINE + 0x400;
const TRAMPOLINE_COUNT: u64 = TRAMPOLINE + 0xff8;

/// Writes a command to the ICR at this address.
type Store = fn(u64, u32);

fn install() {
    for offset in 0..trampoline_end() - trampoline_start() {
        cpu::write8(TRAMPOLINE + offset, cpu::read8(trampoline_start() + offset));
    }
    let nmi = (trampoline_nmi() - trampoline_start()) as u32;
    cpu::write32(TRAMPOLINE_IDT + 4 * 2, (TRAMPOLINE as u32) << 12 | nmi);
    cpu::write32(4 * 2, (TRAMPOLINE as u32) << 12); // an NMI to a CPU in real mode
    exception::hook(u64::from(VECTOR), Some(|_: &mut Frame| apic::write(apic::EOI, 0)));
}

/// Nobody has come yet.
pub(crate) fn expect() {
    cpu::write32(TRAMPOLINE_COUNT, 0);
}

/// Whether a CPU comes within 50 ms.
pub(crate) fn came() -> bool {
    pit::wait(50, || cpu::read32(TRAMPOLINE_COUNT) != 0)
}

/// INIT, SIPI, SIPI with 10 ms, 1 ms and 50 ms after them. `target` is what the commands have in
/// common. Whether a CPU came.
pub(crate) fn attempt(icr: u64, store: Store, destination: u32, target: u32) -> bool {
    expect();
    apic::write(apic::ICR_HIGH, destination << 24);
    store(icr, target | ASSERT | INIT);
    pit::delay(10);
    store(icr, target | ASSERT | STARTUP | VECTOR);
    pit::delay(1);
    store(icr, target | ASSERT | STARTUP | VECTOR);
    let came = came();
    cpu_asm!("sti", "nop", "nop", "cli"); // what the stores sent to this CPU
    came
}

/// A fact if another CPU must come or none may; what the architecture leaves open is told.
pub(crate) fn judge(name: &str, sure: bool, others: bool, came: bool) {
    if sure || !others {
        fact(name, came, others);
    } else {
        info(format_args!("{name} {came}"));
    }
}

pub(crate) fn mov(icr: u64, command: u32) {
    cpu::write32(icr, command);
}

fn exchange(icr: u64, command: u32) {
    cpu_asm!("xchg dword ptr [{}], {:e}", in(reg) icr, inout(reg) command => _);
}

fn lock_or(icr: u64, command: u32) {
    cpu::write32(icr, TO_SELF | ASSERT | VECTOR);
    cpu_asm!("lock or dword ptr [{}], {:e}", in(reg) icr, in(reg) command);
}

/// As `count` elements that end at the ICR's first.
fn stosd(first: u64, count: u64, command: u32) {
    cpu_asm!("rep stosd", inout("rdi") first => _, inout("rcx") count => _, in("eax") command);
}

fn movsd(icr: u64, command: u32) {
    let from = cpu::Racy::new(command);
    cpu_asm!("movsd", inout("rdi") icr => _, inout("rsi") from.address() => _);
}

fn push(icr: u64, command: u32) {
    let twice = u64::from(command) << 32 | u64::from(command);
    cpu_asm!("mov {kept}, rsp", "mov rsp, {end}", "push {twice}", "mov rsp, {kept}",
        kept = out(reg) _, end = in(reg) icr + 8, twice = in(reg) twice);
}

const STORES: [(&str, bool, Store); 10] = [
    ("start.mov", true, mov),
    ("start.xchg", true, exchange),
    ("start.lock-or", true, lock_or),
    ("start.rep-stosd", true, |icr, command| stosd(icr, 1, command)),
    ("start.movsd", true, movsd),
    ("start.rep-stosd-across", false, |icr, command| stosd(icr - 16, 8, command)),
    ("start.mov64", false, |icr, command| {
        cpu::write64(icr, u64::from(command) << 32 | u64::from(command));
    }),
    ("start.mov64-across", false, |icr, command| cpu::write64(icr - 4, u64::from(command) << 32)),
    ("start.push", false, push),
    ("start.bytes", false, |icr, command| {
        cpu::write8(icr, command as u8);
        cpu::write8(icr + 2, (command >> 16) as u8);
        cpu::write8(icr + 1, (command >> 8) as u8);
    }),
];

/// Tries all; `others` says whether one must come.
pub(crate) fn all(others: bool) {
    install();
    let icr = PAGE + ICR_LOW;
    // The manuals do not say what a store does that is not at a register's address (SDM 3A, 11.4.1): Bochs ends.
    let aligned = start::has_word("aligned");
    for (name, sure, store) in STORES.into_iter().filter(|(_, sure, _)| *sure || !aligned) {
        judge(name, sure, others, attempt(icr, store, 0, TO_OTHERS));
    }
    judge("start.physical", true, others, attempt(icr, mov, 1, 0));
    // INIT resets the other's logical ID, so on the bare machine a SIPI to it comes to nobody.
    apic::write(apic::LDR, 1 << 24);
    judge("start.logical", false, others, attempt(icr, mov, 2, LOGICAL));
    judge("start.again", true, others, attempt(icr, mov, 0, TO_OTHERS));
}
