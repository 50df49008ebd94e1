//! Before an entry and after an exit, where there is more to do than to enter: events, the held interrupts, failures.
use crate::parts::{Refused, Vmx};
use crate::registers::update;
use crate::switch::{self, vmread};
use crate::{cr0, decode, event};
use vcpu::{Event, Exit, Gpr, Meeting, TaskSource, Vcpu, meet};
use x86defs::vmx::{activity, event as word, exit, field, pending, rights, shadow};
use x86defs::{cr, msr, rflags, vector};

impl Vmx {
    /// What the next entry needs beside entering.
    #[cold]
    pub(crate) fn before(&mut self) {
        self.injecting = None;
        if let Some(what) = self.queued.take() {
            self.deliver(what);
        } else if self.hold {
            self.hold_off();
        }
        Self::settle();
        // Once more after an event, so that it is not taken for that of a later entry.
        self.prepare = self.hold || self.queued.is_some() || self.injecting.is_some();
    }

    /// One instruction without interrupts, by the shadow of an STI, if there is none already. With the guest's own TF
    /// set a shadow asks for a single-step trap to be pending (SDM 3C, 26.3.1.5), which would come at once: then they
    /// are not held.
    fn hold_off(&mut self) {
        let flags = vmread(field::GUEST_RFLAGS) & (rflags::IF | rflags::TF);
        let shadowed = vmread(field::GUEST_INTERRUPTIBILITY) & (shadow::STI | shadow::MOV_SS) != 0;
        if flags == rflags::IF && !shadowed {
            self.set_shadow(shadow::STI, true);
            self.shadowed = Some(self.rip);
        }
    }

    /// What an entry asks of flags, shadows and a pending single step together (SDM 3C, 26.3.1.5), where `hv` or the
    /// analyst has changed one of them.
    fn settle() {
        let flags = vmread(field::GUEST_RFLAGS);
        let mut blocked = vmread(field::GUEST_INTERRUPTIBILITY);
        if blocked & shadow::STI != 0 && flags & rflags::IF == 0 {
            blocked &= !shadow::STI;
            update(field::GUEST_INTERRUPTIBILITY, blocked);
        }
        let asleep = || vmread(field::GUEST_ACTIVITY) == activity::HLT;
        if blocked & (shadow::STI | shadow::MOV_SS) != 0 || asleep() {
            let btf = vmread(field::GUEST_DEBUGCTL) & msr::DEBUGCTL_BTF != 0;
            let left = vmread(field::GUEST_PENDING_DEBUG);
            let due = if flags & rflags::TF != 0 && !btf { pending::BS } else { 0 };
            update(field::GUEST_PENDING_DEBUG, left & !pending::BS | due);
        }
    }

    /// Hand an event to the CPU (SDM 3C, 26.6).
    fn deliver(&mut self, what: Event) {
        let blocked = vmread(field::GUEST_INTERRUPTIBILITY);
        if what == Event::Nmi {
            if blocked & shadow::MOV_SS != 0 {
                // One instruction later: `hv` has the NMI window open, which ends the run.
                self.queued = Some(what);
                return;
            }
            self.set_shadow(shadow::STI | shadow::NMI, false);
        } else {
            self.set_shadow(shadow::STI | shadow::MOV_SS, false);
        }
        if event::is_software(what) {
            // It pushes RIP plus the length.
            update(field::ENTRY_LENGTH, 1);
            update(field::GUEST_RIP, self.rip.wrapping_sub(1));
        }
        let (word, error) = event::encode(what);
        if word & word::ERROR_VALID != 0 {
            update(field::ENTRY_ERROR, error.into());
        }
        update(field::ENTRY_EVENT, word.into());
        self.injecting = Some(what);
    }

    /// The guest did not run: an NMI came first, or the CPU refused.
    #[cold]
    pub(crate) fn not_entered(&mut self, status: u32) -> Exit {
        if let Some(what) = self.injecting.take() {
            // Read as after an exit.
            self.rip = vmread(field::GUEST_RIP);
            self.take_back(what);
        }
        if status == 2 {
            return Exit::Nmi;
        }
        self.refused = Some(Refused::Instruction(vmread(field::INSTRUCTION_ERROR) as u32));
        Exit::Invalid
    }

    /// An exit that is not CPUID's. `None`: the guest runs on.
    #[inline(never)]
    pub(crate) fn after(&mut self, reason: u32) -> Option<Exit> {
        let injected = self.injecting.take();
        if reason & exit::ENTRY_FAILED == 0 && decode::may_interrupt_delivery(reason) {
            let vectoring = vmread(field::VECTORING_EVENT) as u32;
            if vectoring & word::VALID != 0 {
                if reason == exit::TASK_SWITCH {
                    // The switch delivers the event.
                    return Some(self.task_gate(vectoring, injected));
                }
                self.interrupted(vectoring, injected);
            }
        }
        let found = decode::decode(reason, self.parts.controls.string_io, vmread);
        match found {
            Exit::Tick => {
                self.restart_timer();
                self.note_sleep();
            }
            Exit::Stepped => self.note_sleep(),
            Exit::PortIo(mut io) => {
                io.next_rip = self.rip.wrapping_add(vmread(field::INSTRUCTION_LENGTH));
                return Some(Exit::PortIo(io));
            }
            Exit::NestedFault(_) => self.nmi_unblocked(vmread(field::QUALIFICATION) >> 12),
            Exit::Nmi => {
                switch::take_nmi();
                self.note_sleep();
            }
            // IRET unblocks NMIs, whatever becomes of it (SDM 3A, 6.7.1).
            Exit::TaskSwitch(switch) if switch.source == TaskSource::Iret => {
                self.set_shadow(shadow::NMI, false);
            }
            Exit::Init => self.init = true,
            Exit::NmiWindow if self.queued == Some(Event::Nmi) => return None,
            Exit::ControlRegister => self.control_register(),
            Exit::Exception { vector, .. } => {
                let info = vmread(field::EXIT_EVENT) as u32;
                self.nmi_unblocked(u64::from(info & word::NMI_UNBLOCKED != 0));
                if vector == vector::DB {
                    Self::note_debug();
                }
                return Some(self.met(found, vector));
            }
            Exit::Invalid => {
                self.refused = Some(Refused::Exit(reason));
                if let Some(what) = injected.filter(|_| reason & exit::ENTRY_FAILED != 0) {
                    self.take_back(what);
                }
            }
            _ => {}
        }
        Some(found)
    }

