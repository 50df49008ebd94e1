//! NMI and INIT to CPU 1 that no command register sends: by a message as a device writes it, and by
//! the I/O APIC (82093AA, 3.2.4). A halted CPU that takes an NMI runs what vector 2 names.

use crate::apic::{INIT, NMI};
use crate::pit;
use crate::start::{came, expect, judge};
use guests::cpu;
use guests::report::info;
use guests::start::has_word;

/// Where a message for CPU 1 goes.
const MESSAGE: u64 = 0xfee0_1000;
const IOAPIC: u64 = 0xfec0_0000;
/// The pin of the 8254's channel 0.
const TIMER_PIN: u32 = 2;
const MASKED: u32 = 1 << 16;

fn redirect(low: u32) {
    for (register, value) in [(1, 1 << 24), (0, low)] {
        cpu::write32(IOAPIC, 0x10 + 2 * TIMER_PIN + register);
        cpu::write32(IOAPIC + 0x10, value);
    }
}

fn message(mode: u32) {
    cpu::write32(MESSAGE, mode);
}

fn timer(mode: u32) {
    redirect(mode);
    pit::delay(54);
    pit::delay(10);
    redirect(MASKED);
}

/// Tries both, without an INIT and then with one before it. QEMU's TCG (seen on 7.2) lets an INIT reset a CPU whatever SVM
/// says (APM 2, 15.28), and from then on that CPU is nobody's: so without the word `init` what comes of it is only told. There an INIT waits until
/// the halted CPU gets an NMI, which is then lost: hence two.
pub(crate) fn all(others: bool) {
    type Send = fn(u32);
    const TRIES: [(&str, Send); 2] = [("wake.message", message), ("wake.ioapic", timer)];
    for (name, send) in TRIES {
        judge(name, false, others, comes(send, &[NMI, NMI]));
    }
    for (name, send) in TRIES {
        let came = comes(send, &[INIT, NMI, NMI]);
        match has_word("init") {
            true => judge(name, false, others, came),
            false => info(format_args!("{name} after INIT {came}")),
        }
    }
}

fn comes(send: fn(u32), modes: &[u32]) -> bool {
    expect();
    for mode in modes {
        send(*mode);
        pit::delay(10);
    }
    came()
}
