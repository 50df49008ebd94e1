//! What Bochs (seen on 3.0) makes of SVM.
//!
//! It writes DR6 only when it delivers a #DB, so that one that is intercepted tells no cause. A CPU
//! writes it before (APM 2, 15.12.2). Here it is made up for, from what could have been the cause: there alone, for on
//! a CPU INT1 has a #DB without a cause in DR6, and a task switch has one of its own.
//!
//! With V_INTR_MASKING the host's IF alone is to decide on physical interrupts (APM 2, 15.21.1). There the guest takes them
//! as well when its own is set.
use core::arch::{asm, x86_64::__cpuid};
use x86defs::vmcb::{Control, Save, seg};
use x86defs::{cr, dr, rflags};

/// Whether this is Bochs, whose debugging port reads as its number. On a PC nothing is there, and it reads FFh. Other emulators
/// have such a port, and say what they are.
pub(crate) fn present() -> bool {
    if __cpuid(1).ecx & 1 << 31 != 0 {
        return false;
    }
    const PORT: u16 = 0xe9;
    let value: u8;
    // SAFETY: reading a port that no device of a PC has changes nothing.
    unsafe { asm!("in al, dx", in("dx") PORT, out("al") value, options(nomem, nostack)) };
    value == PORT as u8
}

/// Holds interrupts off the next instruction, by a shadow as of an STI: its trap comes before they do. There alone, for
/// one shadow stands for that of MOV SS as well, which on a CPU holds off a trap.
#[cold]
pub(crate) fn hold_interrupts(control: &mut Control) {
    control.interrupt_shadow |= 1;
}

/// What DR6 says of causes, task switches left out.
const CAUSES: u64 = dr::DR6_B | dr::DR6_BD | dr::DR6_BS;

/// After an exit for #DB: sees that DR6 names a cause. `address` gives DR0 to DR3.
#[cold]
pub(crate) fn name_cause(save: &mut Save, address: impl Fn(usize) -> u64) {
    if save.dr6 & CAUSES == 0 {
        save.dr6 |= cause(save, address);
    }
}

/// Instruction breakpoints at RIP; else a step, where one was on; else the data breakpoints there are, of which
/// nothing tells the one; else a step whose instruction cleared TF.
fn cause(save: &Save, address: impl Fn(usize) -> u64) -> u64 {
    let long = save.efer & cr::EFER_LMA != 0;
    let base = save.segments.get(seg::CS).map_or(0, |code| code.base);
    let here = if long { save.rip } else { base.wrapping_add(save.rip) & 0xffff_ffff };
    let (mut instruction, mut data) = (0, 0);
    for n in 0..4_u32 {
        let enabled = save.dr7.wrapping_shr(n.wrapping_mul(2)) & 3 != 0;
        let kind = save.dr7.wrapping_shr(n.wrapping_mul(4).wrapping_add(16)) & 3;
        let bit = 1_u64.wrapping_shl(n);
        match kind {
            _ if !enabled => {}
            0 if address(n as usize) == here => instruction |= bit,
            0 => {}
            _ => data |= bit,
        }
    }
    let step = if save.rflags & rflags::TF != 0 { dr::DR6_BS } else { 0 };
    match (instruction | step, data) {
        (0, 0) => dr::DR6_BS,
        (0, data) => data,
        (known, _) => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DR6 after #DB at 2000h with these in force; DR0 holds 2000h, DR1 3000h.
    fn dr6(before: u64, dr7: u64, rflags: u64) -> u64 {
        // SAFETY: integers and bytes.
        let mut save: Save = unsafe { core::mem::zeroed() };
        (save.efer, save.rip) = (cr::EFER_LMA, 0x2000);
        (save.dr6, save.dr7, save.rflags) = (before, dr7, rflags);
        name_cause(&mut save, |n| 0x2000 + 0x1000 * n as u64);
        save.dr6
    }

    const NONE: u64 = dr::DR6_INIT;
    const WRITE1: u64 = 0b01 << 20 | 0b1000;

    #[test]
    fn a_cause_that_is_named_stays() {
        for cause in [1, 8, dr::DR6_BS, dr::DR6_BD] {
            assert_eq!(dr6(NONE | cause, WRITE1, rflags::TF), NONE | cause);
        }
    }

    #[test]
    fn what_could_have_been_it() {
        assert_eq!(dr6(NONE, 0, rflags::TF), NONE | dr::DR6_BS);
        assert_eq!(dr6(NONE, 0, 0), NONE | dr::DR6_BS);
        assert_eq!(dr6(NONE, 0b10, 0), NONE | 1);
        assert_eq!(dr6(NONE, 0b11 | WRITE1, rflags::TF), NONE | 1 | dr::DR6_BS);
        assert_eq!(dr6(NONE, WRITE1, 0), NONE | 2);
        assert_eq!(dr6(NONE, WRITE1, rflags::TF), NONE | dr::DR6_BS);
        // Enabled, but elsewhere.
        assert_eq!(dr6(NONE, 0b1100, rflags::TF), NONE | dr::DR6_BS);
    }

    #[test]
    fn outside_of_long_mode_addresses_are_linear() {
        // SAFETY: integers and bytes.
        let mut save: Save = unsafe { core::mem::zeroed() };
        (save.rip, save.dr7, save.segments[seg::CS].base) = (0x10, 1, 0xf_0000);
        name_cause(&mut save, |_| 0xf_0010);
        assert_eq!(save.dr6, 1);
    }
}
