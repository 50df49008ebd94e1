//! Microcode updates: in a guest the CPU ignores the write (APM 2, 15.11 names no exception for it, and Linux
//! sees the old revision), so the VMM makes it for the guest.
use crate::{Host, Machine};
use vcpu::Vcpu;
use x86defs::msr;

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

/// WRMSR to IA32_BIOS_UPDT_TRIG with the linear address of an update's data (SDM 3A, 9.11.6). An update can be larger than
/// any buffer of the VMM's; where the guest has it in one piece of its memory, as systems do, the CPU reads it there.
pub(crate) fn load_intel<H: Host>(machine: &Machine<H>, vcpu: &dyn Vcpu, linear: u64) -> bool {
    /// The header lies before the data; the size of all is its word at 32, 0 for 2,048 bytes (table 9-7).
    const HEADER: u64 = 48;
    const DEFAULT: u32 = 2048;
    let paging = vcpu.paging();
    let find = |at| paging.lookup(&machine.host, at).ok().map(|found| found.gpa);
    let begin = linear.wrapping_sub(HEADER);
    let Some(first) = find(begin) else { return false };
    let mut size = [0; 4];
    if !machine.host.read_memory(first.wrapping_add(32), &mut size) {
        return false;
    }
    let size = u64::from(match u32::from_le_bytes(size) {
        0 => DEFAULT,
        size => size,
    });
    let page = |n: u64| (begin & !0xfff).wrapping_add(n.wrapping_mul(0x1000));
    let pages = (begin & 0xfff).wrapping_add(size).div_ceil(0x1000);
    let together = (1..pages)
        .all(|n| find(page(n)) == Some((first & !0xfff).wrapping_add(n.wrapping_mul(0x1000))));
    let (_, last, is_ram) = machine.host.extent(first);
    let inside = is_ram && size.saturating_sub(1) <= last.saturating_sub(first);
    if !together || !inside {
        // No #GP: a CPU raises none here, and a system that asked for the update would not survive it.
        machine.log(format_args!("microcode update at {linear:#x} is in pieces: left out"));
        return true;
    }
    machine.host.write_msr(msr::BIOS_UPDT_TRIG, first.wrapping_add(HEADER))
}
