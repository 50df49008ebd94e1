//! Who called whom when the VMM failed. The image is built with frame pointers, so a frame is its caller's frame
//! and, above it, the address the caller goes on at. Everything read is suspected: it is read by an access that
//! may fail, and the chain must lead upwards.
use crate::host::read_own;
use handover::VMM_BASE;
use hv::Regs;

/// Most frames followed.
const FRAMES: u32 = 64;

fn word(address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    // All that is the VMM's own lies there; below, a read could ask something of a device.
    (address >= VMM_BASE).then_some(())?;
    read_own(address, &mut bytes).then(|| u64::from_le_bytes(bytes))
}

/// Gives the places from the innermost on, as bytes from the image's first: where the VMM failed, then each call that
/// led there (its last byte, so that a line number is the call's).
pub(crate) fn walk(image: u64, regs: &Regs, mut visit: impl FnMut(u64)) {
    let offset = |address: u64| Some(address.wrapping_sub(VMM_BASE)).filter(|at| *at < image);
    let call = |to: u64| offset(to).and_then(|at| at.checked_sub(1));
    let here = offset(regs.ip);
    here.into_iter().for_each(&mut visit);
    // A function that has made no frame yet, or makes none (those in assembly), and a jump to nowhere, leave the
    // address of return on top of the stack.
    let mut frame = regs.rbp;
    let chained = word(frame.wrapping_add(8));
    let top = word(regs.rsp).filter(|top| Some(*top) != chained);
    top.and_then(call).into_iter().for_each(&mut visit);
    for _ in 0..FRAMES {
        let (Some(outer), Some(at)) = (word(frame), word(frame.wrapping_add(8)).and_then(call))
        else {
            return;
        };
        visit(at);
        if outer <= frame {
            return;
        }
        frame = outer;
    }
}
