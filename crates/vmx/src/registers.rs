//! The guest's registers: which lie in the VMCS, and how segments are written there.
use crate::switch::{self, vmread, vmwrite};
use vcpu::{Seg, Segment, System};
use x86defs::vmx::{field, rights};
use x86defs::{cr, msr};

/// Set a field that rarely changes: it is written only if it does.
#[inline(never)]
pub(crate) fn update(field: u32, value: u64) {
    if vmread(field) != value {
        vmwrite(field, value);
    }
}

/// CR4 bits that the guest cannot have: the VMM's.
pub(crate) const CR4_OURS: u64 = cr::CR4_VMXE | cr::CR4_SMXE;

/// Place of a segment register among the fields: selectors, limits, rights and bases follow each other so.
const fn index(register: Seg) -> u32 {
    match register {
        Seg::Es => 0,
        Seg::Cs => 1,
        Seg::Ss => 2,
        Seg::Ds => 3,
        Seg::Fs => 4,
        Seg::Gs => 5,
        Seg::Ldtr => 6,
        Seg::Tr => 7,
        Seg::Gdtr => 8,
        Seg::Idtr => 9,
    }
}

/// The field of a segment register in the block that begins at `first`.
#[inline(always)]
const fn of(first: u32, register: Seg) -> u32 {
    first.wrapping_add(index(register).wrapping_mul(2))
}

const fn is_table(register: Seg) -> bool {
    matches!(register, Seg::Gdtr | Seg::Idtr)
}

/// Attributes as descriptors have them, packed, to the VMCS's rights.
pub(crate) const fn to_rights(attributes: u16) -> u32 {
    let attributes = attributes as u32;
    let unusable = if attributes & rights::PRESENT == 0 { rights::UNUSABLE } else { 0 };
    attributes & 0xff | (attributes & 0xf00) << 4 | unusable
}

/// The VMCS's rights to packed attributes: a register without a segment is not present, and keeps its level.
pub(crate) const fn to_attributes(rights: u32) -> u16 {
    let packed = (rights & 0xff | rights >> 4 & 0xf00) as u16;
    if rights & rights::UNUSABLE != 0 { packed & !(rights::PRESENT as u16) } else { packed }
}

#[inline(always)]
pub(crate) fn segment(register: Seg) -> Segment {
    let base = vmread(of(field::GUEST_ES_BASE, register));
    let limit = vmread(of(field::GUEST_ES_LIMIT, register)) as u32;
    if is_table(register) {
        return Segment { selector: 0, attributes: 0, limit, base };
    }
    let attributes = to_attributes(vmread(of(field::GUEST_ES_RIGHTS, register)) as u32);
    let selector = vmread(of(field::GUEST_ES_SELECTOR, register)) as u16;
    Segment { selector, attributes, limit, base }
}

pub(crate) fn set_segment(register: Seg, value: Segment) {
    update(of(field::GUEST_ES_BASE, register), value.base);
    update(of(field::GUEST_ES_LIMIT, register), value.limit.into());
    if !is_table(register) {
        update(of(field::GUEST_ES_RIGHTS, register), to_rights(value.attributes).into());
        update(of(field::GUEST_ES_SELECTOR, register), value.selector.into());
    }
}

/// The guest's CR0 or CR4 as it sees it: bits of `mask` from the shadow.
pub(crate) const fn seen(real: u64, shadow: u64, mask: u64) -> u64 {
    real & !mask | shadow & mask
}

/// A system register but RIP.
#[inline(always)]
pub(crate) fn system(register: System) -> u64 {
    match register {
        System::Rip => vmread(field::GUEST_RIP),
        System::Rflags => vmread(field::GUEST_RFLAGS),
        System::Cr0 => seen(vmread(field::GUEST_CR0), vmread(field::CR0_SHADOW), cr::CR0_NE),
        System::Cr2 => switch::read_cr2(),
        System::Cr3 => vmread(field::GUEST_CR3),
        System::Cr4 => seen(vmread(field::GUEST_CR4), vmread(field::CR4_SHADOW), CR4_OURS),
        System::Cr8 => switch::read_cr8(),
        System::Efer => vmread(field::GUEST_EFER),
        System::Dr6 => switch::read_dr6(),
        System::Dr7 => vmread(field::GUEST_DR7),
        System::DebugCtl => vmread(field::GUEST_DEBUGCTL),
        // Not exchanged: the VMM uses none of them.
        System::KernelGsBase => switch::rdmsr(msr::KERNEL_GS_BASE),
        System::Star => switch::rdmsr(msr::STAR),
        System::Lstar => switch::rdmsr(msr::LSTAR),
        System::Cstar => switch::rdmsr(msr::CSTAR),
        System::Sfmask => switch::rdmsr(msr::SFMASK),
        System::Pat => vmread(field::GUEST_PAT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x86defs::segment::{CODE16, DATA16};

    #[test]
    fn rights_round_trip() {
        for attributes in [CODE16, DATA16, 0xa9b, 0xc93, 0x8b, 0xcf3] {
            assert_eq!(to_attributes(to_rights(attributes)), attributes);
        }
        assert_eq!(to_rights(0xa9b), 0xa09b);
        assert_eq!(to_rights(0), rights::UNUSABLE);
        // Without a segment the privilege level stays: SS's is the CPU's.
        assert_eq!(to_attributes(rights::UNUSABLE | 0xc0f3), 0xc73);
    }

    #[test]
    fn fields_follow_each_other() {
        assert_eq!(of(field::GUEST_ES_SELECTOR, Seg::Tr), field::GUEST_TR_SELECTOR);
        assert_eq!(of(field::GUEST_ES_LIMIT, Seg::Gdtr), field::GUEST_GDTR_LIMIT);
        assert_eq!(of(field::GUEST_ES_BASE, Seg::Idtr), field::GUEST_IDTR_BASE);
        assert_eq!(of(field::GUEST_ES_RIGHTS, Seg::Ss), field::GUEST_SS_RIGHTS);
    }

    #[test]
    fn owned_bits_are_the_shadow_s() {
        assert_eq!(seen(0x31, 0, cr::CR0_NE), 0x11);
        assert_eq!(seen(0x2020, 0xffff_ffff, 0), 0x2020);
    }
}
