//! QEMU's TCG (seen on 7.2) delivers an interrupt injected by EVENTINJ, but leaves it noted as an
//! exception to be raised: when another thread of the emulator then kicks the CPU before its next exit, it is
//! delivered a second time, whatever RFLAGS.IF says, and the guest deadlocks in its handler. An interrupt that is
//! injected by V_IRQ (APM 2, 15.21.4) is noted nowhere. So under TCG, and only there, an interrupt goes
//! that way; one that a further physical interrupt kept from being delivered goes by EVENTINJ
//! the next time, for otherwise it never would.
//!
//! SYSENTER in long mode, which #UDs on an AMD CPU (APM 3, SYSENTER), enters there, with a code segment that
//! is both 64-bit and 32-bit (`helper_sysenter`; seen on 7.2). No CPU has such a one, and VMRUN refuses it.
//!
//! What is done for an emulator's sake outside of this module: [`crate::switch::arm_dr7_for_tcg`],
//! [`crate::switch::load_cr2_for_bochs`], [`crate::bochs`], and in crate `link` the trigger level of the UART's FIFO, which costs other
//! UARTs nothing.
//!
//! CMPXCHG8B and CMPXCHG16B compute the flags from the kind of an older operation (their translation does not
//! update it first; seen on 7.2, not so since 8.0), so that an operand may stand in RFLAGS at the next exit. VMRUN
//! would load all of it, virtual-8086 mode too.
use core::arch::x86_64::__cpuid;
use x86defs::vmcb::{Control, Save, event, int_ctl, seg};
use x86defs::{cr, rflags, segment};

/// [`x86defs::vmcb::exit::INVALID`] as it is there (seen on 7.2): 32 bits of it are written.
pub(crate) const INVALID: u64 = u32::MAX as u64;

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

/// RFLAGS bits that are always 0: 31 to 22, 15, 5, 3 (APM 2, 3.1.6). TCG saves no more than 32.
const ALWAYS_0: u64 = 0xffc0_8028;

/// System flags that are next to never 1, so that an operand is the likelier reason: DF, NT, RF, VIF, VIP.
const OFTEN_0: u64 = rflags::DF | 1 << 14 | rflags::RF | 1 << 19 | 1 << 20;

/// Whether the state cannot be one of a CPU: code that is 64-bit and 32-bit, or flags that do not exist. Virtual-8086
/// mode is looked into as well. What VMRUN does with such code cannot be mended afterwards: TCG spoils RIP
/// and RFLAGS when it refuses it.
#[inline(always)]
pub(crate) fn unlawful(save: &Save) -> bool {
    const BOTH: u16 = segment::ATTR_L | segment::ATTR_DB;
    save.segments[seg::CS].attributes & BOTH == BOTH || save.rflags & (ALWAYS_0 | rflags::VM) != 0
}

/// Makes the state one of a CPU again.
#[cold]
pub(crate) fn repair(save: &mut Save) {
    let code = &mut save.segments[seg::CS];
    let long = save.efer & cr::EFER_LMA != 0;
    // In virtual-8086 mode segments are as in real mode (APM 2, 4.5.1), at privilege level 3.
    let virtual_8086 = !long
        && save.cr0 & cr::CR0_PE != 0
        && save.cpl == 3
        && code.base == u64::from(code.selector) << 4;
    // Outside of long mode L means nothing.
    if long && code.attributes & segment::ATTR_L != 0 {
        code.attributes &= !segment::ATTR_DB;
    }
    let wrong = if virtual_8086 { ALWAYS_0 } else { ALWAYS_0 | rflags::VM };
    if save.rflags & wrong != 0 {
        save.rflags &= !(wrong | OFTEN_0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control() -> Control {
        // SAFETY: integers and bytes.
        unsafe { core::mem::zeroed() }
    }

    fn save() -> Save {
        // SAFETY: integers and bytes.
        unsafe { core::mem::zeroed() }
    }

    fn repaired(mut save: Save) -> Save {
        if unlawful(&save) {
            repair(&mut save);
        }
        save
    }

    #[test]
    fn a_code_segment_is_64_bit_or_32_bit() {
        let attributes = |efer, attributes| {
            let mut save = save();
            save.efer = efer;
            save.segments[seg::CS].attributes = attributes;
            repaired(save).segments[seg::CS].attributes
        };
        for (found, expected) in [(0xe9b, 0xa9b), (0xa9b, 0xa9b), (0xc9b, 0xc9b)] {
            assert_eq!(attributes(cr::EFER_LMA, found), expected);
            // Outside of long mode the bit means nothing.
            assert_eq!(attributes(0, found), found);
        }
    }

    #[test]
    fn flags_that_do_not_exist_are_0() {
        let flags = |efer, cr0, cpl, base, rflags| {
            let mut save = save();
            (save.efer, save.cr0, save.cpl, save.rflags) = (efer, cr0, cpl, rflags);
            save.segments[seg::CS].selector = 0x1000;
            save.segments[seg::CS].base = base;
            repaired(save).rflags
        };
        let long = |rflags| flags(cr::EFER_LMA, cr::CR0_PE, 0, 0, rflags);
        assert_eq!(long(0x048b_a242), 0x2242);
        assert_eq!(long(0x003d_7fd7), 0x003d_7fd7);
        // A virtual-8086 task, and a 32-bit kernel and program that are none.
        assert_eq!(flags(0, cr::CR0_PE, 3, 0x10000, 0x2_0202), 0x2_0202);
        assert_eq!(flags(0, cr::CR0_PE, 0, 0x10000, 0x2_0202), 0x202);
        assert_eq!(flags(0, cr::CR0_PE, 3, 0, 0x2_0202), 0x202);
        assert_eq!(flags(0, 0, 0, 0x10000, 0x2_0202), 0x202);
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
