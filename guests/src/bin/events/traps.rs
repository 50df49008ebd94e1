//! The #DBs that come, each with its place and its cause.

use core::fmt;
use guests::cpu::{self, Racy};
use guests::exception::{self, DB, Frame};

const MAX: usize = 12;
/// RIP and DR6 of each.
static TRAPS: Racy<[(u64, u64); MAX]> = Racy::new([(0, 0); MAX]);
static COUNT: Racy<usize> = Racy::new(0);
/// The causes in DR6: B0 to B3, BD, BS, BT.
const CAUSES: u64 = 0xe00f;
const RF: u64 = 1 << 16;

fn trap(frame: &mut Frame) {
    let mut traps = TRAPS.get();
    if let Some(place) = traps.get_mut(COUNT.get()) {
        *place = (frame.rip, cpu::dr6() & CAUSES);
    }
    TRAPS.set(traps);
    COUNT.set(COUNT.get() + 1);
    cpu::set_dr6(0xffff_0ff0);
    frame.rflags |= RF; // over an instruction breakpoint
}

/// What `body` trapped at, as distances from the address it gives; an exception that ended it is told too.
pub(crate) struct Traps {
    pub(crate) from: u64,
    pub(crate) fault: Option<exception::Fault>,
}

pub(crate) fn of(mut body: impl FnMut() -> u64) -> Traps {
    COUNT.set(0);
    cpu::set_dr6(0xffff_0ff0);
    exception::hook(DB, Some(trap));
    let mut from = 0;
    let fault = exception::catch(|| from = body());
    exception::hook(DB, None);
    Traps { from, fault }
}

impl fmt::Display for Traps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = COUNT.get();
        for (rip, dr6) in TRAPS.get().into_iter().take(count) {
            write!(f, "{:+}:{dr6:x} ", rip.wrapping_sub(self.from) as i64)?;
        }
        match self.fault {
            Some(fault) => write!(f, "then {:x}:{:x}", fault.vector, fault.error),
            None => write!(f, "of {count}"),
        }
    }
}
