//! One virtual CPU: what it is made of.
use crate::capability::Controls;
use crate::maps::MsrMap;
use crate::registers::{CR4_OURS, update};
use crate::switch::{self, vmread, vmwrite};
use core::sync::atomic::AtomicBool;
use vcpu::{Absent, Capabilities, Event, IoMap, Seg, Segment, System, Vcpu};
use x86defs::vmx::control::{entry, pin, primary, secondary};
use x86defs::vmx::{EPTP_FLAGS, field};
use x86defs::{cr, msr, segment, vector};

/// The pages and tables of one virtual CPU. Addresses named `hpa` are physical.
pub struct Parts {
    /// What [`crate::enable`] found.
    pub controls: Controls,
    /// Ports that exit.
    pub io_map: IoMap,
    /// Its address.
    pub io_map_hpa: u64,
    /// MSRs that exit.
    pub msr_map: MsrMap,
    /// Its address.
    pub msr_map_hpa: u64,
    /// Root of the nested tables.
    pub nested_root: u64,
    /// The VMM's own state.
    pub host: HostState,
    /// Set by this CPU's NMI handler, which sends who is between `vmx_switch_open` and `vmx_switch_enter` to
    /// `vmx_switch_nmi`.
    pub nmi: &'static AtomicBool,
    /// TSC ticks in a millisecond.
    pub millisecond: u64,
}

/// What of the VMM's state an exit loads and cannot be read back.
#[derive(Clone, Copy, Debug)]
pub struct HostState {
    /// Code, data and task selectors.
    pub selectors: (u16, u16, u16),
    /// Base of the task-state segment.
    pub task: u64,
    /// Base of GS.
    pub gs: u64,
}

/// How often the guest is interrupted to look at the line: nobody attached, and somebody.
const TICK: (u64, u64) = (10, 1);

/// A virtual CPU on VMX.
pub struct Vmx {
    /// RSP's place holds what HOST_RSP was last.
    pub(crate) gprs: [u64; 16],
    pub(crate) rip: u64,
    pub(crate) parts: Parts,
    /// The event for the next entry, and the one of the entry under way.
    pub(crate) queued: Option<Event>,
    pub(crate) injecting: Option<Event>,
    /// Something is to be done before the next entry beside entering.
    pub(crate) prepare: bool,
    /// Physical interrupts wait.
    pub(crate) hold: bool,
    /// They do by the shadow of an STI of ours, at this RIP. Behind the instruction there any shadow is the guest's own.
    pub(crate) shadowed: Option<u64>,
    /// Mirrors of what was written last.
    pub(crate) primary: u32,
    pub(crate) exceptions: u32,
    /// Ticks of the timer until the next tick of the link.
    pub(crate) period: u32,
    /// Where the CPU does not save the timer: the TSC at the last tick, and how long one takes.
    pub(crate) last_tick: u64,
    pub(crate) tick_length: u64,
    pub(crate) init: bool,
    /// The guest was in HLT at the last exit that looked.
    pub(crate) asleep: bool,
    /// The exit that is not a good one, for [`Vcpu::why_invalid`].
    pub(crate) refused: Option<Refused>,
}

/// A failed entry, or an exit that says that the VMM was wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refused {
    /// VMRESUME or VMLAUNCH failed with this VM-instruction error.
    Instruction(u32),
    /// An exit with this reason.
    Exit(u32),
}

