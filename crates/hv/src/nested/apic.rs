//! The local APIC's page in the nested tables, where writes to it are watched, and in the VMM's own.
use super::{APIC_WINDOW, Nested, PAGE};
use paging::table::{MapError, NX, PCD, PRESENT, PWT, TableMemory, WRITE, split_to_4k};

/// The local APIC's page, watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) base: u64,
    /// Address of its entry, and the entry without the right to write.
    pub(super) at: u64,
    pub(super) entry: u64,
    /// Where the access under way writes.
    pub(super) writes: Option<u64>,
}

impl<T: TableMemory> Nested<T> {
    /// Show the local APIC's page at `base` in its window: whether the VMM's translations must be flushed for it.
    pub(crate) fn show_apic(&mut self, base: u64) -> Result<bool, MapError> {
        if self.shown == Some(base) {
            return Ok(false);
        }
        let window = split_to_4k(&mut self.tables, self.own_root, APIC_WINDOW)?;
        self.tables.write(window, base | PRESENT | WRITE | PCD | PWT | NX);
        self.shown = Some(base);
        Ok(true)
    }

    /// Watch writes to the local APIC's page at `base`, from now on.
    pub(crate) fn protect_apic(&mut self, base: u64) -> Result<(), MapError> {
        self.show_apic(base)?;
        let at = split_to_4k(&mut self.tables, self.root, base)?;
        let entry = self.tables.read(at) & !WRITE;
        self.tables.write(at, entry);
        self.apic = Some(Page { base, at, entry, writes: None });
        Ok(())
    }

    /// Whether writes to the page of `gpa` are watched as the local APIC's.
    pub(crate) fn is_apic(&self, gpa: u64) -> bool {
        self.apic.is_some_and(|apic| apic.base == gpa & !(PAGE.wrapping_sub(1)))
    }

    /// Let the scratch page show `value` in the register at `gpa`, for an instruction that reads it too.
    pub(super) fn show(&mut self, gpa: u64, value: u32) {
        let word = self.scratch | gpa & 0xff8;
        self.tables.write(word, u64::from(value).wrapping_shl((gpa as u32 & 4).wrapping_mul(8)));
    }

    /// The write to the APIC that a completed step made: guest-physical address and value.
    pub(crate) fn apic_written(&mut self) -> Option<(u64, u32)> {
        let gpa = self.apic.as_mut()?.writes?;
        let word = self.tables.read(self.scratch | gpa & 0xff8);
        Some((gpa, word.wrapping_shr((gpa as u32 & 4).wrapping_mul(8)) as u32))
    }
}
