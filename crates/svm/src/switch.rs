//! The assembly of the world switch, and the few privileged instructions around it.
use core::arch::{asm, global_asm};
use core::ffi::c_void;

global_asm!(include_str!("switch.S"));

unsafe extern "C" {
    pub(crate) fn svm_switch(gprs: *mut [u64; 16], vmcb: u64, host_vmcb: u64);
    pub(crate) fn svm_window_look(window: *const c_void, main: *const c_void) -> u32;
    pub(crate) fn svm_window_nmi() -> u32;
    pub(crate) fn svm_window_mwaitx(
        window: *const c_void,
        main: *const c_void,
        any: *const c_void,
        ticks: u32,
    ) -> u32;
    pub(crate) fn svm_window_halt(window: *const c_void, main: *const c_void) -> u32;
}

pub(crate) fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading one of the architectural SVM MSRs has no effect on memory; the callers name
    // only MSRs that CPUID promises.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nomem, nostack))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// # Safety
/// The value must keep the VMM's own execution valid.
pub(crate) unsafe fn wrmsr(msr: u32, value: u64) {
    // SAFETY: the caller vouches for the value.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack));
    }
}

/// Forget the VMM's own translations: its lower half is the guest's nested tables.
pub(crate) fn flush_host() {
    // SAFETY: CR3 is reloaded with itself.
    unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack)) };
}

pub(crate) fn clgi() {
    // SAFETY: SVM is enabled by the only caller; interrupts stay off until VMRUN or a window.
    unsafe { asm!("clgi", options(nomem, nostack)) };
}

pub(crate) fn vmsave(hpa: u64) {
    // SAFETY: `hpa` is the page that `Parts` gives for the host's state.
    unsafe { asm!("vmsave rax", in("rax") hpa, options(nostack)) };
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
    // SAFETY: VMEXIT leaves DR7 with every breakpoint disabled (APM 2, 15.6), so the addresses mean
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

/// QEMU's TCG (seen on 7.2) arms breakpoints only on a MOV to DR7, not when VMRUN loads DR7 from the
/// VMCB. On a real CPU this arms them a few instructions early, for addresses the VMM does not
/// execute; the VMM's own #DB handler returns.
pub(crate) fn arm_dr7_for_tcg(value: u64) {
    // SAFETY: see above; general detect is masked so that the next MOV DR does not trap.
    unsafe { asm!("mov dr7, {}", in(reg) value & !x86defs::dr::DR7_GD, options(nomem, nostack)) };
}

/// Bochs (seen on 3.0) saves the guest's CR2 at an exit, and loads none from the VMCB at VMRUN: the guest sees the
/// VMM's. The VMM itself has no use for the register.
pub(crate) fn load_cr2_for_bochs(value: u64) {
    // SAFETY: CR2 means nothing to a CPU, and to the VMM nothing outside of its handler for a fault of its own.
    unsafe { asm!("mov cr2, {}", in(reg) value, options(nomem, nostack)) };
}

pub(crate) fn read_cr8() -> u64 {
    let value: u64;
    // SAFETY: reads the APIC's task priority.
    unsafe { asm!("mov {}, cr8", out(reg) value, options(nomem, nostack)) };
    value
}

pub(crate) fn write_cr8(value: u64) {
    // SAFETY: the task priority is the guest's; the VMM takes no interrupt that it could hold off but
    // those it hands to the guest.
    unsafe { asm!("mov cr8, {}", in(reg) value & 15, options(nomem, nostack)) };
}
