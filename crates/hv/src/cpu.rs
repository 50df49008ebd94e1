//! What one CPU owns beside its vCPU.
use crate::{counter::Counter, debug::Hardware, exits::Exits, nmi::Nmi, step::Step};
use core::fmt;
use vcpu::{Exit, Vcpu};

/// The state of one CPU. Nothing here is shared.
#[derive(Debug, Default)]
pub struct Cpu {
    /// Exits by [`Exit::reason`].
    pub counters: [u64; Exit::REASONS],
    pub(crate) exits: Exits,
    pub(crate) counter: Option<Counter>,
    pub(crate) hardware: Hardware,
    pub(crate) nmi: Nmi,
    pub(crate) step: Option<Step>,
    /// An instruction was completed for the guest while it was stepped: the step is over.
    pub(crate) retired: bool,
    /// The guest executed HLT or MWAIT and nothing has woken it.
    pub(crate) halted: bool,
    /// The guest has set MCG_STATUS.MCIP itself.
    pub(crate) mcip: bool,
}

impl Cpu {
    /// A CPU that has not run yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes how often it exited, a line for each kind.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn write_counters(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut rows = Exit::NAMES.iter().zip(self.counters);
        rows.try_for_each(|(name, count)| writeln!(out, "{name} {count}"))
    }

    #[inline(always)]
    pub(crate) fn count<V: Vcpu>(&mut self, exit: &Exit, vcpu: &V) {
        self.exits.note(exit, vcpu);
        if let Some(counter) = self.counters.get_mut(exit.reason()) {
            *counter = counter.wrapping_add(1);
        }
    }
}
