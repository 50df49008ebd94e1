extern crate std;
use super::*;
use std::collections::HashMap;

/// The state a real-mode guest begins with.
fn real_mode() -> HashMap<u32, u64> {
    let mut fields = HashMap::from([
        (field::ENTRY_CONTROLS, 0x11ff & !0x200),
        (field::GUEST_CR0, 0x30),
        (field::GUEST_CR4, 0x2000),
        (field::GUEST_PAT, 0x0007_0406_0007_0406),
        (field::GUEST_DR7, 0x400),
        (field::GUEST_RFLAGS, 2),
        (field::LINK_POINTER, u64::MAX),
    ]);
    for n in 0..8_u32 {
        let rights = match n {
            1 => 0x9b,
            6 => 0x82,
            7 => 0x8b,
            _ => 0x93,
        };
        fields.insert(field::GUEST_ES_RIGHTS + 2 * n, rights);
        fields.insert(field::GUEST_ES_LIMIT + 2 * n, 0xffff);
    }
    fields
}

/// A 64-bit kernel.
fn long_mode() -> HashMap<u32, u64> {
    let mut fields = real_mode();
    for (at, value) in [
        (field::ENTRY_CONTROLS, 0x11ff | 0x200),
        (field::GUEST_CR0, 0x8005_0033),
        (field::GUEST_CR4, 0x20a0),
        (field::GUEST_EFER, 0xd01),
        (field::GUEST_CS_RIGHTS, 0xa09b),
        (field::GUEST_ES_LIMIT + 2, 0xffff_ffff),
        (field::GUEST_RIP, 0xffff_ffff_8100_0000),
    ] {
        fields.insert(at, value);
    }
    fields
}

fn check(fields: &HashMap<u32, u64>) -> Checked {
    let controls = Controls {
        secondary: secondary::UNRESTRICTED,
        fixed: (0x8000_0021, 0x2000),
        allowed: (0xffff_ffff, 0x0037_27ff),
        ..Controls::default()
    };
    guest_state(&controls, &|field| fields.get(&field).copied().unwrap_or(0))
}

#[test]
fn lawful_guests_pass() {
    assert_eq!(check(&real_mode()), Ok(()));
    assert_eq!(check(&long_mode()), Ok(()));
}

#[test]
fn each_fault_has_its_name() {
    let long = |at, value, name| {
        let mut fields = long_mode();
        fields.insert(at, value);
        assert_eq!(check(&fields).unwrap_err().0, name, "{at:#x} {value:#x}");
    };
    long(field::GUEST_CR0, 0x8005_0013, "CR0");
    long(field::GUEST_CR0, 0x0005_0033, "CR0, CR4");
    long(field::GUEST_CR4, 0xa0, "CR4");
    long(field::GUEST_CR0, 0x1_8005_0033, "CR0");
    long(field::GUEST_CR4, 0x0100_20a0, "CR4");
    long(field::GUEST_DEBUGCTL, 1 << 3, "DEBUGCTL");
    long(field::GUEST_EFER, 0x901, "EFER");
    long(field::GUEST_EFER, 0x1d01, "EFER");
    long(field::GUEST_PAT, 2, "PAT");
    long(field::GUEST_CS_RIGHTS, 0xe09b, "CS");
    long(field::GUEST_CS_RIGHTS, 0xa091, "CS");
    long(field::GUEST_SS_RIGHTS, 0x91, "SS");
    long(field::GUEST_ES_RIGHTS, 0x92, "ES");
    long(field::GUEST_ES_RIGHTS + 14, 0x89, "TR");
    long(field::GUEST_ES_RIGHTS + 12, 0x83, "LDTR");
    long(field::GUEST_IDTR_LIMIT, 0x1_0000, "IDTR");
    long(field::GUEST_RIP, 1 << 60, "RIP");
    long(field::GUEST_RFLAGS, 0, "RFLAGS");
    long(field::GUEST_RFLAGS, 0x2_0002, "CS");
    long(field::GUEST_ACTIVITY, 4, "activity state");
    long(field::GUEST_INTERRUPTIBILITY, 1, "interruptibility state");
    long(field::ENTRY_EVENT, 0x8000_0020, "RFLAGS");
    long(field::ENTRY_EVENT, 0x8000_030d, "VM-entry interruption information");
    long(field::LINK_POINTER, 0, "VMCS link pointer");
}

#[test]
fn pae_pointers_have_reserved_bits() {
    let mut fields = real_mode();
    fields.extend([(field::GUEST_CR0, 0x8000_0031), (field::GUEST_CR4, 0x2020)]);
    fields.insert(field::GUEST_PDPTE0 + 4, 0x1001);
    assert_eq!(check(&fields), Ok(()));
    fields.insert(field::GUEST_PDPTE0 + 6, 0x1007);
    assert_eq!(check(&fields).unwrap_err().0, "PAE's page-directory pointers");
    fields.insert(field::GUEST_PDPTE0 + 6, 0x1006);
    assert_eq!(check(&fields), Ok(()), "not present");
}

#[test]
fn a_pending_step_must_be_told() {
    let mut fields = long_mode();
    fields.insert(field::GUEST_RFLAGS, 0x302);
    fields.insert(field::GUEST_INTERRUPTIBILITY, 1);
    assert_eq!(check(&fields).unwrap_err().0, "pending debug exceptions");
    fields.insert(field::GUEST_PENDING_DEBUG, pending::BS);
    assert_eq!(check(&fields), Ok(()));
}

#[test]
fn any_state_is_looked_at_without_a_panic() {
    let mut seed = 1_u64;
    for _ in 0..50_000 {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let mut fields = if seed >> 63 == 0 { real_mode() } else { long_mode() };
        let mut all: std::vec::Vec<u32> = fields.keys().copied().collect();
        all.sort_unstable();
        let at = all[seed as usize % all.len()];
        fields.insert(at, seed.rotate_left(23));
        let _ = check(&fields);
    }
}
