//! What the VMM's memory holds, in which order, and how much of it there is.

use handover::{HandOver, MAX_CPUS, PER_CPU_BYTES, SHARED_BYTES, Span};
use paging::table::{PageSize, tables_for};

/// Bytes in the smallest page.
pub(crate) const PAGE: u64 = 4096;
/// Bytes a page table covers: the alignment of the hole, and the unit it is cut out of the nested
/// tables in.
pub(crate) const LARGE_PAGE: u64 = 2 << 20;
/// Where memory-mapped devices end and RAM goes on, on every PC.
pub(crate) const FOUR_GIB: u64 = 4 << 30;
/// Bytes of stack the resident starts on.
const STACK_LEN: u64 = 32 << 10;
/// The hole is mapped by one page directory.
const MAX_HOLE: u64 = 1 << 30;

const _: () = assert!(size_of::<HandOver>() as u64 <= PAGE);

/// What decides the size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// Bytes of the image in memory, a multiple of 4 KiB.
    pub(crate) image_len: u64,
    /// CPUs the resident keeps memory for, at most [`MAX_CPUS`].
    pub(crate) cpus: u32,
    /// End of the nested identity map, a multiple of 2 MiB, at least 4 GiB.
    pub(crate) mapped_end: u64,
    /// The largest pages above 4 GiB.
    pub(crate) max_page: PageSize,
    /// The nested tables have a format of their own, and this many more pages for their memory types.
    pub(crate) typed: Option<u64>,
}

/// The parts of the hole, in bytes from its start, each a multiple of 4 KiB; their order is the
/// order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The resident image.
    pub(crate) image: Span,
    /// The page with the [`HandOver`].
    pub(crate) handover: Span,
    /// The page with the CPUs' local APIC IDs.
    pub(crate) processors: Span,
    /// Pages for the nested tables and the VMM's own.
    pub(crate) tables: Span,
    /// The page of FFh bytes. The VMM's own tables map it read-only, so that the stack above
    /// it cannot overflow into the tables unnoticed.
    pub(crate) ff_page: Span,
    /// The stack the resident starts on.
    pub(crate) stack: Span,
    /// The resident's pools.
    pub(crate) free: Span,
}

impl Layout {
    /// Sizes every part. `None` if the hole would exceed 1 GiB.
    #[must_use]
    pub(crate) fn new(needs: &Needs) -> Option<Self> {
        // The hole's own size decides how many page tables it needs on either side.
        let mut page_tables = 1;
        loop {
            let layout = Self::with(needs, page_tables)?;
            let needed = layout.len().div_ceil(LARGE_PAGE);
            if needed <= page_tables {
                return Some(layout);
            }
            page_tables = needed;
        }
    }

    /// Bytes in all.
    #[must_use]
    pub(crate) fn len(&self) -> u64 {
        self.free.end()
    }

    fn with(needs: &Needs, page_tables: u64) -> Option<Self> {
        let mut end = 0_u64;
        let mut next = |len: u64| {
            let span = Span { base: end, len };
            end = end.checked_add(len).filter(|end| *end <= MAX_HOLE)?;
            Some(span)
        };
        let shared = nested_tables(needs) + 3 + 2 * page_tables;
        let tables = match needs.typed {
            // Once more, with the hole's page tables.
            Some(more) => shared + nested_tables(needs) + page_tables + more,
            None => shared,
        };
        let pool = u64::from(needs.cpus).checked_mul(PER_CPU_BYTES)?.checked_add(SHARED_BYTES)?;
        Some(Self {
            image: next(needs.image_len)?,
            handover: next(PAGE)?,
            processors: next((4 * MAX_CPUS) as u64)?,
            tables: next(tables.checked_mul(PAGE)?)?,
            ff_page: next(PAGE)?,
            stack: next(STACK_LEN)?,
            free: next(pool)?,
        })
    }
}

/// Nested tables without those of the hole: the root, large pages up to `mapped_end` (never above
/// 2 MiB below 4 GiB: memory types change there), and the page table of the first 2 MiB.
fn nested_tables(needs: &Needs) -> u64 {
    let directories = match needs.max_page {
        PageSize::Size1G => FOUR_GIB >> 30,
        PageSize::Size2M | PageSize::Size4K => 0,
    };
    1 + directories + tables_for(needs.mapped_end, needs.max_page) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(cpus: u32, gib: u64, max_page: PageSize) -> Needs {
        let mapped_end = (gib << 30).max(FOUR_GIB);
        Needs { image_len: 512 << 10, cpus, mapped_end, max_page, typed: None }
    }

    #[test]
    fn one_cpu_costs_less_than_two_mib() {
        for gib in 0..=64 {
            let large = Layout::new(&needs(1, gib, PageSize::Size1G)).unwrap();
            let small = Layout::new(&needs(1, gib, PageSize::Size2M)).unwrap();
            assert!(large.len() < LARGE_PAGE && small.len() < LARGE_PAGE, "{gib} GiB");
        }
    }

    #[test]
    fn parts_are_pages_and_follow_each_other() {
        let layout = Layout::new(&needs(3, 6, PageSize::Size2M)).unwrap();
        let parts = [
            layout.image,
            layout.handover,
            layout.processors,
            layout.tables,
            layout.ff_page,
            layout.stack,
            layout.free,
        ];
        let mut end = 0;
        for part in parts {
            assert_eq!((part.base, part.len % PAGE), (end, 0));
            end = part.end();
        }
        assert_eq!(layout.free.len, SHARED_BYTES + 3 * PER_CPU_BYTES);
    }

    #[test]
    fn a_hole_too_large_is_refused() {
        assert_eq!(Layout::new(&needs(u32::MAX, 4, PageSize::Size1G)), None);
    }
}
