//! The assembly of the world switch, and the few privileged instructions around it.
use core::arch::{asm, global_asm};

global_asm!(include_str!("switch.S"));

unsafe extern "C" {
    pub(crate) fn vmx_switch(gprs: *mut [u64; 16], nmi: *const u8) -> u32;
    pub(crate) fn vmx_switch_exit();
}

/// A field of the current VMCS; 0 if there is no such field.
// Pure: where nobody looks at the value the instruction vanishes.
#[inline(always)]
pub(crate) fn vmread(field: u32) -> u64 {
    let value: u64;
    // SAFETY: VMX is on and a VMCS is current as long as there is a `Vmx`; reading changes nothing.
    unsafe {
        asm!("vmread {value}, {field}", field = in(reg) u64::from(field), value = inout(reg) 0_u64 => value,
            options(pure, readonly, nostack));
    }
    value
}

/// Set a field of the current VMCS. One that does not exist is left out.
#[inline(always)]
pub(crate) fn vmwrite(field: u32, value: u64) {
    // SAFETY: as above. What the guest could do with it is bounded by the nested tables; the host's fields are
    // written once, by `Vmx::new`.
    unsafe { asm!("vmwrite {}, {}", in(reg) u64::from(field), in(reg) value, options(nostack)) };
}

pub(crate) fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the callers name only MSRs that exist where CPUID reports VMX and long mode; reading them has no
    // effect on memory.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nomem, nostack))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// # Safety
/// The value must be one the MSR takes and keep the VMM's own execution valid.
pub(crate) unsafe fn wrmsr(msr: u32, value: u64) {
    // SAFETY: the caller vouches for the value.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack));
    }
}

/// VMXON, VMCLEAR or VMPTRLD succeeded.
type Done = bool;

/// # Safety
/// `region` is a page of the VMM with the CPU's revision in it, used for nothing else; CR4.VMXE is set.
pub(crate) unsafe fn vmxon(region: u64) -> Done {
    let failed: u8;
    // SAFETY: the caller's.
    unsafe { asm!("vmxon [{}]", "setbe {}", in(reg) &raw const region, out(reg_byte) failed) };
    failed == 0
}

/// # Safety
/// As [`vmxon`], with VMX on.
pub(crate) unsafe fn vmptrld_cleared(region: u64) -> Done {
    let (cleared, loaded): (u8, u8);
    // SAFETY: the caller's.
    unsafe {
        asm!("vmclear [{at}]", "setbe {c}", "vmptrld [{at}]", "setbe {l}", at = in(reg) &raw const region,
            c = out(reg_byte) cleared, l = out(reg_byte) loaded);
    }
    cleared == 0 && loaded == 0
}

/// Forget what was cached of nested tables: those of `eptp`, or all.
pub(crate) fn invept(eptp: Option<u64>) {
    let descriptor = [eptp.unwrap_or(0), 0];
    let kind: u64 = if eptp.is_some() { 1 } else { 2 };
    // SAFETY: both kinds are used only where the CPU reports them; only translations are forgotten.
    unsafe {
        asm!("invept {}, [{}]", in(reg) kind, in(reg) &raw const descriptor, options(nostack))
    };
}

/// Forget the VMM's own translations.
pub(crate) fn flush_host() {
    // SAFETY: CR3 is reloaded with itself.
    unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack)) };
}

/// An NMI that exited is blocked until an IRET (SDM 3C, 27.5.5): let the VMM's handler note it and return.
pub(crate) fn take_nmi() {
    // SAFETY: the VMM's handler of vector 2 sets a flag and returns.
    unsafe { asm!("int 2") };
}

macro_rules! control_registers {
    ($($read:ident $write:ident $name:literal),*) => { $(
        pub(crate) fn $read() -> u64 {
            let value: u64;
            // SAFETY: reading it has no effect.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nomem, nostack)) };
            value
        }

        /// # Safety
        /// The VMM runs on unchanged with this value.
        pub(crate) unsafe fn $write(value: u64) {
            // SAFETY: the caller's.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack)) };
        }
    )* };
}

control_registers!(read_cr0 write_cr0 "cr0", read_cr2 write_cr2 "cr2", read_cr4 write_cr4 "cr4",
    read_cr8 write_cr8 "cr8", read_dr6 write_dr6 "dr6");

pub(crate) fn read_cr3() -> u64 {
    let value: u64;
    // SAFETY: reading it has no effect.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack)) };
    value
}

pub(crate) fn read_dr(n: usize) -> u64 {
    let value: u64;
    // SAFETY: DR0-3 hold addresses; reading them has no effect.
    unsafe {
        match n {
            0 => asm!("mov {}, dr0", out(reg) value, options(nomem, nostack)),
            1 => asm!("mov {}, dr1", out(reg) value, options(nomem, nostack)),
            2 => asm!("mov {}, dr2", out(reg) value, options(nomem, nostack)),
            _ => asm!("mov {}, dr3", out(reg) value, options(nomem, nostack)),
        }
    }
    value
}

pub(crate) fn write_dr(n: usize, value: u64) {
    // SAFETY: an exit leaves DR7 with every breakpoint disabled (SDM 3C, 27.5.1), so the addresses mean
    // nothing to the VMM.
    unsafe {
        match n {
            0 => asm!("mov dr0, {}", in(reg) value, options(nomem, nostack)),
            1 => asm!("mov dr1, {}", in(reg) value, options(nomem, nostack)),
            2 => asm!("mov dr2, {}", in(reg) value, options(nomem, nostack)),
            _ => asm!("mov dr3, {}", in(reg) value, options(nomem, nostack)),
        }
    }
}

/// An operand of SGDT or SIDT: the base.
pub(crate) fn table_bases() -> (u64, u64) {
    #[repr(C, packed)]
    #[derive(Default)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let (mut gdt, mut idt) = (Pointer::default(), Pointer::default());
    // SAFETY: both store ten bytes.
    unsafe {
        asm!("sgdt [{}]", "sidt [{}]", in(reg) &raw mut gdt, in(reg) &raw mut idt, options(nostack));
    }
    (gdt.base, idt.base)
}

pub(crate) fn tsc() -> u64 {
    // SAFETY: every 64-bit CPU has the instruction, and it changes nothing.
    unsafe { core::arch::x86_64::_rdtsc() }
}
