//! [`Vcpu`] on VMX: running the guest, its registers, what it may do.
use crate::parts::Vmx;
use crate::registers::{self, CR4_OURS, update};
use crate::switch::{self, vmread, vmwrite};
use core::fmt;
use core::sync::atomic::Ordering;
use vcpu::{Capabilities, Event, Exit, Gpr, Intercept, Seg, Segment, System, Vcpu, Wait};
use x86defs::vmx::control::{entry, primary};
use x86defs::vmx::{EPTP_FLAGS, activity, exit, field, shadow};
use x86defs::{cr, dr, msr, rflags, segment};

impl Vcpu for Vmx {
    fn capabilities(&self) -> Capabilities {
        self.offers()
    }

    fn init(&mut self) {
        for register in Gpr::ALL {
            self.set_gpr(register, 0);
        }
        self.set_gpr(Gpr::Rdx, u64::from(core::arch::x86_64::__cpuid(1).eax));
        self.queued = None;
        for register in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
            self.set_segment(register, Segment::real(0, segment::DATA16));
        }
        let code = Segment::real(0xf000, segment::CODE16);
        self.set_segment(Seg::Cs, Segment { base: 0xffff_0000, ..code });
        self.set_segment(Seg::Ldtr, Segment::real(0, segment::LDT));
        self.set_segment(Seg::Tr, Segment::real(0, segment::TSS_BUSY));
        self.set_segment(Seg::Gdtr, Segment::real(0, 0));
        self.set_segment(Seg::Idtr, Segment::real(0, 0));
        // INIT keeps CD and NW (SDM 3A, table 9-1), which entries do not touch. It keeps the FPU and XCR0 too, the TSC, the
        // MTRRs and all MSRs but EFER, those of SYSENTER, PAT and DEBUGCTL among them.
        self.set_system(System::Efer, 0);
        self.set_system(System::Cr0, cr::CR0_ET | switch::read_cr0() & (cr::CR0_CD | cr::CR0_NW));
        for register in [System::Cr2, System::Cr3, System::Cr4] {
            self.set_system(register, 0);
        }
        self.set_system(System::Rflags, rflags::RESERVED_ONE);
        self.set_system(System::Dr6, dr::DR6_INIT);
        self.set_system(System::Dr7, dr::DR7_INIT);
        for n in 0..4 {
            self.set_debug_address(n, 0);
        }
        for clear in [field::GUEST_INTERRUPTIBILITY, field::GUEST_PENDING_DEBUG] {
            update(clear, 0);
        }
        update(field::GUEST_ACTIVITY, activity::ACTIVE);
        self.set_system(System::Rip, 0xfff0);
        self.flush();
    }

    #[inline(always)]
    fn run(&mut self) -> Exit {
        loop {
            if self.prepare {
                self.before();
            }
            // SAFETY: `new` set the VMCS up; the guest's memory is bounded by the nested tables, which never map
            // the hole but for the FFh page, so nothing of the VMM changes but these registers.
            let status =
                unsafe { switch::vmx_switch(&mut self.gprs, self.parts.nmi.as_ptr().cast()) };
            if status != 0 {
                return self.not_entered(status);
            }
            self.rip = vmread(field::GUEST_RIP);
            let reason = vmread(field::EXIT_REASON) as u32;
            if !self.parts.controls.saves_timer() {
                self.count_time();
            }
            // First and alone: the one exit whose cost is a figure of its own.
            if reason == exit::CPUID {
                return Exit::Cpuid;
            }
            if let Some(exit) = self.after(reason) {
                return exit;
            }
        }
    }

    #[inline]
    fn gpr(&self, register: Gpr) -> u64 {
        match register {
            Gpr::Rsp => vmread(field::GUEST_RSP),
            other => self.gprs.get(other as usize).copied().unwrap_or(0),
        }
    }

    #[inline]
    fn set_gpr(&mut self, register: Gpr, value: u64) {
        match register {
            Gpr::Rsp => update(field::GUEST_RSP, value),
            other => {
                if let Some(place) = self.gprs.get_mut(other as usize) {
                    *place = value;
                }
            }
        }
    }

    #[inline(always)]
    fn system(&self, register: System) -> u64 {
        match register {
            System::Rip => self.rip,
            other => registers::system(other),
        }
    }

    #[inline]
    fn set_system(&mut self, register: System, value: u64) {
        match register {
            System::Rip => {
                if value != self.rip {
                    if self.asleep {
                        self.wake();
                    }
                    self.rip = value;
                    vmwrite(field::GUEST_RIP, value);
                }
            }
            System::Rflags => {
                update(field::GUEST_RFLAGS, value);
                self.prepare = true;
            }
            other => self.set_rare(other, value),
        }
    }

    #[inline(always)]
    fn segment(&self, register: Seg) -> Segment {
        registers::segment(register)
    }

    fn set_segment(&mut self, register: Seg, value: Segment) {
        registers::set_segment(register, value);
    }

    fn cpl(&self) -> u8 {
        // SDM 3C, 24.4.1: SS's DPL is the CPL.
        (vmread(field::GUEST_SS_RIGHTS) >> 5 & 3) as u8
    }

    fn debug_address(&self, n: usize) -> u64 {
        switch::read_dr(n)
    }

    fn set_debug_address(&mut self, n: usize, value: u64) {
        switch::write_dr(n, value);
    }

    fn tsc_offset(&self) -> u64 {
        vmread(field::TSC_OFFSET)
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        update(field::TSC_OFFSET, offset);
    }

    #[inline(always)]
    fn next_rip(&self) -> Option<u64> {
        Some(self.rip.wrapping_add(vmread(field::INSTRUCTION_LENGTH)))
    }

    #[inline(always)]
    fn clear_interrupt_shadow(&mut self) {
        self.set_shadow(shadow::STI | shadow::MOV_SS, false);
    }

    fn inject(&mut self, event: Event) {
        self.queue(event);
    }

    fn queued(&self) -> Option<Event> {
        self.queued
    }

    fn intercept(&mut self, what: Intercept, on: bool) {
        match what {
            Intercept::Mwait => {
                self.set_primary(primary::MONITOR | primary::MWAIT, on);
                self.set_attached(on);
            }
            // #DB exits always, and says when it is ICEBP's.
            Intercept::Icebp => {}
            Intercept::Iret => self.set_primary(primary::NMI_WINDOW, on),
            Intercept::DebugRegisters => self.set_primary(primary::MOV_DR, on),
            Intercept::Everything => self.set_exceptions(on),
            Intercept::Step => self.set_primary(primary::MONITOR_TRAP, on),
        }
    }

    fn watch_ports(&mut self, first: u16, count: u16, on: bool) {
        self.parts.io_map.watch(first, count, on);
    }

    fn watch_msr(&mut self, msr: u32, read: bool, write: bool) {
        self.parts.msr_map.watch(msr, read, write);
    }

    fn hold_interrupts(&mut self, on: bool) {
        if on && self.asleep {
            // There is no shadow in HLT (SDM 3C, 26.3.1.5), and no next instruction.
            self.wake();
        }
        if !on && self.shadowed.take() == Some(self.rip) {
            self.set_shadow(shadow::STI, false);
        }
        self.hold = on;
        self.prepare |= on;
    }

    /// No interrupt exits, so none is ever acknowledged here; NMIs are taken by the VMM's handler as they come.
    fn wait(&mut self, _how: Wait) -> Option<u8> {
        None
    }

    fn take_nmi(&mut self) -> bool {
        // Relaxed: set by this CPU's own handler. Asked after most exits, so that the locked access is left to those with one.
        self.parts.nmi.load(Ordering::Relaxed) && self.parts.nmi.swap(false, Ordering::Relaxed)
    }

    fn take_init(&mut self) -> bool {
        core::mem::take(&mut self.init)
    }

    fn take_breakpoints(&mut self) -> u64 {
        let due = vmread(field::GUEST_PENDING_DEBUG);
        let shadows = vmread(field::GUEST_INTERRUPTIBILITY) & (shadow::STI | shadow::MOV_SS);
        // Under a shadow the field is bound to what TF says (SDM 3C, 26.3.1.5).
        if due & dr::DR6_B == 0 || shadows != 0 {
            return 0;
        }
        update(field::GUEST_PENDING_DEBUG, 0);
        due & (dr::DR6_B | dr::DR6_BS)
    }

    fn set_pae_pointers(&mut self, pointers: [u64; 4]) {
        for (to, pointer) in (field::GUEST_PDPTE0..).step_by(2).zip(pointers) {
            update(to, pointer);
        }
    }

    fn set_nested_root(&mut self, root: u64) {
        update(field::EPT_POINTER, root | EPTP_FLAGS);
        switch::invept(None);
    }

    fn flush(&mut self) {
        let single = self.parts.controls.invept_single;
        switch::invept(single.then(|| vmread(field::EPT_POINTER)));
        switch::flush_host();
    }

    fn why_invalid(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.explain(out)
    }
}

