//! Software breakpoints: the byte of an ICEBP (F1h) in the guest's memory while it runs, never while
//! it is stopped. ICEBP has an intercept of its own at every privilege level (APM 2, 15.9), so
//! the guest's INT3 stays its own and no exception needs to be intercepted.
use super::hardware::Wanted;
use crate::Host;
use stub::BreakpointError;

/// The breakpoint instruction.
const ICEBP: u8 = 0xf1;
/// Software breakpoints that can be set at once.
const SLOTS: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Software {
    gva: u64,
    gpa: u64,
    byte: u8,
    inserted: bool,
}

/// The analyst's breakpoints.
#[derive(Debug)]
pub(crate) struct Debugger {
    software: [Option<Software>; SLOTS],
    pub(super) hardware: Wanted,
}

impl Default for Debugger {
    fn default() -> Self {
        Self { software: [None; SLOTS], hardware: Wanted::default() }
    }
}

impl Debugger {
    /// Set a breakpoint at linear address `gva`, which is at `gpa` now. Setting it twice is setting it once.
    pub(super) fn add_software<H: Host>(
        &mut self,
        host: &H,
        gva: u64,
        gpa: u64,
    ) -> Result<(), BreakpointError> {
        if self.software_at(gva) {
            return Ok(());
        }
        let mut byte = [0];
        if !host.read_memory(gpa, &mut byte) {
            return Err(BreakpointError::Memory);
        }
        let [byte] = byte;
        let free = self.software.iter_mut().find(|slot| slot.is_none());
        *free.ok_or(BreakpointError::Full)? = Some(Software { gva, gpa, byte, inserted: false });
        Ok(())
    }

    pub(super) fn remove_one_software(&mut self, gva: u64) -> Result<(), BreakpointError> {
        let slot = self.software.iter_mut().find(|slot| slot.is_some_and(|it| it.gva == gva));
        *slot.ok_or(BreakpointError::Unsupported)? = None;
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.software = [None; SLOTS];
        self.hardware.clear();
    }

    pub(super) fn has_software(&self) -> bool {
        self.software.iter().any(Option::is_some)
    }

    pub(super) fn software_at(&self, gva: u64) -> bool {
        self.software.iter().flatten().any(|it| it.gva == gva)
    }

    /// Whether one is in memory at `gva` now.
    pub(super) fn inserted_at(&self, gva: u64) -> bool {
        self.software.iter().flatten().any(|it| it.gva == gva && it.inserted)
    }

    /// Put every breakpoint into memory.
    pub(super) fn insert_software<H: Host>(&mut self, host: &H) {
        for it in self.software.iter_mut().flatten() {
            let mut byte = [0];
            if host.read_memory(it.gpa, &mut byte) {
                [it.byte] = byte;
                it.inserted = host.write_memory(it.gpa, &[ICEBP]);
            }
        }
    }

    /// Take every breakpoint out of memory. A byte the guest has overwritten meanwhile stays.
    pub(super) fn remove_software<H: Host>(&mut self, host: &H) {
        for it in self.software.iter_mut().flatten() {
            let mut byte = [0];
            if core::mem::take(&mut it.inserted)
                && host.read_memory(it.gpa, &mut byte)
                && byte == [ICEBP]
            {
                host.write_memory(it.gpa, &[it.byte]);
            }
        }
    }
}
