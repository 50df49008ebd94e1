//! The guest's memory and the nested tables, through the VMM's own address space: the lower half is
//! guest-physical memory as the guest sees it, the hole lies at `VMM_BASE`.
use core::arch::asm;
use handover::{HandOver, MAX_RAM_SPANS, Span, VMM_BASE};
use paging::table::{PageSize, TableMemory, leaf};

/// The guest's RAM. Every access is bounded by the spans setup found.
pub(crate) struct Ram {
    /// The span most accesses fall into: its base, and its length less a page, so that one comparison
    /// tells for anything up to a page long that it lies inside.
    main: u64,
    main_len: u64,
    spans: [Span; MAX_RAM_SPANS],
    len: usize,
}

impl Ram {
    pub(crate) fn new(handover: &HandOver) -> Self {
        let len = (handover.ram_len as usize).min(MAX_RAM_SPANS);
        let spans = handover.ram;
        let main = spans.iter().take(len).copied().max_by_key(|span| span.len).unwrap_or_default();
        Self { main: main.base, main_len: main.len.saturating_sub(4096), spans, len }
    }

    /// First byte behind all RAM.
    pub(crate) fn end(&self) -> u64 {
        self.spans.iter().take(self.len).map(|span| span.end()).max().unwrap_or(0)
    }

    #[inline(always)]
    fn has(&self, gpa: u64, len: u64) -> bool {
        len <= 4096 && gpa.wrapping_sub(self.main) < self.main_len || self.elsewhere(gpa, len)
    }

    #[cold]
    fn elsewhere(&self, gpa: u64, len: u64) -> bool {
        self.spans.iter().take(self.len).any(|span| span.contains(gpa, len))
    }

    /// The addresses around `gpa` that are RAM, or no RAM, as it is: the first, the last, and which.
    pub(crate) fn extent(&self, gpa: u64) -> (u64, u64, bool) {
        let spans = || self.spans.iter().take(self.len).filter(|span| span.len != 0);
        if let Some(span) = spans().find(|span| span.contains(gpa, 1)) {
            return (span.base, span.end() - 1, true);
        }
        let below = spans().map(|span| span.end()).filter(|end| *end <= gpa).max();
        let above = spans().map(|span| span.base).filter(|base| *base > gpa).min();
        (below.unwrap_or(0), above.map_or(u64::MAX, |base| base - 1), false)
    }

    /// Zero a range, as far as it is RAM.
    pub(crate) fn wipe(&self, span: Span) {
        for page in (span.base..span.end()).step_by(4096) {
            let len = (span.end() - page).min(4096) as usize;
            self.write(page, &[0; 4096][..len]);
        }
    }

    #[inline(always)]
    pub(crate) fn read_u64(&self, gpa: u64) -> Option<u64> {
        self.has(gpa, 8).then(|| {
            let value: u64;
            // SAFETY: RAM of the guest, mapped at its own address; never the VMM's.
            unsafe {
                asm!("mov {}, [{}]", out(reg) value, in(reg) gpa, options(nostack, readonly))
            };
            value
        })
    }

    #[inline(always)]
    pub(crate) fn read_u16(&self, gpa: u64) -> Option<u16> {
        self.has(gpa, 2).then(|| {
            let value: u32;
            // SAFETY: as above.
            unsafe {
                asm!("movzx {:e}, word ptr [{}]", out(reg) value, in(reg) gpa, options(nostack, readonly));
            }
            value as u16
        })
    }

    pub(crate) fn read(&self, gpa: u64, out: &mut [u8]) -> bool {
        let there = self.has(gpa, out.len() as u64);
        if there {
            // SAFETY: the source is RAM of the guest, the target is ours and of that length. Address 0 is
            // memory here, which no Rust pointer may say.
            unsafe {
                asm!("rep movsb", inout("rcx") out.len() => _, inout("rsi") gpa => _,
                    inout("rdi") out.as_mut_ptr() => _, options(nostack, preserves_flags));
            }
        }
        there
    }

    pub(crate) fn write(&self, gpa: u64, data: &[u8]) -> bool {
        let there = self.has(gpa, data.len() as u64);
        if there {
            // SAFETY: the target is RAM of the guest and nothing of the VMM's.
            unsafe {
                asm!("rep movsb", inout("rcx") data.len() => _, inout("rsi") data.as_ptr() => _,
                    inout("rdi") gpa => _, options(nostack, preserves_flags));
            }
        }
        there
    }
}

/// Pages kept for tables.
const POOL: u64 = 32;

/// The tables' memory: entries anywhere in the hole, new pages from a list of free ones, each of which says where the next is.
/// It has no end: the pages setup took for the types of memory come back when a guest switches the MTRRs off, and are wanted
/// again when it switches them on.
pub(crate) struct Tables {
    hole: Span,
    /// The first free page; 0 for none.
    free: u64,
}

impl Tables {
    /// # Safety
    /// `pages` is page-aligned memory of the hole that nothing else uses; all tables lie in the hole, which
    /// is mapped at `VMM_BASE`.
    pub(crate) unsafe fn new(hole: Span, pages: u64) -> Self {
        let mut this = Self { hole, free: 0 };
        (0..POOL).for_each(|n| this.free(pages.wrapping_add(n * 4096)));
        this
    }

    /// Take a page of the hole, at host-physical `hpa`, out of the VMM's own tables: the lowest of a stack, so that an
    /// overflow is a fault. The VMM's own translations are flushed before the guest runs.
    pub(crate) fn guard(&mut self, own_root: u64, hpa: u64) {
        let address = VMM_BASE.wrapping_add(hpa.wrapping_sub(self.hole.base));
        if let Some((at, _, PageSize::Size4K)) = leaf(self, own_root, address) {
            self.write(at, 0);
        }
    }

    /// Bytes the pool takes.
    pub(crate) const BYTES: u64 = POOL * 4096;

    fn pointer(&self, hpa: u64) -> Option<*mut u64> {
        let inside = hpa & 7 == 0 && self.hole.contains(hpa, 8);
        inside.then(|| VMM_BASE.wrapping_add(hpa.wrapping_sub(self.hole.base)) as *mut u64)
    }
}

impl TableMemory for Tables {
    fn alloc(&mut self) -> Option<u64> {
        let page = Some(self.free).filter(|page| *page != 0)?;
        self.free = self.read(page);
        (0..512).for_each(|n| self.write(page.wrapping_add(n * 8), 0));
        Some(page)
    }

    fn free(&mut self, hpa: u64) {
        self.write(hpa, self.free);
        self.free = hpa;
    }

    fn read(&self, hpa: u64) -> u64 {
        // SAFETY: an aligned word of the hole; the CPU's walkers read it and may set bits in it.
        self.pointer(hpa).map_or(0, |entry| unsafe { entry.read_volatile() })
    }

    fn write(&mut self, hpa: u64, entry: u64) {
        if let Some(place) = self.pointer(hpa) {
            // SAFETY: as above; `self` is the only writer.
            unsafe { place.write_volatile(entry) };
        }
    }
}
