//! The way on without a VMM of ours: back to real mode, to what the machine boots.

use firmware::options::next_disk;
use firmware::{PhysMut, bda};
use setup::{Identity, next};

use crate::Otherwise;

/// Timer ticks, 18.2 a second, that a message stays: ten seconds.
pub(crate) const PAUSE: u16 = 182;

/// Where a BIOS can have memory to give away, in KiB.
const CONVENTIONAL: core::ops::RangeInclusive<u16> = 65..=640;

unsafe extern "C" {
    fn leave(code: u32, far: u32, dx: u32, cx: u32, si: u32) -> !;
}

/// Lets a machine that has not been changed boot as it would have under the VMM, after a pause. Returns
/// if there is no conventional memory.
pub(crate) fn boot(memory: &mut Identity, otherwise: &Otherwise) {
    let dx = match next::disk(otherwise.from, otherwise.drive) {
        Some(disk) => u32::from(disk),
        None => u32::from(next_disk(otherwise.drive)) << 8,
    };
    if let Some(code) = place(memory) {
        let own = code << 12 | u32::from(next::ENTRY);
        // SAFETY: the code is where `place` put it, and takes these registers; interrupts are off.
        unsafe { leave(code, own, dx, PAUSE.into(), otherwise.uart.into()) }
    }
}

/// Starts the next disk, or the one that was asked for, by the code at the far pointer `next`, which the
/// VMM keeps for this. Returns if there is no conventional memory.
pub(crate) fn under_vmm(memory: &mut Identity, next: u32, otherwise: &Otherwise) {
    let disk = next::disk(otherwise.from, otherwise.drive);
    let disk = disk.unwrap_or(next_disk(otherwise.drive));
    if let Some(code) = place(memory) {
        // SAFETY: as above; `next` is the VMM's answer, whose contract is in the crate `handover`.
        unsafe { leave(code, next, disk.into(), 0, 0) }
    }
}

/// Puts the 16-bit code below the end of conventional memory, which is free for boot code. Its address.
fn place(memory: &mut Identity) -> Option<u32> {
    let kib = bda::base_memory_kib(memory).filter(|kib| CONVENTIONAL.contains(kib))?;
    let at = u32::from(kib - 1) << 10;
    memory.write(at.into(), next::code()).then_some(at)
}
