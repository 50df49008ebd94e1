//! A virtual CPU that exits as it is told.
use super::std;
use std::collections::VecDeque;
use std::vec::Vec;
use vcpu::{Capabilities, Event, Exit, Gpr, Intercept, Seg, Segment, System, Vcpu, Wait};
use x86defs::{cr, dr, rflags, segment};

#[derive(Debug, Default)]
pub(super) struct ModelVcpu {
    pub(super) capabilities: Capabilities,
    pub(super) gprs: [u64; 16],
    system: [u64; 17],
    segments: [Segment; 10],
    pub(super) cpl: u8,
    pub(super) dr: [u64; 4],
    /// What the next runs end with.
    pub(super) script: VecDeque<Exit>,
    pub(super) next_rip: Option<u64>,
    pub(super) queued: Option<Event>,
    /// The delivery of this event was interrupted by the next exit.
    pub(super) interrupted: Option<Event>,
    /// RFLAGS as the guest was entered with it the last time.
    pub(super) entered_flags: u64,
    /// What was delivered by entries.
    pub(super) delivered: Vec<Event>,
    intercepts: Vec<Intercept>,
    pub(super) held: bool,
    /// What the step that ends next has met.
    pub(super) breakpoints: u64,
    pub(super) shadow: bool,
    /// What the next waits give.
    pub(super) pending: VecDeque<u8>,
    pub(super) waits: Vec<Wait>,
    /// An NMI is taken as soon as the VMM opens the window.
    pub(super) nmi_in_window: bool,
    pub(super) nmi: bool,
    pub(super) init: bool,
    pub(super) tsc_offset: u64,
    pub(super) root: u64,
    pub(super) flushes: u32,
    pub(super) ports: Vec<(u16, u16)>,
    pub(super) msrs: Vec<u32>,
}

impl ModelVcpu {
    pub(super) fn intercepts(&self, what: Intercept) -> bool {
        self.intercepts.contains(&what)
    }

    /// Set or clear bits of a system register.
    pub(super) fn change(&mut self, register: System, bits: u64, on: bool) {
        let old = self.system(register);
        self.set_system(register, if on { old | bits } else { old & !bits });
    }
}

impl Vcpu for ModelVcpu {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
    fn init(&mut self) {
        self.gprs = [0; 16];
        self.queued = None;
        for register in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
            self.set_segment(register, Segment::real(0, segment::DATA16));
        }
        let cs = Segment::real(0xf000, segment::CODE16);
        self.set_segment(Seg::Cs, Segment { base: 0xffff_0000, ..cs });
        self.set_system(System::Cr0, cr::CR0_ET);
        self.set_system(System::Efer, cr::EFER_SVME);
        self.set_system(System::Rip, 0xfff0);
        self.set_system(System::Rflags, rflags::RESERVED_ONE);
        self.set_system(System::Dr6, dr::DR6_INIT);
        self.set_system(System::Dr7, dr::DR7_INIT);
        self.dr = [0; 4];
    }
    fn run(&mut self) -> Exit {
        let exit = self.script.pop_front().expect("the script ends here");
        self.entered_flags = self.system(System::Rflags);
        let queued = self.queued.take();
        self.queued = self.interrupted.take();
        if self.queued.is_none() {
            self.delivered.extend(queued);
        }
        exit
    }

    fn gpr(&self, register: Gpr) -> u64 {
        self.gprs[register as usize]
    }
    fn set_gpr(&mut self, register: Gpr, value: u64) {
        self.gprs[register as usize] = value;
    }
    fn system(&self, register: System) -> u64 {
        self.system[register as usize]
    }
    fn set_system(&mut self, register: System, value: u64) {
        self.system[register as usize] = value;
    }
    fn segment(&self, register: Seg) -> Segment {
        self.segments[register as usize]
    }
    fn set_segment(&mut self, register: Seg, value: Segment) {
        if register == Seg::Ss {
            self.cpl = value.dpl();
        }
        self.segments[register as usize] = value;
    }
    fn cpl(&self) -> u8 {
        self.cpl
    }
    fn debug_address(&self, n: usize) -> u64 {
        self.dr[n]
    }
    fn set_debug_address(&mut self, n: usize, value: u64) {
        self.dr[n] = value;
    }

    fn tsc_offset(&self) -> u64 {
        self.tsc_offset
    }
    fn set_tsc_offset(&mut self, offset: u64) {
        self.tsc_offset = offset;
    }
    fn next_rip(&self) -> Option<u64> {
        self.next_rip
    }
    fn clear_interrupt_shadow(&mut self) {
        self.shadow = false;
    }
    fn inject(&mut self, event: Event) {
        self.queued = Some(event);
    }
    fn queued(&self) -> Option<Event> {
        self.queued
    }
    fn intercept(&mut self, what: Intercept, on: bool) {
        self.intercepts.retain(|it| *it != what);
        if on {
            self.intercepts.push(what);
        }
    }
    fn watch_ports(&mut self, first: u16, count: u16, on: bool) {
        assert!(on);
        self.ports.push((first, count));
    }
    fn watch_msr(&mut self, msr: u32, _read: bool, write: bool) {
        assert!(write);
        self.msrs.push(msr);
    }
    fn take_breakpoints(&mut self) -> u64 {
        core::mem::take(&mut self.breakpoints)
    }
    fn hold_interrupts(&mut self, on: bool) {
        self.held = on;
    }
    fn wait(&mut self, how: Wait) -> Option<u8> {
        self.waits.push(how);
        self.nmi |= core::mem::take(&mut self.nmi_in_window);
        if how == Wait::Nmi { None } else { self.pending.pop_front() }
    }
    fn take_nmi(&mut self) -> bool {
        core::mem::take(&mut self.nmi)
    }
    fn take_init(&mut self) -> bool {
        core::mem::take(&mut self.init)
    }
    fn set_nested_root(&mut self, root: u64) {
        self.root = root;
        self.flushes += 1;
    }
    fn flush(&mut self) {
        self.flushes += 1;
    }
}