impl Vmx {
    /// A virtual CPU in the state after reset, but at 0000:0000 in conventional memory.
    ///
    /// # Safety
    /// [`crate::enable`] succeeded on this CPU, and its VMCS is the current one; every address in `parts` is what it
    /// says, zeroed, in the hole, and used by nothing else; the CPU's descriptor tables are final.
    #[must_use]
    pub unsafe fn new(parts: Parts) -> Self {
        let primary = parts.controls.primary;
        let root = parts.nested_root;
        let mut this = Self {
            gprs: [0; 16],
            rip: 0,
            parts,
            queued: None,
            injecting: None,
            prepare: false,
            hold: false,
            shadowed: None,
            primary,
            exceptions: 0,
            period: 0,
            last_tick: switch::tsc(),
            tick_length: 0,
            init: false,
            asleep: false,
            refused: None,
        };
        Self::clear_guest();
        this.write_controls();
        this.write_host();
        vmwrite(field::EPT_POINTER, root | EPTP_FLAGS);
        // MSRs as the firmware leaves them.
        for (to, register) in [
            (field::GUEST_PAT, msr::PAT),
            (field::GUEST_SYSENTER_CS, msr::SYSENTER_CS),
            (field::GUEST_SYSENTER_ESP, msr::SYSENTER_ESP),
            (field::GUEST_SYSENTER_EIP, msr::SYSENTER_EIP),
        ] {
            vmwrite(to, switch::rdmsr(register));
        }
        this.set_exceptions(false);
        this.set_tick(TICK.0);
        this.init();
        this.set_segment(Seg::Cs, Segment::real(0, segment::CODE16));
        this.set_segment(Seg::Idtr, Segment { limit: 0x3ff, ..Segment::default() });
        this.set_system(System::Rip, 0);
        this
    }

    /// Every field of the guest's is written once (SDM 3C, 24.11.3); there is none at some of these numbers.
    fn clear_guest() {
        for first in [0x0800, 0x2800, 0x4800, 0x6800_u32] {
            for field in (first..).step_by(2).take(24) {
                vmwrite(field, 0);
            }
        }
    }

    fn write_controls(&self) {
        let Controls { pin, primary, secondary, exit, entry, .. } = self.parts.controls;
        for (to, value) in [
            (field::PIN_CONTROLS, pin),
            (field::PRIMARY_CONTROLS, primary),
            (field::SECONDARY_CONTROLS, secondary),
            (field::EXIT_CONTROLS, exit),
            (field::ENTRY_CONTROLS, entry),
            (field::VPID, 1),
            (field::PF_ERROR_MASK, 0),
            (field::PF_ERROR_MATCH, 0),
            (field::CR3_TARGETS, 0),
            (field::EXIT_MSR_STORES, 0),
            (field::EXIT_MSR_LOADS, 0),
            (field::ENTRY_MSR_LOADS, 0),
            (field::ENTRY_EVENT, 0),
        ] {
            vmwrite(to, value.into());
        }
        let (io, msrs) = (self.parts.io_map_hpa, self.parts.msr_map_hpa);
        vmwrite(field::IO_BITMAP_A, io);
        vmwrite(field::IO_BITMAP_B, io.wrapping_add(0x1000));
        vmwrite(field::MSR_BITMAP, msrs);
        vmwrite(field::TSC_OFFSET, 0);
        vmwrite(field::LINK_POINTER, u64::MAX);
        vmwrite(field::CR0_MASK, cr::CR0_NE);
        vmwrite(field::CR4_MASK, CR4_OURS);
        if secondary & secondary::XSAVES != 0 {
            let absent = self.offers().absent;
            let trace = if absent.trace { msr::XSS_TRACE } else { 0 };
            let records = if absent.branch_records { msr::XSS_BRANCH_RECORDS } else { 0 };
            vmwrite(field::XSS_EXITING, trace | records);
        }
        debug_assert!(pin & pin::TIMER != 0 && primary & primary::SECONDARY != 0);
    }

