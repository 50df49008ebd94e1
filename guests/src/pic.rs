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

/// All masked but IRQ 0; the masks before.
pub fn unmask_timer() -> (u8, u8) {
    let before = (inb(MASTER + 1), inb(SLAVE + 1));
    set_masks((0xfe, 0xff));
    before
}

/// Sets both masks.
pub fn set_masks(masks: (u8, u8)) {
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
pub fn set_timer(divisor: u16) {
    outb(0x43, 0x34);
    outb(0x40, divisor as u8);
    outb(0x40, (divisor >> 8) as u8);
}
