//! Registers, ports and physical memory.

use crate::cpu_asm;
use core::cell::UnsafeCell;

/// A static that one CPU reads and writes, a whole value at a time.
pub struct Racy<T>(UnsafeCell<T>);

// SAFETY: there is one CPU, and an exception handler is over before the interrupted code goes on.
unsafe impl<T> Sync for Racy<T> {}

impl<T: Copy> Racy<T> {
    /// Starts with `value`.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }
    /// The value now.
    pub fn get(&self) -> T {
        // SAFETY: the cell is valid; volatile, for a handler may have written it.
        unsafe { self.0.get().read_volatile() }
    }
    /// Replaces the value.
    pub fn set(&self, value: T) {
        // SAFETY: as in `get`.
        unsafe { self.0.get().write_volatile(value) }
    }
    /// Where the value lies.
    pub fn address(&self) -> u64 {
        self.0.get().expose_provenance() as u64
    }
}

macro_rules! memory {
    ($($read:ident $write:ident $t:ty, $class:ident, $load:literal, $store:literal;)*) => { $(
        /// Reads memory by one move, aligned or not.
        #[must_use]
        pub fn $read(address: u64) -> $t {
            let value: $t;
            cpu_asm!($load, in(reg) address, v = out($class) value, options(nostack));
            value
        }
        /// Writes memory by one move, aligned or not.
        pub fn $write(address: u64, value: $t) {
            cpu_asm!($store, in(reg) address, v = in($class) value, options(nostack));
        }
    )* };
}
memory! {
    read8 write8 u8, reg_byte, "mov {v}, byte ptr [{0}]", "mov byte ptr [{0}], {v}";
    read16 write16 u16, reg, "mov {v:x}, word ptr [{0}]", "mov word ptr [{0}], {v:x}";
    read32 write32 u32, reg, "mov {v:e}, dword ptr [{0}]", "mov dword ptr [{0}], {v:e}";
    read64 write64 u64, reg, "mov {v}, qword ptr [{0}]", "mov qword ptr [{0}], {v}";
}

/// IN, one byte.
#[must_use]
pub fn inb(port: u16) -> u8 {
    let value: u8;
    cpu_asm!("in al, dx", in("dx") port, out("al") value, options(nostack));
    value
}

/// OUT, one byte.
pub fn outb(port: u16, value: u8) {
    cpu_asm!("out dx, al", in("dx") port, in("al") value, options(nostack));
}

/// EAX, EBX, ECX, EDX of a CPUID leaf.
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let r = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// Whether bit `bit` of register `register` (0 = EAX) of a leaf is set; false above the last leaf.
#[must_use]
pub fn has(leaf: u32, register: usize, bit: u32) -> bool {
    cpuid(leaf & 0x8000_0000, 0)[0] >= leaf && cpuid(leaf, 0)[register] >> bit & 1 != 0
}

/// Whether CPUID's vendor is AMD.
#[must_use]
pub fn is_amd() -> bool {
    cpuid(0, 0)[1] == u32::from_le_bytes(*b"Auth")
}

/// RDMSR.
#[must_use]
pub fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    cpu_asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nostack));
    u64::from(high) << 32 | u64::from(low)
}

/// WRMSR.
pub fn wrmsr(msr: u32, value: u64) {
    cpu_asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
        options(nostack));
}

/// RDTSC.
#[must_use]
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    cpu_asm!("rdtsc", out("eax") low, out("edx") high, options(nostack));
    u64::from(high) << 32 | u64::from(low)
}

macro_rules! register {
    ($($read:ident $write:ident $name:literal),*) => { $(
        #[doc = concat!("Reads ", $name, ".")]
        #[must_use]
        pub fn $read() -> u64 {
            let value: u64;
            cpu_asm!(concat!("mov {}, ", $name), out(reg) value, options(nostack));
            value
        }
        #[doc = concat!("Writes ", $name, ".")]
        pub fn $write(value: u64) {
            cpu_asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack));
        }
    )* };
}
register!(
    cr0 set_cr0 "cr0", cr2 set_cr2 "cr2", cr3 set_cr3 "cr3", cr4 set_cr4 "cr4", cr8 set_cr8 "cr8",
    dr0 set_dr0 "dr0", dr1 set_dr1 "dr1", dr2 set_dr2 "dr2", dr3 set_dr3 "dr3",
    dr6 set_dr6 "dr6", dr7 set_dr7 "dr7"
);
