//! [`Vcpu`] on SVM: running the guest, its registers, what it may do.
use crate::parts::{Svm, set};
use crate::{bochs, decode::decode, event, registers, switch, tcg};
use core::sync::atomic::Ordering;
use vcpu::{Capabilities, Event, Exit, Gpr, Intercept, Seg, Segment, System, Vcpu, Wait};
use x86defs::vmcb::event as vmcb_event;
use x86defs::vmcb::{Vmcb, int_ctl, intercept1 as i1, intercept2 as i2, tlb};
use x86defs::{cr, dr, msr, rflags, segment, vector};

/// About a millisecond of the TSC at 2 to 4 GHz: how often an idle CPU looks at the line.
const MWAITX_TICKS: u32 = 3_000_000;

impl Vcpu for Svm {
    fn capabilities(&self) -> Capabilities {
        self.parts.capabilities
    }

    fn init(&mut self) {
        self.gprs = [0; 16];
        self.set_gpr(Gpr::Rdx, u64::from(core::arch::x86_64::__cpuid(1).eax));
        self.left = false;
        let Vmcb { control, save } = self.vmcb_mut();
        control.event_inj = 0;
        control.interrupt_shadow = 0;
        for register in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
            set(save, register, Segment::real(0, segment::DATA16));
        }
        set(save, Seg::Cs, Segment { base: 0xffff_0000, ..Segment::real(0xf000, segment::CODE16) });
        set(save, Seg::Ldtr, Segment::real(0, segment::LDT));
        set(save, Seg::Tr, Segment::real(0, segment::TSS_BUSY));
        set(save, Seg::Gdtr, Segment::real(0, 0));
        set(save, Seg::Idtr, Segment::real(0, 0));
        // INIT keeps CD and NW (APM 2, table 14-1), the FPU, XCR0, the TSC, the MTRRs and all MSRs but EFER.
        save.cr0 = cr::CR0_ET | save.cr0 & (cr::CR0_CD | cr::CR0_NW);
        (save.cr2, save.cr3, save.cr4) = (0, 0, 0);
        save.efer = cr::EFER_SVME;
        save.cpl = 0;
        save.rip = 0xfff0;
        (save.rsp, save.rax) = (0, 0);
        save.rflags = rflags::RESERVED_ONE;
        save.dr6 = dr::DR6_INIT;
        save.dr7 = dr::DR7_INIT;
        for n in 0..4 {
            self.set_debug_address(n, 0);
        }
        self.flush = self.flush_all;
    }

    #[inline(always)]
    fn run(&mut self) -> Exit {
        let flush = core::mem::replace(&mut self.flush, tlb::NONE);
        self.vmcb_mut().control.tlb_control = flush;
        if self.vmcb().control.event_inj != 0 {
            self.before_delivery();
        }
        // SAFETY: `new` got valid pages; the guest's memory is bounded by the nested tables, which
        // never map the hole but for the FFh page, so nothing of the VMM changes but these registers.
        unsafe {
            switch::svm_switch(&mut self.gprs, self.parts.vmcb_hpa, self.parts.host_vmcb_hpa);
        }
        let control = &mut self.vmcb_mut().control;
        control.event_inj = 0;
        if control.exit_int_info & vmcb_event::VALID != 0 {
            self.after_delivery();
        } else {
            self.software = false;
        }
        if self.tcg {
            let Vmcb { control, save } = self.vmcb_mut();
            if tcg::unlawful(save) {
                tcg::repair(save);
            }
            if tcg::virtual_interrupt(control) {
                self.left = tcg::after(control);
            }
        }
        let control = &self.vmcb().control;
        let exit = decode(control.exit_code, control.exit_info1, control.exit_info2);
        match exit {
            // Both are still pending, and taken by our handlers as soon as GIF is 1 (APM 2, 15.21.8, 15.28).
            Exit::Nmi | Exit::Init => drop(self.wait(Wait::Nmi)),
            Exit::Exception { vector: vector::DB, .. } if self.bochs => {
                bochs::name_cause(&mut self.vmcb_mut().save, switch::read_dr);
            }
            _ => {}
        }
        exit
    }

    #[inline]
    fn gpr(&self, register: Gpr) -> u64 {
        match register {
            Gpr::Rax => self.vmcb().save.rax,
            Gpr::Rsp => self.vmcb().save.rsp,
            other => self.gprs.get(other as usize).copied().unwrap_or(0),
        }
    }

    #[inline]
    fn set_gpr(&mut self, register: Gpr, value: u64) {
        match register {
            Gpr::Rax => self.vmcb_mut().save.rax = value,
            Gpr::Rsp => self.vmcb_mut().save.rsp = value,
            other => {
                if let Some(place) = self.gprs.get_mut(other as usize) {
                    *place = value;
                }
            }
        }
    }

    #[inline]
    fn system(&self, register: System) -> u64 {
        match register {
            System::Cr8 => switch::read_cr8(),
            System::DebugCtl => switch::rdmsr(msr::DEBUGCTL),
            other => registers::value(&self.vmcb().save, other),
        }
    }

    #[inline]
    fn set_system(&mut self, register: System, value: u64) {
        if register == System::Dr7 {
            switch::arm_dr7_for_tcg(value);
        }
        if register == System::Cr2 {
            switch::load_cr2_for_bochs(value);
        }
        match registers::field(&mut self.vmcb_mut().save, register) {
            Some(field) => *field = value,
            None if register == System::Cr8 => switch::write_cr8(value),
            // SAFETY: it is the guest's all the time; the VMM has TF off, and no use for branch records.
            None => unsafe { switch::wrmsr(msr::DEBUGCTL, value) },
        }
    }

    fn segment(&self, register: Seg) -> Segment {
        self.vmcb().save.segments.get(registers::index(register)).copied().unwrap_or_default()
    }

    fn set_segment(&mut self, register: Seg, value: Segment) {
        if register == Seg::Ss {
            // The CPL of the VMCB is SS's DPL (APM 2, 15.5.1).
            self.vmcb_mut().save.cpl = value.dpl();
        }
        set(&mut self.vmcb_mut().save, register, value);
    }

    fn cpl(&self) -> u8 {
        self.vmcb().save.cpl
    }

    fn debug_address(&self, n: usize) -> u64 {
        switch::read_dr(n)
    }

    fn set_debug_address(&mut self, n: usize, value: u64) {
        switch::write_dr(n, value);
    }

    fn tsc_offset(&self) -> u64 {
        self.vmcb().control.tsc_offset
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        self.vmcb_mut().control.tsc_offset = offset;
    }

    #[inline]
    fn next_rip(&self) -> Option<u64> {
        self.parts.capabilities.next_rip.then_some(self.vmcb().control.next_rip)
    }

    #[inline]
    fn clear_interrupt_shadow(&mut self) {
        self.vmcb_mut().control.interrupt_shadow = 0;
    }

    fn inject(&mut self, event: Event) {
        self.software = matches!(event, Event::Software(_) | Event::Exception(3 | 4, _));
        self.software_next = self.vmcb().save.rip;
        let Vmcb { control, save } = self.vmcb_mut();
        control.event_inj = event::encode(event);
        // CPUs that save the next RIP push this one for INT n, INT3 and INTO (APM 2, 15.20).
        control.next_rip = save.rip;
        if !matches!(event, Event::Interrupt(_) | Event::Nmi) {
            control.interrupt_shadow = 0;
        }
    }

    fn queued(&self) -> Option<Event> {
        event::decode(self.vmcb().control.event_inj)
    }

    fn intercept(&mut self, what: Intercept, on: bool) {
        match what {
            Intercept::Mwait => self.bit2(i2::MONITOR | i2::MWAIT, on),
            Intercept::Icebp => {
                self.bit2(i2::ICEBP, on);
                self.ud_for_tcg = on;
                self.set_exceptions();
            }
            Intercept::Iret => self.bit1(i1::IRET, on),
            Intercept::DebugRegisters => {
                let all = if on { u16::MAX } else { 0 };
                let control = &mut self.vmcb_mut().control;
                control.intercept_dr_read = all;
                control.intercept_dr_write = all;
            }
            // There is no monitor trap flag.
            Intercept::Step => {}
            Intercept::Everything => {
                self.everything = on;
                self.set_exceptions();
                self.bit1(i1::INTN, on);
            }
        }
    }

    fn watch_ports(&mut self, first: u16, count: u16, on: bool) {
        self.parts.io_map.watch(first, count, on);
    }

    fn watch_msr(&mut self, msr: u32, read: bool, write: bool) {
        self.parts.msr_map.watch(msr, read, write);
    }

    fn hold_interrupts(&mut self, on: bool) {
        // With V_INTR_MASKING the guest's CR8 is V_TPR (APM 2, 15.21.2): carry the APIC's over and back.
        if on {
            self.tpr = switch::read_cr8() as u32 & 15;
            self.vmcb_mut().control.int_ctl = int_ctl::V_INTR_MASKING | self.tpr;
            if self.bochs {
                bochs::hold_interrupts(&mut self.vmcb_mut().control);
            }
        } else if self.vmcb().control.int_ctl & int_ctl::V_INTR_MASKING != 0 {
            let tpr = self.vmcb().control.int_ctl & 15;
            // Only CR8 went to V_TPR: a write to the APIC's own register must stay.
            if tpr != self.tpr {
                switch::write_cr8(u64::from(tpr));
            }
            self.vmcb_mut().control.int_ctl = 0;
        }
        self.bit1(i1::INTR, !on);
    }

    fn wait(&mut self, how: Wait) -> Option<u8> {
        let (window, main) = (self.parts.window_idtr, self.parts.main_idtr);
        // SAFETY: both operands describe IDTs of the VMM with the stubs the window needs.
        let vector = unsafe {
            match how {
                Wait::Look => switch::svm_window_look(window, main),
                Wait::Halt if self.parts.capabilities.mwaitx => {
                    switch::svm_window_mwaitx(window, main, main, MWAITX_TICKS)
                }
                Wait::Halt => switch::svm_window_halt(window, main),
                Wait::Nmi => switch::svm_window_nmi(),
            }
        };
        u8::try_from(vector).ok()
    }

    fn take_nmi(&mut self) -> bool {
        // Relaxed: set by this CPU's own handler. Asked after most exits, so that the locked access is left to those with one.
        self.parts.nmi.load(Ordering::Relaxed) && self.parts.nmi.swap(false, Ordering::Relaxed)
    }

    fn take_init(&mut self) -> bool {
        self.parts.init.swap(false, Ordering::Relaxed)
    }

    fn set_nested_root(&mut self, root: u64) {
        self.vmcb_mut().control.n_cr3 = root;
        self.flush = self.flush_all;
    }

    fn flush(&mut self) {
        self.flush = self.flush_all;
        switch::flush_host();
    }
}
