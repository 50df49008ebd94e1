//! The guest's registers in the VMCB.
use vcpu::{Seg, System};
use x86defs::vmcb::{Save, seg};

/// Index of a segment register in the save area.
pub(crate) const fn index(register: Seg) -> usize {
    match register {
        Seg::Es => seg::ES,
        Seg::Cs => seg::CS,
        Seg::Ss => seg::SS,
        Seg::Ds => seg::DS,
        Seg::Fs => seg::FS,
        Seg::Gs => seg::GS,
        Seg::Ldtr => seg::LDTR,
        Seg::Tr => seg::TR,
        Seg::Gdtr => seg::GDTR,
        Seg::Idtr => seg::IDTR,
    }
}

/// The field of a system register. CR8 has none, it is the APIC's; nor has DebugCtl without virtual branch records.
pub(crate) fn field(save: &mut Save, register: System) -> Option<&mut u64> {
    Some(match register {
        System::Cr8 | System::DebugCtl => return None,
        System::Rip => &mut save.rip,
        System::Rflags => &mut save.rflags,
        System::Cr0 => &mut save.cr0,
        System::Cr2 => &mut save.cr2,
        System::Cr3 => &mut save.cr3,
        System::Cr4 => &mut save.cr4,
        System::Efer => &mut save.efer,
        System::Dr6 => &mut save.dr6,
        System::Dr7 => &mut save.dr7,
        System::KernelGsBase => &mut save.kernel_gs_base,
        System::Star => &mut save.star,
        System::Lstar => &mut save.lstar,
        System::Cstar => &mut save.cstar,
        System::Sfmask => &mut save.sfmask,
        System::Pat => &mut save.g_pat,
    })
}

/// The value of a system register.
#[inline]
pub(crate) fn value(save: &Save, register: System) -> u64 {
    match register {
        System::Rip => save.rip,
        System::Rflags => save.rflags,
        System::Cr0 => save.cr0,
        System::Cr2 => save.cr2,
        System::Cr3 => save.cr3,
        System::Cr4 => save.cr4,
        System::Efer => save.efer,
        System::Dr6 => save.dr6,
        System::Dr7 => save.dr7,
        System::KernelGsBase => save.kernel_gs_base,
        System::Star => save.star,
        System::Lstar => save.lstar,
        System::Cstar => save.cstar,
        System::Sfmask => save.sfmask,
        System::Pat => save.g_pat,
        System::Cr8 | System::DebugCtl => 0,
    }
}
