//! Switching SVM on for one CPU.
use crate::switch::{clgi, rdmsr, wrmsr};
use core::arch::x86_64::__cpuid;
use core::fmt;
use vcpu::Capabilities;
use x86defs::{cr, msr, vmcb::feature};

/// Why this CPU cannot run a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// CPUID does not report SVM.
    NoSvm,
    /// The firmware disabled SVM (VM_CR.SVMDIS).
    Disabled,
    /// CPUID does not report nested paging.
    NoNestedPaging,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSvm => "this CPU has no SVM: an AMD CPU with SVM is needed",
            Self::Disabled => "SVM is disabled by the firmware: enable it (SVM Mode) in its setup",
            Self::NoNestedPaging => {
                "this CPU has no nested paging: one from 2008 or later is needed"
            }
        })
    }
}

/// Check and enable SVM on this CPU (APM 2, 15.4), with the host's state to be saved at `hsave`
/// (physical, 4 KiB). INIT becomes #SX and A20M# is ignored (APM 2, 15.30.1). Afterwards GIF is 0.
///
/// # Errors
/// Says what is missing; nothing was changed then.
///
/// # Safety
/// `hsave` must be a page of the VMM that nothing else uses.
pub unsafe fn enable(hsave: u64) -> Result<Capabilities, Refusal> {
    let extended = __cpuid(0x8000_0001);
    if extended.ecx & 1 << 2 == 0 {
        return Err(Refusal::NoSvm);
    }
    let vm_cr = rdmsr(msr::VM_CR);
    if vm_cr & msr::VM_CR_SVMDIS != 0 {
        return Err(Refusal::Disabled);
    }
    let features = __cpuid(0x8000_000a).edx;
    if features & feature::NP == 0 {
        return Err(Refusal::NoNestedPaging);
    }
    const R_INIT: u64 = 1 << 1;
    // SAFETY: SVM is there and not disabled; `hsave` is ours by contract. The VMM's handlers cover #SX.
    unsafe {
        wrmsr(msr::EFER, rdmsr(msr::EFER) | cr::EFER_SVME);
        wrmsr(msr::VM_CR, vm_cr | msr::VM_CR_DIS_A20M | R_INIT);
        wrmsr(msr::VM_HSAVE_PA, hsave);
    }
    clgi();
    Ok(Capabilities {
        next_rip: features & feature::NRIPS != 0,
        decode_assists: features & feature::DECODE_ASSISTS != 0,
        flush_by_asid: features & feature::FLUSH_BY_ASID != 0,
        mwaitx: extended.ecx & 1 << 29 != 0,
        invlpgb: features & feature::INVLPGB != 0,
        ..Capabilities::default()
    })
}
