//! What this CPU's VMX can do, and the controls that follow. Pure: the capability MSRs come from the caller.
use core::fmt;
use x86defs::msr;
use x86defs::vmx::control::{entry, exit, pin, primary, secondary};
use x86defs::vmx::{basic, ept_vpid, feature_control, misc};

/// Why this CPU cannot run a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// CPUID does not report VMX.
    NoVmx,
    /// The firmware has switched VMX off and locked it (IA32_FEATURE_CONTROL).
    LockedOff,
    /// VMX without this.
    Lacks(&'static str),
    /// An exit that cannot be switched off.
    Forced(&'static str),
    /// VMXON or the first VMPTRLD failed.
    Failed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVmx => f.write_str("this CPU has no VMX: an Intel CPU with VMX is needed"),
            Self::LockedOff => f.write_str(
                "VMX is switched off and locked by the firmware (IA32_FEATURE_CONTROL): enable it (VT-x, \
                 Intel Virtualization Technology) in its setup",
            ),
            Self::Lacks(what) => write!(f, "this CPU's VMX lacks {what}: one from 2010 or later is needed"),
            Self::Forced(what) => {
                write!(f, "this CPU's VMX cannot do without {what}: one from 2010 or later is needed")
            }
            Self::Failed => f.write_str(
                "VMXON failed: another hypervisor may be running, or the emulator's VMX is incomplete",
            ),
        }
    }
}

/// The controls of this CPU, and what else of its VMX matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// Pin-based.
    pub pin: u32,
    /// Primary processor-based.
    pub primary: u32,
    /// Secondary processor-based.
    pub secondary: u32,
    /// VM exit.
    pub exit: u32,
    /// VM entry, for a guest that is not in long mode.
    pub entry: u32,
    /// Identifier of the VMCS's layout.
    pub revision: u32,
    /// CR0 bits that must be 1 in the guest, CR4 bits that must.
    pub fixed: (u64, u64),
    /// The preemption timer counts when this bit of the TSC changes.
    pub timer_shift: u8,
    /// INVEPT can be told one context.
    pub invept_single: bool,
    /// Exits of INS and OUTS tell their address size.
    pub string_io: bool,
}

/// One set of controls.
struct Set {
    /// The name of the first bit missing.
    names: &'static [(u32, &'static str)],
    /// Must be 1.
    must: u32,
    /// Shall be 1 where they can be.
    may: u32,
    /// Must be able to be 0.
    never: u32,
}

const PIN: Set = Set {
    names: &[
        (pin::NMI, "NMI exits"),
        (pin::VIRTUAL_NMIS, "virtual NMIs"),
        (pin::TIMER, "the preemption timer"),
        (1, "exits on external interrupts"),
    ],
    must: pin::NMI | pin::VIRTUAL_NMIS | pin::TIMER,
    may: 0,
    never: 1,
};

const PRIMARY: Set = Set {
    names: &[
        (primary::TSC_OFFSET, "TSC offsetting"),
        (primary::NMI_WINDOW, "NMI-window exits"),
        (primary::MOV_DR, "MOV DR exits"),
        (primary::MONITOR_TRAP, "the monitor trap flag"),
        (primary::IO_BITMAPS, "I/O bitmaps"),
        (primary::MSR_BITMAPS, "MSR bitmaps"),
        (primary::SECONDARY, "secondary controls"),
        (primary::CR3_LOAD | primary::CR3_STORE, "exits on CR3"),
        (primary::HLT, "exits on HLT"),
    ],
    must: primary::TSC_OFFSET | primary::IO_BITMAPS | primary::MSR_BITMAPS | primary::SECONDARY,
    may: 0,
    never: primary::CR3_LOAD | primary::CR3_STORE | primary::HLT,
};

/// Of the primary controls: asked for while somebody wants them.
const ON_DEMAND: u32 = primary::NMI_WINDOW
    | primary::MOV_DR
    | primary::MONITOR
    | primary::MWAIT
    | primary::MONITOR_TRAP;

