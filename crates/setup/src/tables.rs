//! The nested tables the guest runs under and the VMM's own.

use handover::{Span, VMM_BASE};
use paging::mtrr::{MemoryType, Mtrrs};
use paging::table::{
    Format, MapError, NX, PRESENT, PageSize, Root, TableMemory, WRITE, map, map_typed,
};

use crate::image::Segment;
use crate::layout::{FOUR_GIB, LARGE_PAGE, Layout, Needs, PAGE};

/// Entries of the PML4 that cover the lower half.
const LOWER_HALF: u64 = 256;

/// Zeroed pages, given out in ascending order.
pub(crate) struct Pages<'a> {
    base: u64,
    memory: &'a mut [u8],
    used: u64,
}

impl<'a> Pages<'a> {
    /// Gives out `memory`, which lies at host-physical `base` (a multiple of 4 KiB) and is zero.
    #[must_use]
    pub(crate) fn new(base: u64, memory: &'a mut [u8]) -> Self {
        Self { base, memory, used: 0 }
    }

    fn offset(&self, hpa: u64) -> Option<usize> {
        usize::try_from(hpa.checked_sub(self.base)?).ok()
    }
}

impl TableMemory for Pages<'_> {
    fn alloc(&mut self) -> Option<u64> {
        let at = self.used;
        let used = at.checked_add(PAGE)?;
        if used > self.memory.len() as u64 {
            return None;
        }
        self.used = used;
        Some(self.base + at)
    }

    fn read(&self, hpa: u64) -> u64 {
        self.offset(hpa)
            .and_then(|at| self.memory.get(at..)?.first_chunk())
            .map_or(0, |entry| u64::from_le_bytes(*entry))
    }

    fn write(&mut self, hpa: u64, entry: u64) {
        let at = self.offset(hpa);
        if let Some(slot) = at.and_then(|at| self.memory.get_mut(at..)?.first_chunk_mut()) {
            *slot = entry.to_le_bytes();
        }
    }
}

/// Builds nested tables: memory at its own address, but every page of the hole is the FFh page, read-only
/// (`AMD APM 2, 15.25.5`: a nested walk needs USER). With `types` they have EPT's format and say those. Returns
/// the root.
///
/// # Errors
/// `OutOfTables` if the layout was computed for other needs; `Scattered` with MTRRs of too many ranges.
pub(crate) fn nested(
    pages: &mut Pages<'_>,
    needs: &Needs,
    hole: Span,
    ff_page: u64,
    types: Option<&Mtrrs>,
) -> Result<u64, MapError> {
    let hpa = pages.alloc().ok_or(MapError::OutOfTables)?;
    let format = if types.is_some() { Format::Ept } else { Format::Long };
    let root = Root { hpa, format };
    let none = Mtrrs::none();
    let types = types.unwrap_or(&none);
    let ram = format.nested(true, true, MemoryType::WriteBack);
    let mut identity =
        |from: u64, to: u64, max| map_typed(pages, root, types, from..to.max(from), ram, max);
    let split_end = hole.end().next_multiple_of(LARGE_PAGE);
    // The fixed-range MTRRs change memory types inside the first MiB.
    identity(0, LARGE_PAGE, PageSize::Size4K)?;
    identity(LARGE_PAGE, hole.base, PageSize::Size2M)?;
    identity(hole.end(), split_end, PageSize::Size4K)?;
    identity(split_end, FOUR_GIB, PageSize::Size2M)?;
    identity(FOUR_GIB, needs.mapped_end, needs.max_page)?;
    let hidden = format.nested(false, true, MemoryType::WriteBack);
    for at in (hole.base..hole.end()).step_by(PAGE as usize) {
        map(pages, root, at, ff_page, PAGE, hidden, PageSize::Size4K)?;
    }
    Ok(hpa)
}

/// Builds the VMM's own tables: the lower half is that of `nested_root`, in long mode's format, then the hole at
/// [`VMM_BASE`] with the image's segments protected as they ask. Returns the root.
///
/// # Errors
/// `OutOfTables` if the layout was computed for other needs.
pub(crate) fn host(
    pages: &mut Pages<'_>,
    nested_root: u64,
    hole: u64,
    layout: &Layout,
    segments: &[Segment],
) -> Result<u64, MapError> {
    let root = pages.alloc().ok_or(MapError::OutOfTables)?;
    for index in 0..LOWER_HALF {
        let entry = pages.read(nested_root + index * 8);
        pages.write(root + index * 8, entry);
    }
    let mut protect = |from: u64, to: u64, flags| {
        let len = to.saturating_sub(from);
        map(pages, root, VMM_BASE + from, hole + from, len, flags, PageSize::Size4K)
    };
    for segment in segments {
        let write = if segment.write { WRITE } else { 0 };
        let execute = if segment.execute { 0 } else { NX };
        protect(segment.first_page(), segment.end_page(), PRESENT | write | execute)?;
    }
    protect(layout.image.end(), layout.ff_page.base, PRESENT | WRITE | NX)?;
    protect(layout.ff_page.base, layout.ff_page.end(), PRESENT | NX)?;
    protect(layout.ff_page.end(), layout.len(), PRESENT | WRITE | NX)?;
    Ok(root)
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