    /// A task switch by an event through a task gate.
    fn task_gate(&mut self, vectoring: u32, injected: Option<Event>) -> Exit {
        let found = decode::decode(exit::TASK_SWITCH, false, vmread);
        let Exit::TaskSwitch(mut switch) = found else { return found };
        let ours = injected.is_some_and(event::is_software);
        if ours {
            self.behind();
        }
        switch.software = event::executed_again(vectoring) && !ours;
        match event::decode(vectoring, || vmread(field::VECTORING_ERROR) as u32) {
            // Its handler ends by an IRET, another task switch.
            Some(Event::Nmi) => self.set_shadow(shadow::NMI, true),
            Some(Event::Exception(vector, error)) if !event::executed_again(vectoring) => {
                switch.exception = Some(vector);
                switch.error = error;
            }
            _ => {}
        }
        Exit::TaskSwitch(switch)
    }

    /// RIP back behind a software event of ours, which is entered one byte before.
    fn behind(&mut self) {
        self.rip = self.rip.wrapping_add(1);
        update(field::GUEST_RIP, self.rip);
    }

    /// An event that the CPU did not begin to deliver.
    fn take_back(&mut self, what: Event) {
        update(field::ENTRY_EVENT, 0);
        if event::is_software(what) {
            self.behind();
        }
        self.queue(what);
    }

    pub(crate) fn queue(&mut self, what: Event) {
        self.queued = Some(what);
        self.prepare = true;
    }

    /// The exit came in the middle of a delivery: the event is delivered again (SDM 3C, 27.2.4).
    fn interrupted(&mut self, vectoring: u32, injected: Option<Event>) {
        let ours = injected.is_some_and(event::is_software);
        if event::executed_again(vectoring) && !ours {
            return;
        }
        if ours {
            self.behind();
        }
        if let Some(what) = event::decode(vectoring, || vmread(field::VECTORING_ERROR) as u32) {
            self.queue(what);
        }
    }

    /// An IRET had unblocked NMIs before it faulted, and is executed again (SDM 3C, 27.2.3).
    fn nmi_unblocked(&self, bit: u64) {
        if bit & 1 != 0 && self.queued.is_none() {
            self.set_shadow(shadow::NMI, true);
        }
    }

    /// An exit by #DB leaves DR6 as it was, and tells what it would be (SDM 3C, table 27-1).
    fn note_debug() {
        let dr6 = event::dr6(switch::read_dr6(), vmread(field::QUALIFICATION));
        // SAFETY: DR6 is the guest's; nothing of the VMM's depends on it.
        unsafe { switch::write_dr6(dr6) };
    }

    /// An exception we intercept, raised perhaps by the delivery of another: what the CPU would have made of both.
    fn met(&mut self, found: Exit, second: u8) -> Exit {
        let Some(Event::Exception(first, _)) = self.queued else { return found };
        match meet(first, second) {
            Meeting::Second => {
                // The first is raised again by the instruction, if it is a fault; the second is delivered.
                self.queued = None;
                found
            }
            Meeting::Double => {
                self.queued = None;
                Exit::Exception { vector: vector::DF, error: 0, address: 0 }
            }
            Meeting::Triple => Exit::TripleFault,
        }
    }

    /// A write of CR0 or CR4 that differs in a bit of ours (SDM 3C, 25.3). CR0.NE is only shown as the guest wants
    /// it: then the instruction runs on the CPU, with all that it does to the mode. CR4.VMXE and SMXE do not exist.
    fn control_register(&mut self) {
        let qualification = vmread(field::QUALIFICATION);
        let gpr = Gpr::from_encoding((qualification >> 8) as u8 & 15);
        let code = vmread(field::GUEST_CS_RIGHTS) as u32;
        let now = cr0::Now {
            cr0: vmread(field::GUEST_CR0),
            cr4: vmread(field::GUEST_CR4),
            efer: vmread(field::GUEST_EFER),
            code64: code & rights::LONG != 0,
        };
        // Bits 5:0 of the qualification: MOV to CR0. What raises #GP anyway must not be seen in the shadow.
        if qualification & 0x3f == 0 && now.takes(self.gpr(gpr)) {
            update(field::CR0_SHADOW, self.gpr(gpr));
            return;
        }
        let protected = now.cr0 & cr::CR0_PE != 0;
        update(field::GUEST_RFLAGS, vmread(field::GUEST_RFLAGS) | rflags::RF);
        self.queue(Event::Exception(vector::GP, protected.then_some(0)));
    }

    /// Note whether the guest sleeps: the exits that come then are few.
    fn note_sleep(&mut self) {
        self.asleep = vmread(field::GUEST_ACTIVITY) != activity::ACTIVE;
    }

    /// RIP is set for a guest that slept in HLT: it no longer does.
    #[cold]
    pub(crate) fn wake(&mut self) {
        self.asleep = false;
        update(field::GUEST_ACTIVITY, activity::ACTIVE);
    }
}
