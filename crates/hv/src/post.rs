//! A firmware that begins anew inside the guest. A jump to its first instruction, or an INIT, may make it do its self-test
//! again with nothing reset (Bochs's BIOS does; SeaBIOS resets the machine then). It takes back what the loader has set
//! aside: the low page with the guest's memory map, and so the hole. Its next system would be told that the VMM's memory is
//! free. So the machine is reset for it: what the guest asked for it gets, and the VMM starts again.
use crate::{Host, Machine};
use vcpu::{Seg, System, Vcpu};
use x86defs::cr;

/// BIOS data area: KiB of conventional memory, which the loader has lowered. Who boots afterwards lowers it further; only a
/// self-test puts it back.
const BASE_MEMORY: u64 = 0x413;
/// Where firmware executes in real mode.
const ROM: core::ops::Range<u64> = 0xe_0000..0x10_0000;

/// Whether the guest is the firmware at its self-test, to which the keyboard controller belongs.
pub(crate) fn begun<H: Host>(machine: &Machine<H>, vcpu: &dyn Vcpu) -> bool {
    // Behind a UEFI there is no low page.
    let page = u64::from(machine.next_disk >> 16).wrapping_shl(4);
    if page == 0 || vcpu.system(System::Cr0) & cr::CR0_PE != 0 {
        return false;
    }
    let kib = machine.host.read_u16(BASE_MEMORY).unwrap_or(0);
    ROM.contains(&vcpu.segment(Seg::Cs).base) && u64::from(kib).wrapping_shl(10) > page
}

/// Reset the machine for it.
#[cold]
pub(crate) fn reset<H: Host>(machine: &Machine<H>) {
    machine.log(format_args!("the firmware began anew without a reset: machine reset"));
    machine.host.reset();
}
