//! What one CPU owns beside its vCPU.
use crate::{nmi::Nmi, step::Step};
use vcpu::Exit;

/// The state of one CPU. Nothing here is shared.
#[derive(Debug, Default)]
pub struct Cpu {
    /// Exits by [`Exit::reason`].
    pub counters: [u64; Exit::REASONS],
    pub(crate) nmi: Nmi,
    pub(crate) step: Option<Step>,
    /// An instruction was completed for the guest while it was stepped: the step is over.
    pub(crate) retired: bool,
    /// The guest executed HLT or MWAIT and nothing has woken it.
    pub(crate) halted: bool,
}

impl Cpu {
    /// A CPU that has not run yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[inline]
    pub(crate) fn count(&mut self, exit: &Exit) {
        if let Some(counter) = self.counters.get_mut(exit.reason()) {
            *counter = counter.wrapping_add(1);
        }
    }
}
