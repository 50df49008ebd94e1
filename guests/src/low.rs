//! Real mode and 32-bit protected mode without paging: run a routine there, read what it logged.

use crate::cpu;
use crate::labels;

crate::assembly!("low.S");
labels!(
    __low_load,
    __low_start,
    __low_end,
    low_magic,
    low_gdt,
    low_gdtr,
    low_idt32,
    low_stubs32,
    low_stubs16,
    low_log_n,
    low_log,
    low_result,
    low_arg,
    low_resume,
    low_resume_sp,
);

unsafe extern "C" {
    fn low_enter(kind: u32, routine: u32);
}

/// One exception of real or 32-bit protected mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The vector.
    pub vector: u32,
    /// The error code, 0 where there is none.
    pub error: u32,
    /// The saved instruction pointer.
    pub ip: u32,
    /// The saved CS.
    pub cs: u32,
    /// The saved flags, 16 bits of them in real mode.
    pub flags: u32,
    /// CR2 at entry, 0 in real mode.
    pub cr2: u32,
}

/// Copies the low part to its place and loads its descriptor table. Called again it puts back what has been
/// changed, and writes nothing else: the emulator would translate the code anew.
pub fn install() {
    let gates = low_idt32()..low_idt32() + 0x50 * 8;
    let mut from = __low_load();
    for to in (__low_start()..__low_end()).step_by(8) {
        let (value, old) = (cpu::read64(from), cpu::read64(to));
        if value != old && !gates.contains(&to) {
            cpu::write64(to, value);
        }
        from += 8;
    }
    assert_eq!(cpu::read64(low_magic()), u64::from_le_bytes(*b"low part"), "layout of the image");
    for vector in 0..0x50 {
        set_gate32(vector, (low_stubs32() + u64::from(vector) * 16) as u32, 0x8e);
    }
    crate::cpu_asm!("lgdt [{}]", in(reg) low_gdtr(), options(nostack));
}

/// Writes a gate of the 32-bit IDT: `kind` is 8Eh (interrupt gate), EEh (for ring 3 too), 85h (task
/// gate, then `target` is the selector).
pub fn set_gate32(vector: u32, target: u32, kind: u32) {
    let entry = low_idt32() + u64::from(vector) * 8;
    let (selector, offset) = if kind & 0x1f == 5 { (target, 0) } else { (0x18, target) };
    cpu::write32(entry, selector << 16 | offset & 0xffff);
    cpu::write32(entry + 4, offset & 0xffff_0000 | kind << 8);
}

/// Writes a descriptor of the shared table; `base` is as in the descriptor (24 low bits, and bits
/// 24 to 31 of the base at bits 40 to 47 of the argument).
pub fn set_descriptor(selector: u64, base: u64, limit: u64, kind: u64, flags: u64) {
    let value = limit & 0xffff
        | (base & 0xff_ffff) << 16
        | kind << 40
        | (limit >> 16 & 15) << 48
        | flags << 52
        | (base >> 40 & 0xff) << 56;
    cpu::write64(low_gdt() + selector, value);
}

/// Writes the descriptor of an available 32-bit TSS.
pub fn set_tss32(selector: u64, base: u64) {
    set_descriptor(selector, base & 0xff_ffff | base >> 24 << 40, 103, 0x89, 0);
}

/// A descriptor of the shared table.
#[must_use]
pub fn descriptor(selector: u64) -> u64 {
    cpu::read64(low_gdt() + selector)
}

fn enter(kind: u32, routine: u64) {
    cpu::write32(low_log_n(), 0);
    cpu::write32(low_resume(), 0);
    for n in 0..64 {
        cpu::write32(low_result() + 4 * n, 0);
    }
    // SAFETY: the routine lies in the low part and returns by RET or by low_leave.
    unsafe { low_enter(kind, routine as u32) };
}

/// Calls a 16-bit routine in real mode with CS = DS = ES = SS = 0, interrupts off, the BIOS's vectors.
pub fn real(routine: u64) {
    enter(0, routine);
}

/// Calls a 32-bit routine in protected mode, flat, paging off, with the logging IDT.
pub fn protected(routine: u64) {
    enter(1, routine);
}

/// Points vectors of real mode to the logging stubs while `body` runs.
pub fn with_vectors(vectors: &[u32], body: impl FnOnce()) {
    let mut kept = [0; 16];
    for (keep, &vector) in kept.iter_mut().zip(vectors) {
        let entry = u64::from(vector) * 4;
        *keep = cpu::read32(entry);
        cpu::write32(entry, (low_stubs16() + u64::from(vector) * 8) as u32);
    }
    body();
    for (keep, &vector) in kept.iter().zip(vectors) {
        cpu::write32(u64::from(vector) * 4, *keep);
    }
}

/// How many exceptions the last routine logged.
#[must_use]
pub fn log_len() -> usize {
    cpu::read32(low_log_n()) as usize
}

/// The `n`th exception of the last routine; zeros beyond the last.
#[must_use]
pub fn log(n: usize) -> Record {
    let at = |field: u64| {
        if n < log_len() { cpu::read32(low_log() + 32 * n as u64 + 4 * field) } else { 0 }
    };
    Record { vector: at(0), error: at(1), ip: at(2), cs: at(3), flags: at(4), cr2: at(5) }
}

/// Word `n` of what the last routine left in `low_result`.
#[must_use]
pub fn result(n: u64) -> u32 {
    cpu::read32(low_result() + 4 * n)
}

/// Sets word `n` of `low_arg`.
pub fn set_arg(n: u64, value: u32) {
    cpu::write32(low_arg() + 4 * n, value);
}
