//! The local APIC's page in xAPIC mode (AMD APM 2, 16.3).

use guests::cpu;

/// Where the APIC is after reset.
pub(crate) const PAGE: u64 = 0xfee0_0000;
/// APIC_BASE.
pub(crate) const BASE_MSR: u32 = 0x1b;

pub(crate) const ID: u64 = 0x20;
pub(crate) const VERSION: u64 = 0x30;
pub(crate) const TPR: u64 = 0x80;
pub(crate) const EOI: u64 = 0xb0;
pub(crate) const LDR: u64 = 0xd0;
pub(crate) const SPURIOUS: u64 = 0xf0;
pub(crate) const ISR: u64 = 0x100;
pub(crate) const ESR: u64 = 0x280;
pub(crate) const ICR_LOW: u64 = 0x300;
pub(crate) const ICR_HIGH: u64 = 0x310;
pub(crate) const LVT_TIMER: u64 = 0x320;
pub(crate) const TIMER_INITIAL: u64 = 0x380;
pub(crate) const TIMER_DIVIDE: u64 = 0x3e0;

/// ICR: level asserted.
pub(crate) const ASSERT: u32 = 1 << 14;
/// ICR: NMI, INIT, start-up.
pub(crate) const NMI: u32 = 4 << 8;
pub(crate) const INIT: u32 = 5 << 8;
pub(crate) const STARTUP: u32 = 6 << 8;
/// ICR: the destination is logical.
pub(crate) const LOGICAL: u32 = 1 << 11;
/// ICR: shorthands.
pub(crate) const TO_SELF: u32 = 1 << 18;
pub(crate) const TO_ALL: u32 = 2 << 18;
pub(crate) const TO_OTHERS: u32 = 3 << 18;

pub(crate) fn read(register: u64) -> u32 {
    cpu::read32(PAGE + register)
}

pub(crate) fn write(register: u64, value: u32) {
    cpu::write32(PAGE + register, value);
}

/// Sends to `destination` what `command` says, once the last one is out.
pub(crate) fn send(destination: u32, command: u32) {
    write(ICR_HIGH, destination << 24);
    write(ICR_LOW, command);
    while read(ICR_LOW) & 1 << 12 != 0 {}
}
