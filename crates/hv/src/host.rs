//! What the core needs of the machine it runs on. The resident gives it the real one, tests a model.
use crate::MICROCODE;
use handover::{Note, Range, Span};
use link::Link;
use paging::table::TableMemory;
use paging::walk::PhysRead;

/// The machine under the VMM. Guest-physical memory is what [`PhysRead`] and the two accessors show:
/// RAM without the hole; any range that touches something else is refused whole.
pub trait Host: PhysRead {
    /// Where the nested tables live.
    type Tables: TableMemory;
    /// The kind of line to the analyst.
    type Link: Link;

    /// The CPU's own CPUID: EAX, EBX, ECX, EDX.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4];
    /// The CPU's time-stamp counter.
    fn tsc(&self) -> u64;
    /// RDMSR; `None` if the CPU raises #GP.
    fn read_msr(&self, msr: u32) -> Option<u64>;
    /// WRMSR; false if the CPU raises #GP.
    fn write_msr(&self, msr: u32, value: u64) -> bool;
    /// XSETBV; false if the CPU raises #GP.
    fn write_xcr(&self, register: u32, value: u64) -> bool;
    /// Give the CPU a microcode patch; false if it raises #GP.
    fn load_microcode(&self, patch: &[u8; MICROCODE]) -> bool;
    /// IN AL, port.
    fn port_in(&self, port: u16) -> u8;
    /// OUT port, AL.
    fn port_out(&self, port: u16, value: u8);
    /// Read a register of this CPU's local APIC (APM 2, 16.3.1), in xAPIC mode, at
    /// [`crate::APIC_WINDOW`]. Called only after the window was mapped.
    fn apic_read(&self, register: u16) -> u32;
    /// Write a register of this CPU's local APIC, in xAPIC mode.
    fn apic_write(&self, register: u16, value: u32);
    /// WBINVD.
    fn write_back_caches(&self);
    /// Leave a note for the VMM of the next start, should memory survive the reset that follows.
    fn leave_note(&self, note: Note);
    /// The memory map as the guest's firmware tells it.
    fn map(&self) -> &[Range];
    /// The VMM's own memory.
    fn hole(&self) -> Span;
    /// The addresses around `gpa` that are RAM, or no RAM, as it is: the first, the last, and which.
    fn extent(&self, gpa: u64) -> (u64, u64, bool);
    /// Reset the machine by the means it offers; at last by a shutdown of the CPU, so a real one does not return.
    fn reset(&self);

    /// The two bytes at `gpa`, within a page.
    fn read_u16(&self, gpa: u64) -> Option<u16>;
    /// Read guest-physical memory.
    fn read_memory(&self, gpa: u64, out: &mut [u8]) -> bool;
    /// Read the VMM's own memory, at the VMM's own address from
    /// [`handover::VMM_BASE`] on, after a fault; false where nothing is mapped.
    fn read_own(&self, address: u64, out: &mut [u8]) -> bool;
    /// Write guest-physical memory.
    fn write_memory(&self, gpa: u64, data: &[u8]) -> bool;
}
