//! One virtual CPU: what it is made of.
use crate::{bochs, event, maps::MsrMap, registers, switch, tcg};
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::AtomicBool;
use vcpu::{Capabilities, IoMap, Seg, Segment, System, Vcpu};
use x86defs::vmcb::{Vmcb, intercept1 as i1, intercept2 as i2, np_enable, tlb};
use x86defs::{cr, msr, segment, vector};

/// The pages and tables of one virtual CPU. Addresses named `hpa` are physical.
pub struct Parts {
    /// What [`crate::enable`] found.
    pub capabilities: Capabilities,
    /// The guest's VMCB.
    pub vmcb: NonNull<Vmcb>,
    /// Its address.
    pub vmcb_hpa: u64,
    /// A page for the host's half of VMLOAD and VMSAVE.
    pub host_vmcb_hpa: u64,
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
    /// IDTR operand of the interrupt window: each stub puts its vector in R10D, clears IF in the frame
    /// and returns.
    pub window_idtr: *const c_void,
    /// IDTR operand of the VMM's own IDT.
    pub main_idtr: *const c_void,
    /// Set by this CPU's NMI handler.
    pub nmi: &'static AtomicBool,
    /// Set by this CPU's handlers when an INIT came as #SX.
    pub init: &'static AtomicBool,
}

/// A virtual CPU on SVM.
pub struct Svm {
    pub(crate) gprs: [u64; 16],
    pub(crate) parts: Parts,
    /// TLB_CONTROL of the next entry, and what it is to forget this guest's translations.
    pub(crate) flush: u8,
    pub(crate) flush_all: u8,
    /// The event in EVENTINJ is an INT n, INT3 or INTO of ours, which pushes this RIP.
    pub(crate) software: bool,
    pub(crate) software_next: u64,
    /// See [`crate::tcg`]; whether a virtual interrupt was left over by the last run.
    pub(crate) tcg: bool,
    /// See [`crate::bochs`].
    pub(crate) bochs: bool,
    pub(crate) left: bool,
    /// V_TPR as interrupts began to be held.
    pub(crate) tpr: u32,
    pub(crate) everything: bool,
    /// QEMU 7.2's TCG does not know ICEBP and raises #UD for its opcode. On a real CPU the guest's own
    /// #UD exits as well while a software breakpoint is set, and is delivered unchanged.
    pub(crate) ud_for_tcg: bool,
}

/// Always on, as the CPU forces it or the VMM must (DESIGN, "Nothing in the way").
const ALWAYS1: u32 = i1::INTR
    | i1::NMI
    | i1::INIT
    | i1::CPUID
    | i1::INVD
    | i1::HLT
    | i1::INVLPGA
    | i1::IOIO_PROT
    | i1::MSR_PROT
    | i1::SHUTDOWN;
const ALWAYS2: u32 =
    i2::VMRUN | i2::VMMCALL | i2::VMLOAD | i2::VMSAVE | i2::STGI | i2::CLGI | i2::SKINIT;

impl Svm {
    /// A virtual CPU in the state after reset, but at 0000:0000 in conventional memory.
    ///
    /// # Safety
    /// SVM is enabled on this CPU and GIF is 0; every address in `parts` is what it says, zeroed, in
    /// the hole, and used by nothing else; the CPU's descriptor tables are final.
    #[must_use]
    pub unsafe fn new(parts: Parts) -> Self {
        switch::vmsave(parts.host_vmcb_hpa);
        // The MSRs of system calls as the firmware leaves them; what else it saves `init` replaces.
        switch::vmsave(parts.vmcb_hpa);
        let (io_map_hpa, msr_map_hpa) = (parts.io_map_hpa, parts.msr_map_hpa);
        let nested_root = parts.nested_root;
        let invlpgb = parts.capabilities.invlpgb;
        let by_asid = parts.capabilities.flush_by_asid;
        let flush_all = if by_asid { tlb::GUEST } else { tlb::ALL };
        let mut this = Self {
            gprs: [0; 16],
            parts,
            flush: flush_all,
            flush_all,
            software: false,
            software_next: 0,
            tcg: tcg::present(),
            bochs: bochs::present(),
            left: false,
            tpr: 0,
            everything: false,
            ud_for_tcg: false,
        };
        let Vmcb { control, save } = this.vmcb_mut();
        control.intercept1 = ALWAYS1;
        control.intercept2 = ALWAYS2;
        control.iopm_base_pa = io_map_hpa;
        control.msrpm_base_pa = msr_map_hpa;
        control.asid = 1;
        control.np_enable = np_enable::NP | if invlpgb { np_enable::INVLPGB } else { 0 };
        control.n_cr3 = nested_root;
        save.efer = cr::EFER_SVME;
        save.g_pat = switch::rdmsr(msr::PAT);
        this.set_exceptions();
        this.init();
        this.set_segment(Seg::Cs, Segment::real(0, segment::CODE16));
        this.set_segment(Seg::Idtr, Segment { limit: 0x3ff, ..Segment::default() });
        this.set_system(System::Rip, 0);
        this
    }

    /// An event is queued for the next entry.
    #[cold]
    pub(crate) fn before_delivery(&mut self) {
        if self.tcg && !core::mem::take(&mut self.left) {
            tcg::before(&mut self.vmcb_mut().control);
        }
    }

    /// The exit interrupted the delivery of an event.
    #[cold]
    pub(crate) fn after_delivery(&mut self) {
        let (ours, software_next) = (self.software, self.software_next);
        let control = &mut self.vmcb_mut().control;
        let requeued = event::again(control.exit_int_info, ours);
        control.event_inj = requeued;
        if ours && requeued != 0 {
            // Every exit clears it, and our INT n must push it again.
            control.next_rip = software_next;
        }
        self.software = ours && requeued != 0;
    }

    // The CPU writes the VMCB while the guest runs, so no reference to it outlives a method.
    #[inline]
    pub(crate) fn vmcb(&self) -> &Vmcb {
        // SAFETY: `Parts` gave the page to this vCPU alone; the guest is not running now.
        unsafe { self.parts.vmcb.as_ref() }
    }

    #[inline]
    pub(crate) fn vmcb_mut(&mut self) -> &mut Vmcb {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { self.parts.vmcb.as_mut() }
    }

    pub(crate) fn bit1(&mut self, bits: u32, on: bool) {
        let field = &mut self.vmcb_mut().control.intercept1;
        *field = if on { *field | bits } else { *field & !bits };
    }

    pub(crate) fn set_exceptions(&mut self) {
        // Always #DB and #AC: the delivery of either can raise it again for ever, within one instruction
        // and with no way in for an interrupt (CVE-2015-8104, CVE-2015-5307).
        let always = 1 << vector::DB | 1 << vector::AC;
        let invalid = u32::from(self.ud_for_tcg) << vector::UD;
        let all = if self.everything { u32::MAX } else { always | invalid };
        self.vmcb_mut().control.intercept_exceptions = all;
    }

    pub(crate) fn bit2(&mut self, bits: u32, on: bool) {
        let field = &mut self.vmcb_mut().control.intercept2;
        *field = if on { *field | bits } else { *field & !bits };
    }
}

pub(crate) fn set(save: &mut x86defs::vmcb::Save, register: Seg, value: Segment) {
    if let Some(place) = save.segments.get_mut(registers::index(register)) {
        *place = value;
    }
}