/// Instructions that raise #UD in a guest without their control; where it is missing `hv` conceals them.
const INSTRUCTIONS: u32 =
    secondary::RDTSCP | secondary::INVPCID | secondary::XSAVES | secondary::USER_WAIT;

const SECONDARY: Set = Set {
    names: &[
        (secondary::EPT, "extended page tables (EPT)"),
        (secondary::VPID, "VPID"),
        (secondary::UNRESTRICTED, "unrestricted guest"),
    ],
    must: secondary::EPT | secondary::VPID | secondary::UNRESTRICTED,
    may: INSTRUCTIONS | secondary::TRACE,
    never: secondary::TRACE,
};

const EXIT: Set = Set {
    names: &[
        (exit::SAVE_DEBUG, "saving of debug controls"),
        (exit::HOST_LONG, "a 64-bit host"),
        (exit::SAVE_PAT | exit::LOAD_PAT, "PAT at exits"),
        (exit::SAVE_EFER | exit::LOAD_EFER, "EFER at exits"),
    ],
    must: exit::SAVE_DEBUG
        | exit::HOST_LONG
        | exit::SAVE_PAT
        | exit::LOAD_PAT
        | exit::SAVE_EFER
        | exit::LOAD_EFER,
    may: exit::SAVE_TIMER | exit::CLEAR_TRACE,
    never: exit::CLEAR_TRACE,
};

const ENTRY: Set = Set {
    names: &[
        (entry::LOAD_DEBUG, "loading of debug controls"),
        (entry::GUEST_LONG, "64-bit guests"),
        (entry::LOAD_PAT, "PAT at entries"),
        (entry::LOAD_EFER, "EFER at entries"),
    ],
    must: entry::LOAD_DEBUG | entry::LOAD_PAT | entry::LOAD_EFER,
    may: entry::LOAD_TRACE,
    never: entry::GUEST_LONG | entry::LOAD_TRACE,
};

impl Set {
    fn name(&self, bits: u32) -> &'static str {
        let found = self.names.iter().find(|(of, _)| of & bits != 0);
        found.map_or("a control", |(_, name)| name)
    }

    /// The value for a CPU whose capability MSR has in its lower half the bits that must be 1 and in its upper
    /// half those that may (SDM 3D, A.2).
    fn on(&self, capability: u64) -> Result<u32, Refusal> {
        let (forced, allowed) = (capability as u32, (capability >> 32) as u32);
        let missing = self.must & !allowed;
        if missing != 0 {
            return Err(Refusal::Lacks(self.name(missing)));
        }
        let unwanted = self.never & forced;
        if unwanted != 0 {
            return Err(Refusal::Forced(self.name(unwanted)));
        }
        Ok(self.must | self.may & allowed | forced)
    }
}