impl Vmx {
    /// Where the CPU does not save what is left of the timer each entry begins it anew: a guest that exits often would
    /// have no tick.
    fn count_time(&mut self) {
        if switch::tsc().wrapping_sub(self.last_tick) > self.tick_length {
            update(field::TIMER_VALUE, 0);
        }
    }

    #[inline(never)]
    fn set_rare(&mut self, register: System, value: u64) {
        match register {
            System::Rip | System::Rflags => {}
            System::Cr0 => {
                update(field::GUEST_CR0, value | cr::CR0_NE);
                update(field::CR0_SHADOW, value);
                // Entries and exits leave these two as they are (SDM 3C, 26.3.2.1 and 27.5.1).
                const CACHES: u64 = cr::CR0_CD | cr::CR0_NW;
                let now = switch::read_cr0();
                if (value ^ now) & CACHES != 0 {
                    // SAFETY: how memory is cached changes nothing that the VMM computes.
                    unsafe { switch::write_cr0(now & !CACHES | value & CACHES) };
                }
            }
            // SAFETY: no page fault of the VMM is under way, the only time CR2 means something to it.
            System::Cr2 => unsafe { switch::write_cr2(value) },
            System::Cr3 => update(field::GUEST_CR3, value),
            System::Cr4 => {
                update(field::GUEST_CR4, value & !CR4_OURS | cr::CR4_VMXE);
                update(field::CR4_SHADOW, value & !CR4_OURS);
            }
            // SAFETY: the task priority is the guest's; the VMM takes no interrupt.
            System::Cr8 => unsafe { switch::write_cr8(value & 15) },
            System::Efer => {
                update(field::GUEST_EFER, value);
                let plain = vmread(field::ENTRY_CONTROLS) & !u64::from(entry::GUEST_LONG);
                let long = if value & cr::EFER_LMA != 0 { entry::GUEST_LONG } else { 0 };
                update(field::ENTRY_CONTROLS, plain | u64::from(long));
            }
            // SAFETY: DR6 is the guest's; nothing of the VMM's depends on it.
            System::Dr6 => unsafe { switch::write_dr6(value) },
            System::Dr7 => update(field::GUEST_DR7, value),
            System::DebugCtl => update(field::GUEST_DEBUGCTL, value),
            System::Pat => update(field::GUEST_PAT, value),
            System::KernelGsBase => Self::set_msr(msr::KERNEL_GS_BASE, value),
            System::Star => Self::set_msr(msr::STAR, value),
            System::Lstar => Self::set_msr(msr::LSTAR, value),
            System::Cstar => Self::set_msr(msr::CSTAR, value),
            System::Sfmask => Self::set_msr(msr::SFMASK, value),
        }
    }

    fn set_msr(register: u32, value: u64) {
        // SAFETY: the guest's own system-call registers, which the VMM does not use; `hv` sets addresses that are
        // canonical.
        unsafe { switch::wrmsr(register, value) };
    }
}
