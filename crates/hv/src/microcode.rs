//! Microcode updates: in a guest the CPU ignores the write (APM 2, 15.11 names no exception for it, and Linux
//! sees the old revision), so the VMM makes it for the guest.
use crate::{Host, Machine};
use vcpu::Vcpu;

/// Bytes a patch may have: the largest so far, of family 1Ah, is below.
pub const LARGEST: usize = 16 << 10;

/// WRMSR to the patch loader with the linear address of a patch (AMD PPR, MSR C001_0020). What the guest
/// has mapped there is copied; the CPU checks it. False is #GP.
pub(crate) fn load<H: Host>(machine: &Machine<H>, vcpu: &dyn Vcpu, linear: u64) -> bool {
    let mut patch = machine.patch.lock();
    let (paging, mut have) = (vcpu.paging(), 0_usize);
    while have < LARGEST {
        let at = linear.wrapping_add(have as u64);
        let in_page = 0x1000_usize.wrapping_sub((at & 0xfff) as usize);
        let end = have.wrapping_add(in_page).min(LARGEST);
        let Ok(found) = paging.lookup(&machine.host, at) else { break };
        let Some(part) = patch.get_mut(have..end) else { break };
        if !machine.host.read_memory(found.gpa, part) {
            break;
        }
        have = end;
    }
    if let Some(rest) = patch.get_mut(have..) {
        rest.fill(0);
    }
    have > 0 && machine.host.load_microcode(&patch)
}
