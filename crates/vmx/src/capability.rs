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
    /// Those that may be.
    pub allowed: (u64, u64),
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
    may: INSTRUCTIONS | secondary::TRACE | secondary::CONCEAL,
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
    may: exit::SAVE_TIMER
        | exit::CLEAR_TRACE
        | exit::CLEAR_LBR
        | exit::CLEAR_BOUNDS
        | exit::CONCEAL,
    never: exit::CLEAR_TRACE | exit::CLEAR_LBR | exit::CLEAR_BOUNDS,
};

const ENTRY: Set = Set {
    names: &[
        (entry::LOAD_DEBUG, "loading of debug controls"),
        (entry::GUEST_LONG, "64-bit guests"),
        (entry::LOAD_PAT, "PAT at entries"),
        (entry::LOAD_EFER, "EFER at entries"),
    ],
    must: entry::LOAD_DEBUG | entry::LOAD_PAT | entry::LOAD_EFER,
    may: entry::LOAD_TRACE | entry::LOAD_LBR | entry::LOAD_BOUNDS | entry::CONCEAL,
    never: entry::GUEST_LONG | entry::LOAD_TRACE | entry::LOAD_LBR | entry::LOAD_BOUNDS,
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
            allowed: (read(msr::VMX_CR0_FIXED1), read(msr::VMX_CR4_FIXED1)),
            timer_shift: (read(msr::VMX_MISC) & misc::TIMER_SHIFT) as u8,
            invept_single: tables & ept_vpid::INVEPT_SINGLE != 0,
            string_io: about & basic::STRING_IO != 0,
        };
        this.trace_whole_or_not(read(msr::VMX_MISC));
        // Off at each exit and on again at the entry: the guest would read the VMM's branches, and those would clear its
        // bounds.
        for (off, on) in
            [(exit::CLEAR_LBR, entry::LOAD_LBR), (exit::CLEAR_BOUNDS, entry::LOAD_BOUNDS)]
        {
            if this.exit & off == 0 || this.entry & on == 0 {
                this.exit &= !off;
                this.entry &= !on;
            }
        }
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

/// What else an OS would switch on in an IA32_FEATURE_CONTROL that it finds unlocked: by CPUID 7.0 EBX and ECX, and
/// IA32_MCG_CAP.
#[must_use]
pub const fn offered(ebx: u32, ecx: u32, mcg_cap: u64) -> u64 {
    let sgx = if ebx & 1 << 2 != 0 { feature_control::SGX } else { 0 };
    let launch = if ecx & 1 << 30 != 0 { feature_control::SGX_LAUNCH } else { 0 };
    let local = if mcg_cap & 1 << 27 != 0 { feature_control::LOCAL_MACHINE_CHECK } else { 0 };
    sgx | launch | local
}

/// What is to be written to IA32_FEATURE_CONTROL so that VMXON works, if anything; with it goes what the CPU has
/// [`offered`], for the guest finds the register locked.
///
/// # Errors
/// [`Refusal::LockedOff`].
pub const fn feature_control(now: u64, offered: u64) -> Result<Option<u64>, Refusal> {
    match (now & feature_control::LOCK != 0, now & feature_control::VMX != 0) {
        (true, true) => Ok(None),
        (true, false) => Err(Refusal::LockedOff),
        (false, _) => Ok(Some(now | offered | feature_control::LOCK | feature_control::VMX)),
    }
}

#[cfg(test)]
#[path = "capability_tests.rs"]
pub(crate) mod tests;
