//! What a guest does with its own local APIC.

use crate::apic::{self, ASSERT, NMI, TO_ALL, TO_SELF};
use crate::pit;
use guests::cpu::{self, Racy};
use guests::cpu_asm;
use guests::exception::{self, Frame};
use guests::report::{fact, holds, info, value};

/// Vectors of the timer and of interrupts to oneself.
const TIMER: u64 = 0x41;
const SELF: u64 = 0x42;

static COUNT: Racy<u64> = Racy::new(0);
static LAST: Racy<u64> = Racy::new(0);
/// The in-service bit before and after EOI.
static SERVICE: Racy<(bool, bool)> = Racy::new((false, false));

fn in_service(vector: u64) -> bool {
    apic::read(apic::ISR + (vector >> 5 << 4)) >> (vector & 31) & 1 != 0
}

fn interrupt(frame: &mut Frame) {
    COUNT.set(COUNT.get() + 1);
    LAST.set(frame.rip);
    let before = in_service(frame.vector);
    apic::write(apic::EOI, 0);
    SERVICE.set((before, in_service(frame.vector)));
}

fn count(frame: &mut Frame) {
    COUNT.set(COUNT.get() + 1);
    LAST.set(frame.rip);
    frame.rflags &= !(1 << 8); // TF
}

/// How often the handler runs within 20 ms after `body`; longer than the first time, for a second.
fn arrivals(body: impl FnOnce()) -> u64 {
    COUNT.set(0);
    body();
    cpu_asm!("sti");
    pit::wait(20, || COUNT.get() != 0);
    pit::delay(2);
    cpu_asm!("cli");
    COUNT.get()
}

fn registers() {
    value("apic.version", format_args!("{:x}", apic::read(apic::VERSION)));
    value("apic.id", format_args!("{:x}", apic::read(apic::ID)));
    apic::write(apic::SPURIOUS, 0x1ff);
    fact("apic.spurious", apic::read(apic::SPURIOUS), 0x1ff);
    apic::write(apic::TPR, 0x50);
    fact("apic.tpr-in-cr8", cpu::cr8(), 5);
    cpu::set_cr8(9);
    fact("apic.cr8-in-tpr", apic::read(apic::TPR), 0x90);
    apic::write(apic::TPR, 0);
    fact("apic.tpr-0", cpu::cr8(), 0);
    apic::write(apic::ESR, 0);
    fact("apic.esr", apic::read(apic::ESR), 0);
}

fn interrupts() {
    exception::hook(TIMER, Some(interrupt));
    exception::hook(SELF, Some(interrupt));
    let timer = arrivals(|| {
        apic::write(apic::TIMER_DIVIDE, 0xb); // by 1
        apic::write(apic::LVT_TIMER, TIMER as u32); // one-shot
        apic::write(apic::TIMER_INITIAL, 100_000);
    });
    fact("apic.timer", timer, 1);
    fact("apic.eoi", SERVICE.get(), (true, false));
    apic::write(apic::LVT_TIMER, 1 << 16);
    let command = TO_SELF | ASSERT | SELF as u32;
    fact("ipi.self", arrivals(|| apic::send(0, command)), 1);
    let own = apic::read(apic::ID) >> 24;
    fact("ipi.own-id", arrivals(|| apic::send(own, ASSERT | SELF as u32)), 1);
    // Vectors that exceptions have too, but for those whose handler expects an error code.
    for vector in [16, 18, 19, 20, 23, 28, 31] {
        exception::hook(vector, Some(interrupt));
        let command = TO_SELF | ASSERT | vector as u32;
        fact("ipi.exception-vector", (vector, arrivals(|| apic::send(0, command))), (vector, 1));
        exception::hook(vector, None);
    }
    apic::write(apic::TPR, 0x50);
    fact("ipi.masked-by-tpr", arrivals(|| apic::send(0, command)), 0);
    fact("ipi.unmasked", arrivals(|| apic::write(apic::TPR, 0)), 1);
}

/// A write to the page under the trap flag, and one after STI.
fn flags() {
    let command = TO_SELF | ASSERT | SELF as u32;
    exception::hook(exception::DB, Some(count));
    COUNT.set(0);
    let at: u64;
    cpu_asm!("lea {at}, [rip + 2f]", "pushfq", "or dword ptr [rsp], 0x100", "popfq",
        "mov dword ptr [{page} + 0x300], {command:e}", "2:", "nop", "nop",
        at = out(reg) at, page = in(reg) apic::PAGE, command = in(reg) command);
    fact("write.stepped", (COUNT.get(), LAST.get()), (1, at));
    exception::hook(exception::DB, None);
    COUNT.set(0);
    cpu_asm!("sti", "nop", "nop", "cli");
    let at: u64;
    let first = COUNT.get();
    apic::send(0, command);
    cpu_asm!("lea {at}, [rip + 2f]", "sti", "mov dword ptr [{page} + 0x80], {zero:e}", "2:", "nop",
        "nop", "cli", at = out(reg) at, page = in(reg) apic::PAGE, zero = in(reg) 0);
    fact("write.after-sti", (first, COUNT.get(), LAST.get()), (1, 2, at));
}

fn nmi(name: &str, destination: u32, command: u32) {
    exception::hook(exception::NMI, Some(count));
    fact(name, arrivals(|| apic::send(destination, command)), 1);
    exception::hook(exception::NMI, None);
}

/// Everything that concerns no other CPU.
pub(crate) fn all() {
    registers();
    interrupts();
    flags();
    nmi("nmi.own-id", apic::read(apic::ID) >> 24, ASSERT | NMI);
    let base = cpu::rdmsr(apic::BASE_MSR);
    holds("base.rewritten", exception::catch(|| cpu::wrmsr(apic::BASE_MSR, base)).is_none());
    fact("base.same", cpu::rdmsr(apic::BASE_MSR), base);
    info(format_args!("base {base:x}"));
}

/// An NMI that every CPU is to get: it comes here once.
pub(crate) fn nmi_to_all() {
    nmi("nmi.all", 0, TO_ALL | ASSERT | NMI);
    fact("ipi.at-the-end", arrivals(|| apic::send(0, TO_SELF | ASSERT | SELF as u32)), 1);
}
