//! Capabilities of CPUs, and what becomes of them.

use super::*;

/// A Haswell as Bochs 2.7 models it, but for the save-timer control, which `save` adds.
pub(crate) fn haswell(save: bool, true_controls: bool) -> impl Fn(u32) -> u64 {
    move |register| match register {
        msr::VMX_BASIC => 0x0058_0000_0000_0012 & !(1 << 55) | u64::from(true_controls) << 55,
        msr::VMX_PIN => 0x7f_0000_0016,
        msr::VMX_TRUE_PIN => 0x7f_0000_0016,
        msr::VMX_PRIMARY => 0xfff9_fffe_0401_e172,
        msr::VMX_TRUE_PRIMARY => 0xfff9_fffe_0400_6172,
        msr::VMX_SECONDARY => 0x0000_3cff_0000_0000,
        msr::VMX_EXIT | msr::VMX_TRUE_EXIT => {
            let save = if save { 1_u64 << 54 } else { 0 };
            0x003f_ffff_0003_6dfb & !(1 << 54) | save
        }
        msr::VMX_ENTRY | msr::VMX_TRUE_ENTRY => 0x0000_ffff_0000_11fb,
        msr::VMX_MISC => 0x2000_0065,
        msr::VMX_EPT_VPID => 0x0f01_0611_4141,
        msr::VMX_CR0_FIXED0 => 0x8000_0021,
        msr::VMX_CR4_FIXED0 => 0x2000,
        msr::VMX_CR0_FIXED1 => 0xffff_ffff,
        msr::VMX_CR4_FIXED1 => 0x0017_27ff | 1 << 17,
        _ => 0,
    }
}

#[test]
fn the_controls_come_from_the_capabilities() {
    let tables = |register| match register {
        msr::VMX_EPT_VPID => u64::MAX,
        other => haswell(true, true)(other),
    };
    let found = Controls::new(tables).unwrap();
    assert_eq!(found.pin, 0x7e);
    assert_eq!(found.primary & (primary::CR3_LOAD | primary::CR3_STORE | primary::HLT), 0);
    assert_eq!(found.primary & ON_DEMAND, 0);
    let instructions = secondary::RDTSCP | secondary::INVPCID;
    assert_eq!(found.secondary, SECONDARY.must | instructions);
    assert!(found.saves_timer());
    assert_eq!((found.revision, found.timer_shift), (0x12, 5));
    assert_eq!(found.entry & entry::GUEST_LONG, 0);
}

/// The capabilities of `haswell` with more that may be 1.
fn with_more(register: u32, secondary: u32, exit: u32, entry: u32, misc: u64) -> u64 {
    let more = match register {
        msr::VMX_SECONDARY => u64::from(secondary) << 32,
        msr::VMX_TRUE_EXIT => u64::from(exit) << 32,
        msr::VMX_TRUE_ENTRY => u64::from(entry) << 32,
        msr::VMX_MISC => misc,
        msr::VMX_EPT_VPID => u64::MAX,
        _ => 0,
    };
    haswell(true, true)(register) | more
}

#[test]
fn instructions_are_switched_on_where_the_cpu_can() {
    for bit in [secondary::RDTSCP, secondary::INVPCID, secondary::XSAVES, secondary::USER_WAIT] {
        let can = |register| with_more(register, bit, 0, 0, 0);
        assert_eq!(Controls::new(can).unwrap().secondary & bit, bit);
        let cannot = |register| match register {
            msr::VMX_SECONDARY => can(register) & !(u64::from(bit) << 32),
            other => can(other),
        };
        assert_eq!(Controls::new(cannot).unwrap().secondary & bit, 0);
    }
    // What would exit, or change what an instruction does, stays off where it can.
    let all = Controls::new(|register| with_more(register, !0, !0, 0xffff, !0)).unwrap();
    let known = SECONDARY.must | INSTRUCTIONS | secondary::CONCEAL;
    assert_eq!(all.secondary, known);
}

#[test]
fn processor_trace_is_whole_or_off() {
    let (two, out, into) = (secondary::TRACE, exit::CLEAR_TRACE, entry::LOAD_TRACE);
    for n in 0..16 {
        let on = |bit: u32, value: u32| if n >> bit & 1 != 0 { value } else { 0 };
        let misc = if n & 8 != 0 { misc::TRACE } else { 0 };
        let read = |register| with_more(register, on(0, two), on(1, out), on(2, into), misc);
        let found = Controls::new(read).unwrap();
        let got = (found.secondary & two, found.exit & out, found.entry & into);
        assert_eq!(got, if n == 15 { (two, out, into) } else { (0, 0, 0) }, "{n}");
    }
}