impl Controls {
    /// The controls for a CPU with these capability MSRs.
    ///
    /// # Errors
    /// The first thing missing.
    pub fn new(read: impl Fn(u32) -> u64) -> Result<Self, Refusal> {
        let about = read(msr::VMX_BASIC);
        let set = |what: &Set, plain, real| {
            what.on(read(if about & basic::TRUE_CONTROLS != 0 { real } else { plain }))
        };
        let primary_may = |which: u32| {
            if about & basic::TRUE_CONTROLS != 0 {
                read(msr::VMX_TRUE_PRIMARY)
            } else {
                read(which)
            }
        };
        let pin = set(&PIN, msr::VMX_PIN, msr::VMX_TRUE_PIN)?;
        let primary = set(&PRIMARY, msr::VMX_PRIMARY, msr::VMX_TRUE_PRIMARY)?;
        let may = (primary_may(msr::VMX_PRIMARY) >> 32) as u32;
        let missing = ON_DEMAND & !may;
        if missing != 0 {
            return Err(Refusal::Lacks(PRIMARY.name(missing)));
        }
        let secondary = SECONDARY.on(read(msr::VMX_SECONDARY))?;
        let exit = set(&EXIT, msr::VMX_EXIT, msr::VMX_TRUE_EXIT)?;
        let entry = set(&ENTRY, msr::VMX_ENTRY, msr::VMX_TRUE_ENTRY)?;
        let tables = read(msr::VMX_EPT_VPID);
        for (bit, name) in [
            (ept_vpid::FOUR_LEVELS, "EPT walks of four levels"),
            (ept_vpid::WRITE_BACK, "write-back EPT"),
            (ept_vpid::PAGE_2M, "EPT pages of 2 MiB"),
            (ept_vpid::INVEPT, "INVEPT"),
            (ept_vpid::INVEPT_ALL, "INVEPT of all contexts"),
        ] {
            if tables & bit == 0 {
                return Err(Refusal::Lacks(name));
            }
        }
        let mut this = Self {
            pin,
            primary,
            secondary,
            exit,
            entry,
            revision: (about & basic::REVISION) as u32,
            fixed: (read(msr::VMX_CR0_FIXED0), read(msr::VMX_CR4_FIXED0)),
            timer_shift: (read(msr::VMX_MISC) & misc::TIMER_SHIFT) as u8,
            invept_single: tables & ept_vpid::INVEPT_SINGLE != 0,
            string_io: about & basic::STRING_IO != 0,
        };
        this.trace_whole_or_not(read(msr::VMX_MISC));
        Ok(this)
    }

    /// Processor trace must write through the EPT, and not while the VMM runs, whose own memory its addresses would
    /// be: all three controls, as entries demand (SDM 3C, 26.2.1.1), or none.
    fn trace_whole_or_not(&mut self, about: u64) {
        let whole = about & misc::TRACE != 0
            && self.secondary & secondary::TRACE != 0
            && self.exit & exit::CLEAR_TRACE != 0
            && self.entry & entry::LOAD_TRACE != 0;
        if !whole {
            self.secondary &= !secondary::TRACE;
            self.exit &= !exit::CLEAR_TRACE;
            self.entry &= !entry::LOAD_TRACE;
        }
    }

    /// Whether what is left of the preemption timer outlasts an exit.
    #[must_use]
    pub const fn saves_timer(&self) -> bool {
        self.exit & exit::SAVE_TIMER != 0
    }
}

/// What is to be written to IA32_FEATURE_CONTROL so that VMXON works, if anything.
///
/// # Errors
/// [`Refusal::LockedOff`].
pub const fn feature_control(now: u64) -> Result<Option<u64>, Refusal> {
    match (now & feature_control::LOCK != 0, now & feature_control::VMX != 0) {
        (true, true) => Ok(None),
        (true, false) => Err(Refusal::LockedOff),
        (false, _) => Ok(Some(now | feature_control::LOCK | feature_control::VMX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Haswell as Bochs 2.7 models it, but for the save-timer control, which `save` adds.
    fn haswell(save: bool, true_controls: bool) -> impl Fn(u32) -> u64 {
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
        for bit in [secondary::RDTSCP, secondary::INVPCID, secondary::XSAVES, secondary::USER_WAIT]
        {
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
        let known = SECONDARY.must | INSTRUCTIONS;
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
        assert_eq!(
            lack(msr::VMX_SECONDARY, 0x80 << 32),
            Refusal::Lacks("extended page tables (EPT)")
        );
        assert_eq!(lack(msr::VMX_TRUE_PIN, 0x3f_0000_0016), Refusal::Lacks("the preemption timer"));
        assert_eq!(
            lack(msr::VMX_EPT_VPID, !ept_vpid::PAGE_2M),
            Refusal::Lacks("EPT pages of 2 MiB")
        );
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
        assert_eq!(feature_control(5), Ok(None));
        assert_eq!(feature_control(1), Err(Refusal::LockedOff));
        assert_eq!(feature_control(0), Ok(Some(5)));
        assert_eq!(feature_control(1 << 18), Ok(Some(5 | 1 << 18)));
    }
}
