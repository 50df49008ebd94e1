//! External interrupts and NMI in long mode.

use guests::cpu::{self, Racy};
use guests::exception::{self, Frame, NMI};
use guests::report::{fact, holds, info};
use guests::{cpu_asm, pic};

const IRQ0: u64 = 0x20;
static COUNT: Racy<u64> = Racy::new(0);
static LAST: Racy<u64> = Racy::new(0);

fn tick(frame: &mut Frame) {
    COUNT.set(COUNT.get() + 1);
    LAST.set(frame.rip);
    pic::end_of_interrupt();
}

fn with_timer(body: impl FnOnce()) {
    COUNT.set(0);
    exception::hook(IRQ0, Some(tick));
    pic::remap(IRQ0 as u8);
    let masks = pic::unmask_timer();
    body();
    cpu_asm!("cli");
    pic::restore(masks);
    pic::remap_bios();
    exception::hook(IRQ0, None);
}

/// HLT, woken by a controller whose vectors are moved.
pub(crate) fn timer() {
    with_timer(|| {
        while pic::timer_pending() {
            cpu_asm!("sti", "nop", "nop", "cli");
        }
        let before = COUNT.get();
        for _ in 0..4 {
            cpu_asm!("sti", "hlt", "cli");
        }
        // A host that is busy elsewhere adds a tick; it takes none away.
        holds("long.hlt-ticks", (4..=8).contains(&(COUNT.get() - before)));
    });
}

/// One instruction after STI no interrupt is taken (AMD APM 2, 15.21.5), whatever that one is.
pub(crate) fn shadow() {
    with_timer(|| {
        macro_rules! pending {
            ($name:literal, $($insn:literal),*) => {
                while !pic::timer_pending() {}
                let (count, at) = (COUNT.get(), {
                    let at: u64;
                    cpu_asm!("mov r9, rbx", "lea r8, [rip + 2f]", "xor eax, eax", "mov ecx, 0x277",
                        $($insn,)* "2:", "nop", "nop", "cli", "mov rbx, r9",
                        out("r8") at, out("r9") _, out("rax") _, out("rcx") _, out("rdx") _);
                    at
                });
                fact(concat!("long.shadow-", $name), (COUNT.get() - count, LAST.get()), (1, at));
            };
        }
        pending!("nop", "sti", "nop");
        pending!("cpuid", "sti", "cpuid");
        pending!("rdmsr", "sti", "rdmsr");
        pending!("hlt", "sti", "hlt");
        pending!("popf", "pushfq", "or dword ptr [rsp], 0x200", "popfq");
        while !pic::timer_pending() {}
        let before = COUNT.get();
        cpu_asm!("sti", "cli", "nop");
        fact("long.shadow-sti-cli", COUNT.get(), before);
        holds("long.shadow-still-pending", pic::timer_pending());
    });
}

const APIC: u64 = 0xfee0_0000;

fn send_nmi() {
    const NMI_ASSERT: u32 = 0x4400;
    let id = cpu::read32(APIC + 0x20);
    cpu::write32(APIC + 0x310, id);
    cpu::write32(APIC + 0x300, NMI_ASSERT);
    while cpu::read32(APIC + 0x300) & 1 << 12 != 0 {}
    for _ in 0..1000 {
        cpu_asm!("pause");
    }
}

static INSIDE: Racy<u64> = Racy::new(0);

fn nmi_handler(_: &mut Frame) {
    COUNT.set(COUNT.get() + 1);
    if COUNT.get() == 1 {
        send_nmi();
        let _ = cpu::cpuid(0, 0);
        send_nmi();
        INSIDE.set(COUNT.get());
    }
}

/// By the local APIC to itself: delivered with interrupts off, blocked until IRET, one kept.
pub(crate) fn nmi() {
    COUNT.set(0);
    exception::hook(NMI, Some(nmi_handler));
    send_nmi();
    let _ = cpu::cpuid(0, 0);
    fact("nmi.blocked-inside", INSIDE.get(), 1);
    fact("nmi.delivered", COUNT.get(), 2);
    send_nmi();
    fact("nmi.again", COUNT.get(), 3);
    exception::hook(NMI, None);
}

const MACHINE_CHECK: u64 = 18;

fn eighteen(_: &mut Frame) {
    COUNT.set(COUNT.get() + 1);
    cpu::write32(APIC + 0xb0, 0);
}

/// An interrupt with #MC's vector, while MCG_STATUS says that a machine check is in progress: the guest said so itself.
pub(crate) fn machine_check_vector() {
    const MCG_STATUS: u32 = 0x17a;
    const RIPV: u64 = 1;
    const MCIP: u64 = 4;
    cpu::wrmsr(MCG_STATUS, RIPV);
    // Bochs ignores what is written to MSRs it does not have, this one too.
    if cpu::rdmsr(MCG_STATUS) != RIPV {
        info(format_args!("no MCG_STATUS that keeps what is written"));
        return;
    }
    const FIXED_TO_SELF: u32 = 0x4_4000;
    let spurious = cpu::read32(APIC + 0xf0);
    cpu::write32(APIC + 0xf0, spurious | 1 << 8);
    exception::hook(MACHINE_CHECK, Some(eighteen));
    for (name, status) in [("without-mcip", 0), ("with-mcip", MCIP)] {
        COUNT.set(0);
        cpu::wrmsr(MCG_STATUS, status);
        cpu::write32(APIC + 0x300, FIXED_TO_SELF | MACHINE_CHECK as u32);
        cpu_asm!("sti", "nop", "nop", "cli");
        fact(format_args!("vector-18.{name}"), COUNT.get(), 1);
        fact(format_args!("vector-18.{name}-status"), cpu::rdmsr(MCG_STATUS), status);
    }
    cpu::wrmsr(MCG_STATUS, 0);
    fact("vector-18.status-cleared", cpu::rdmsr(MCG_STATUS), 0);
    exception::hook(MACHINE_CHECK, None);
    cpu::write32(APIC + 0xf0, spurious);
}
