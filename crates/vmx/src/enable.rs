//! Switching VMX on for one CPU.
use crate::capability::{Controls, Refusal, feature_control, offered};
use crate::switch::{
    rdmsr, read_cr0, read_cr4, vmptrld_cleared, vmxon, write_cr0, write_cr4, wrmsr,
};
use core::arch::x86_64::__cpuid;
use core::ptr::NonNull;
use x86defs::{cr, msr};

/// A page of VMX's own: its first word is the revision, the rest the CPU's.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// Where the VMM sees it.
    pub page: NonNull<u32>,
    /// Its address.
    pub hpa: u64,
}

/// Check and enable VMX on this CPU (SDM 3C, 23.6 to 23.8) and make `vmcs` its current VMCS, cleared.
///
/// # Errors
/// Says what is missing. Nothing was changed then but for [`Refusal::Failed`].
///
/// # Safety
/// Both are zeroed pages of the VMM that nothing else uses.
pub unsafe fn enable(on: Region, vmcs: Region) -> Result<Controls, Refusal> {
    if __cpuid(1).ecx & 1 << 5 == 0 {
        return Err(Refusal::NoVmx);
    }
    let leaf = __cpuid(7);
    let offers = offered(leaf.ebx, leaf.ecx, rdmsr(msr::MCG_CAP));
    let allow = feature_control(rdmsr(msr::FEATURE_CONTROL), offers)?;
    let controls = Controls::new(rdmsr)?;
    let (cr0, cr4) = controls.fixed;
    // SAFETY: the MSR is not locked, and the bits are those SDM 3C, 23.7 names; the fixed bits are what VMX
    // operation asks of CR0 and CR4 (23.8), which run the VMM already but for NE and VMXE, that change
    // nothing for code without an FPU. The regions are the caller's.
    let done = unsafe {
        if let Some(value) = allow {
            wrmsr(msr::FEATURE_CONTROL, value);
        }
        write_cr0(read_cr0() | cr0 | cr::CR0_NE);
        // With KL the VMM's CPUID says whether the firmware left key locker on; `hv` shows it by the guest's CR4.
        let locker = if leaf.ecx & 1 << 23 != 0 { cr::CR4_KL } else { 0 };
        write_cr4(read_cr4() | cr4 | cr::CR4_VMXE | locker);
        on.page.write(controls.revision);
        vmcs.page.write(controls.revision);
        vmxon(on.hpa) && vmptrld_cleared(vmcs.hpa)
    };
    if done { Ok(controls) } else { Err(Refusal::Failed) }
}