#[test]
fn branch_records_are_exchanged_or_concealed() {
    let (out, into) = (exit::CLEAR_LBR, entry::LOAD_LBR);
    for (may, got) in
        [((out, into), (out, into)), ((out, 0), (0, 0)), ((0, into), (0, 0)), ((0, 0), (0, 0))]
    {
        let found = Controls::new(|register| with_more(register, 0, may.0, may.1, 0)).unwrap();
        assert_eq!((found.exit & out, found.entry & into), got);
    }
}

#[test]
fn supervisor_bounds_are_off_in_the_vmm_or_left_alone() {
    let (out, into) = (exit::CLEAR_BOUNDS, entry::LOAD_BOUNDS);
    for (may, got) in [((out, into), (out, into)), ((out, 0), (0, 0)), ((0, into), (0, 0))] {
        let found = Controls::new(|register| with_more(register, 0, may.0, may.1, 0)).unwrap();
        assert_eq!((found.exit & out, found.entry & into), got);
    }
}

#[test]
fn each_lack_is_named() {
    let with = |changed: u32, value: u64| {
        move |register| match register {
            _ if register == changed => value,
            msr::VMX_EPT_VPID => u64::MAX,
            other => haswell(false, true)(other),
        }
    };
    let lack = |register, value| Controls::new(with(register, value)).unwrap_err();
    assert_eq!(lack(msr::VMX_SECONDARY, 0x2a << 32), Refusal::Lacks("unrestricted guest"));
    assert_eq!(lack(msr::VMX_SECONDARY, 0x80 << 32), Refusal::Lacks("extended page tables (EPT)"));
    assert_eq!(lack(msr::VMX_TRUE_PIN, 0x3f_0000_0016), Refusal::Lacks("the preemption timer"));
    assert_eq!(lack(msr::VMX_EPT_VPID, !ept_vpid::PAGE_2M), Refusal::Lacks("EPT pages of 2 MiB"));
    let no_trap = 0xf7f9_fffe_0400_6172;
    assert_eq!(lack(msr::VMX_TRUE_PRIMARY, no_trap), Refusal::Lacks("the monitor trap flag"));
    let no_window = 0xffb9_fffe_0400_6172;
    assert_eq!(lack(msr::VMX_TRUE_PRIMARY, no_window), Refusal::Lacks("NMI-window exits"));
    let old = |register| match register {
        msr::VMX_EPT_VPID => u64::MAX,
        other => haswell(false, false)(other),
    };
    assert_eq!(Controls::new(old), Err(Refusal::Forced("exits on CR3")));
    assert!(!Controls::new(with(0, 0)).unwrap().saves_timer());
}

#[test]
fn any_capabilities_give_lawful_controls_or_a_refusal() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut lawful = 0;
    for _ in 0..20_000 {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let salt = seed;
        let read = |register: u32| {
            let noise = (salt ^ u64::from(register)).wrapping_mul(0xd6e8_feb8_6659_fd93);
            let noise = noise ^ noise >> 32;
            // A few bits differ from a CPU's, and a bit that must be 1 may be.
            let bits = 1 << (noise & 63) | 1 << (noise >> 8 & 63);
            let value = if register == msr::VMX_EPT_VPID {
                u64::MAX
            } else {
                haswell(true, true)(register) ^ bits
            };
            value | (value & 0xffff_ffff) << 32
        };
        let Ok(found) = Controls::new(read) else { continue };
        lawful += 1;
        for (value, register) in [
            (found.pin, msr::VMX_TRUE_PIN),
            (found.primary, msr::VMX_TRUE_PRIMARY),
            (found.secondary, msr::VMX_SECONDARY),
        ] {
            let about = read(msr::VMX_BASIC);
            if about & basic::TRUE_CONTROLS != 0 {
                let capability = read(register);
                assert_eq!(capability as u32 & !value, 0);
                assert_eq!(value & !((capability >> 32) as u32), 0);
            }
        }
    }
    assert!(lawful > 100);
}

#[test]
fn the_firmware_s_lock_is_respected() {
    assert_eq!(feature_control(5, 1 << 20), Ok(None));
    assert_eq!(feature_control(1, 0), Err(Refusal::LockedOff));
    assert_eq!(feature_control(0, 0), Ok(Some(5)));
    assert_eq!(feature_control(1 << 18, 0), Ok(Some(5 | 1 << 18)));
    assert_eq!(feature_control(0, offered(!0, !0, u64::MAX)), Ok(Some(0x16_0005)));
    assert_eq!(offered(!(1 << 2), !(1 << 30), !(1 << 27)), 0);
}
