//! What is around a linear address: LLDB asks before it reads.
use crate::Host;
use paging::walk::{Paging, Translation, WalkError};
use stub::{Region, Rights};

/// Neighbours joined into one region: a bound on what one question costs.
const JOINED: u32 = 512;

/// The region of `gva`, its neighbours above joined as long as they are alike.
pub(super) fn around<H: Host>(host: &H, paging: &Paging, gva: u64) -> Region {
    let mut region = one(host, paging, gva);
    for _ in 0..JOINED {
        let Some(next) = region.last.checked_add(1) else { break };
        let above = one(host, paging, next);
        if above.rights != region.rights {
            break;
        }
        region.last = above.last;
    }
    region
}

/// One page, cut to what of it is RAM or is not; or the reach of one entry that is not present.
fn one<H: Host>(host: &H, paging: &Paging, gva: u64) -> Region {
    // Outside long mode the walker cuts addresses to 32 bits, above which nothing is.
    let found = match paging.extent(gva, &Err(WalkError::NonCanonical)) {
        (first, u64::MAX) if gva >= first => Err(WalkError::NonCanonical),
        _ => paging.find(host, gva),
    };
    let (first, last) = paging.extent(gva, &found);
    let Ok(Translation { gpa, writable, executable, .. }) = found else {
        return Region { start: first, last, rights: None };
    };
    let (low, high, ram) = host.extent(gpa);
    let start = gva.saturating_sub(gpa.saturating_sub(low)).max(first);
    let last = gva.saturating_add(high.saturating_sub(gpa)).min(last);
    let rights = ram.then_some(Rights { write: writable, execute: executable });
    Region { start, last, rights }
}
