//! QEMU's TCG (seen on 7.2) delivers an interrupt injected by EVENTINJ, but leaves it noted as an
//! exception to be raised: when another thread of the emulator then kicks the CPU before its next exit, it is
//! delivered a second time, whatever RFLAGS.IF says, and the guest deadlocks in its handler. An interrupt that is
//! injected by V_IRQ (APM 2, 15.21.4) is noted nowhere. So under TCG, and only there, an interrupt goes
//! that way; one that a further physical interrupt kept from being delivered goes by EVENTINJ
//! the next time, for otherwise it never would.
//!
//! SYSENTER in long mode, which #UDs on an AMD CPU (APM 3, SYSENTER), enters there, with a code segment that
//! is both 64-bit and 32-bit (`helper_sysenter`; seen on 7.2). No CPU has such a one, and VMRUN refuses it.
use core::arch::x86_64::__cpuid;
use x86defs::vmcb::{Control, Save, event, int_ctl, seg};
use x86defs::{cr, segment};

/// Whether this is TCG, by its hypervisor leaf.
pub(crate) fn present() -> bool {
    let found = __cpuid(0x4000_0000);
    __cpuid(1).ecx & 1 << 31 != 0
        && [found.ebx, found.ecx, found.edx].map(u32::to_le_bytes) == [*b"TCGT", *b"CGTC", *b"GTCG"]
}

/// Before an entry: the queued interrupt, if there is one, as a virtual interrupt.
pub(crate) fn before(control: &mut Control) {
    const NEVER_LATER: u32 = int_ctl::V_IRQ | int_ctl::V_IGN_TPR | int_ctl::V_INTR_PRIO;
    let queued = control.event_inj;
    if queued & event::VALID != 0 && queued & event::TYPE == event::INTR {
        control.int_vector = queued as u32 & 0xff;
        control.int_ctl |= NEVER_LATER;
        control.event_inj = 0;
    }
}

/// Whether [`before`] made a virtual interrupt of an event.
#[inline(always)]
pub(crate) fn virtual_interrupt(control: &Control) -> bool {
    control.int_ctl & int_ctl::V_IGN_TPR != 0
}

/// After an exit: whether a virtual interrupt was not delivered. It is queued again.
pub(crate) fn after(control: &mut Control) -> bool {
    let left = control.int_ctl & int_ctl::V_IRQ != 0;
    if left {
        control.event_inj = event::VALID | event::INTR | u64::from(control.int_vector & 0xff);
    }
    control.int_ctl &= !(int_ctl::V_IRQ | int_ctl::V_IGN_TPR | int_ctl::V_INTR_PRIO);
    left
}

/// Whether the code segment is 64-bit and 32-bit. What VMRUN does with such a state cannot be mended
/// afterwards: TCG spoils RIP and RFLAGS when it refuses it.
#[inline(always)]
pub(crate) fn unlawful(save: &Save) -> bool {
    const BOTH: u16 = segment::ATTR_L | segment::ATTR_DB;
    save.segments[seg::CS].attributes & BOTH == BOTH
}

/// Makes an [`unlawful`] code segment 64-bit alone. Outside of long mode there is nothing wrong with it.
#[cold]
pub(crate) fn repair(save: &mut Save) {
    if save.efer & cr::EFER_LMA != 0 {
        save.segments[seg::CS].attributes &= !segment::ATTR_DB;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control() -> Control {
        // SAFETY: integers and bytes.
        unsafe { core::mem::zeroed() }
    }

    #[test]
    fn a_code_segment_is_64_bit_or_32_bit() {
        // SAFETY: integers and bytes.
        let mut save: Save = unsafe { core::mem::zeroed() };
        save.efer = cr::EFER_LMA;
        for (found, repaired) in [(0xe9b, 0xa9b), (0xa9b, 0xa9b), (0xc9b, 0xc9b)] {
            save.segments[seg::CS].attributes = found;
            assert_eq!(unlawful(&save), found != repaired);
            if unlawful(&save) {
                repair(&mut save);
            }
            assert_eq!(save.segments[seg::CS].attributes, repaired);
        }
        // Outside of long mode the bit means nothing.
        save.efer = 0;
        save.segments[seg::CS].attributes = 0xe9b;
        repair(&mut save);
        assert_eq!(save.segments[seg::CS].attributes, 0xe9b);
    }

    #[test]
    fn an_interrupt_is_virtual_while_the_guest_runs() {
        let mut control = control();
        control.int_ctl = int_ctl::V_INTR_MASKING | 5;
        control.event_inj = event::VALID | event::INTR | 0x30;
        before(&mut control);
        assert_eq!((control.event_inj, control.int_vector), (0, 0x30));
        // Delivered: the CPU clears V_IRQ.
        control.int_ctl &= !int_ctl::V_IRQ;
        assert!(!after(&mut control));
        assert_eq!((control.event_inj, control.int_ctl), (0, int_ctl::V_INTR_MASKING | 5));
    }

    #[test]
    fn one_not_delivered_is_queued_again() {
        let mut control = control();
        control.event_inj = event::VALID | event::INTR | 0x30;
        before(&mut control);
        assert!(after(&mut control));
        assert_eq!(control.event_inj, event::VALID | event::INTR | 0x30);
        assert_eq!(control.int_ctl, 0);
    }

    #[test]
    fn other_events_stay_where_they_are() {
        for word in [0, event::VALID | event::NMI | 2, event::VALID | event::EXCEPTION | 14] {
            let mut control = control();
            control.event_inj = word;
            before(&mut control);
            assert!(!after(&mut control));
            assert_eq!((control.event_inj, control.int_ctl), (word, 0));
        }
    }
}
