//! The two 8259 interrupt controllers and the 8254's channel 0.

use crate::cpu::{inb, outb};

const MASTER: u16 = 0x20;
const SLAVE: u16 = 0xa0;

/// ICW1 to ICW4: vectors from `base`, the slave's 8 above.
pub fn remap(base: u8) {
    remap_split(base, base + 8);
}

/// The base the BIOS uses.
pub fn remap_bios() {
    remap_split(8, 0x70);
}

fn remap_split(master: u8, slave: u8) {
    let masks = (inb(MASTER + 1), inb(SLAVE + 1));
    for (port, base, cascade) in [(MASTER, master, 4), (SLAVE, slave, 2)] {
        outb(port, 0x11);
        outb(port + 1, base);
        outb(port + 1, cascade);
        outb(port + 1, 1);
    }
    outb(MASTER + 1, masks.0);
    outb(SLAVE + 1, masks.1);
}

/// What [`unmask_timer`] and [`mask_all`] changed.
#[derive(Clone, Copy)]
pub struct Masks(u8, u8);

fn mask(master: u8) -> Masks {
    let before = Masks(inb(MASTER + 1), inb(SLAVE + 1));
    outb(MASTER + 1, master);
    outb(SLAVE + 1, 0xff);
    before
}

/// All masked.
#[must_use]
pub fn mask_all() -> Masks {
    mask(0xff)
}

/// All masked but IRQ 0, at 100 Hz.
pub fn unmask_timer() -> Masks {
    set_timer(11932);
    mask(0xfe)
}

/// The masks as they were, and the BIOS's 18.2 Hz.
pub fn restore(masks: Masks) {
    set_timer(0);
    outb(MASTER + 1, masks.0);
    outb(SLAVE + 1, masks.1);
}

/// Non-specific end of interrupt to the master.
pub fn end_of_interrupt() {
    outb(MASTER, 0x20);
}

/// Whether IRQ 0 waits at the master.
#[must_use]
pub fn timer_pending() -> bool {
    outb(MASTER, 0x0a); // OCW3: read IRR
    inb(MASTER) & 1 != 0
}

/// Channel 0 as a rate generator of `divisor`; 0 is 65536, the BIOS's.
fn set_timer(divisor: u16) {
    outb(0x43, 0x34);
    outb(0x40, divisor as u8);
    outb(0x40, (divisor >> 8) as u8);
}