    /// The VMM as it runs now (SDM 3C, 24.5).
    fn write_host(&self) {
        let HostState { selectors: (code, data, task), task: task_base, gs } = self.parts.host;
        for selector in [field::HOST_ES_SELECTOR, field::HOST_SS_SELECTOR, field::HOST_DS_SELECTOR]
        {
            vmwrite(selector, data.into());
        }
        vmwrite(field::HOST_CS_SELECTOR, code.into());
        vmwrite(field::HOST_TR_SELECTOR, task.into());
        let (gdt, idt) = switch::table_bases();
        for (to, value) in [
            (field::HOST_FS_SELECTOR, 0),
            (field::HOST_GS_SELECTOR, 0),
            (field::HOST_SYSENTER_CS, 0),
            (field::HOST_SYSENTER_ESP, 0),
            (field::HOST_SYSENTER_EIP, 0),
            (field::HOST_FS_BASE, 0),
            (field::HOST_GS_BASE, gs),
            (field::HOST_TR_BASE, task_base),
            (field::HOST_GDTR_BASE, gdt),
            (field::HOST_IDTR_BASE, idt),
            (field::HOST_CR0, switch::read_cr0()),
            (field::HOST_CR3, switch::read_cr3()),
            (field::HOST_CR4, switch::read_cr4()),
            (field::HOST_EFER, switch::rdmsr(msr::EFER)),
            (field::HOST_PAT, switch::rdmsr(msr::PAT)),
            (field::HOST_RIP, switch::vmx_switch_exit as *const () as u64),
        ] {
            vmwrite(to, value);
        }
    }

    /// What the CPU offers, for `hv`.
    pub(crate) fn offers(&self) -> Capabilities {
        let lacks = |bit| self.parts.controls.secondary & bit == 0;
        Capabilities {
            next_rip: true,
            decode_assists: true,
            flush_by_asid: true,
            timer: true,
            monitor_trap: true,
            vmx: true,
            absent: Absent {
                rdtscp: lacks(secondary::RDTSCP),
                invpcid: lacks(secondary::INVPCID),
                xsaves: lacks(secondary::XSAVES),
                user_wait: lacks(secondary::USER_WAIT),
                trace: lacks(secondary::TRACE),
                branch_records: self.parts.controls.entry & entry::LOAD_LBR == 0,
            },
            ..Capabilities::default()
        }
    }

    /// Primary controls on or off.
    pub(crate) fn set_primary(&mut self, bits: u32, on: bool) {
        let wanted = if on { self.primary | bits } else { self.primary & !bits };
        if wanted != self.primary {
            self.primary = wanted;
            vmwrite(field::PRIMARY_CONTROLS, wanted.into());
        }
    }

    /// Always #DB and #AC: the delivery of either can raise it again for ever, within one instruction and with no
    /// way in for an interrupt or the timer (CVE-2015-8104, CVE-2015-5307).
    pub(crate) fn set_exceptions(&mut self, all: bool) {
        let wanted = if all { u32::MAX } else { 1 << vector::DB | 1 << vector::AC };
        if wanted != self.exceptions {
            self.exceptions = wanted;
            vmwrite(field::EXCEPTION_BITMAP, wanted.into());
        }
    }

    /// Somebody is attached, or nobody.
    pub(crate) fn set_attached(&mut self, attached: bool) {
        self.set_tick(if attached { TICK.1 } else { TICK.0 });
    }

    fn set_tick(&mut self, milliseconds: u64) {
        self.tick_length = self.parts.millisecond.wrapping_mul(milliseconds);
        let ticks = self.tick_length.wrapping_shr(u32::from(self.parts.controls.timer_shift));
        let period = u32::try_from(ticks).unwrap_or(u32::MAX).max(1);
        if period != self.period {
            self.period = period;
            self.restart_timer();
        }
    }

    pub(crate) fn restart_timer(&mut self) {
        update(field::TIMER_VALUE, self.period.into());
        self.last_tick = switch::tsc();
    }

    /// Bits of the guest's interruptibility state, on or off.
    pub(crate) fn set_shadow(&self, bits: u64, on: bool) {
        let now = vmread(field::GUEST_INTERRUPTIBILITY);
        let wanted = if on { now | bits } else { now & !bits };
        if wanted != now {
            vmwrite(field::GUEST_INTERRUPTIBILITY, wanted);
        }
    }
}
