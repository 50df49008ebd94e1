//! The guest's physical memory: the nested tables, and the faults on them.
//!
//! The hole reads FFh and swallows writes for every instruction without decoding any: its pages show
//! one read-only page of FFh; a write gets a scratch page in its place for one step (docs/decisions).
use crate::instruction::inject_gp;
use crate::{Cpu, Host, Machine, step};
use handover::Span;
use paging::table::{
    self, ADDR, MapError, NX, PCD, PRESENT, PWT, PageSize, TableMemory, USER, WRITE, leaf, map,
    pde_address, split_to_4k,
};
use vcpu::{NestedFault, Vcpu};

const PAGE: u64 = 0x1000;
const ENTRIES: u64 = 512;
const MIB2: u64 = 2 << 20;
/// Pages one instruction may write to: a scatter of sixteen unaligned elements is the most there is.
const OPEN: usize = 32;

/// What becomes of a faulting access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is mapped now: try again.
    Again,
    /// A scratch page stands in for the hole: step, then close it.
    Opened,
    /// A scratch page stands in for the local APIC's: the same, and the value goes to the register.
    Apic(u64),
}

/// The local APIC's page, watched.
#[derive(Clone, Copy, Debug)]
struct Apic {
    base: u64,
    /// Address of its entry, and the entry without the right to write.
    at: u64,
    entry: u64,
    /// Where the access under way writes.
    writes: Option<u64>,
}

/// Where the VMM sees the local APIC's page while it is watched: a gibibyte behind the hole's first byte,
/// which is the most a hole can have.
pub const APIC_WINDOW: u64 = handover::VMM_BASE + (1 << 30);

/// The roots of both sets of tables, host-physical.
#[derive(Clone, Copy, Debug)]
pub struct Roots {
    /// The nested tables.
    pub guest: u64,
    /// The VMM's own.
    pub own: u64,
}

/// The nested tables.
pub struct Nested<T> {
    tables: T,
    root: u64,
    own_root: u64,
    no_execute: u64,
    hole: Span,
    ff_page: u64,
    scratch: u64,
    /// Entries of the hole that show the scratch page now.
    open: [Option<u64>; OPEN],
    apic: Option<Apic>,
    /// What the APIC window shows.
    shown: Option<u64>,
    first_pde: u64,
    a20_on: u64,
    a20_off: u64,
    identity_end: u64,
}

impl<T: TableMemory> Nested<T> {
    /// Take over the tables at `roots.guest`, in which everything below `identity_end` is mapped to itself but for
    /// `hole`, whose pages all show `ff_page`. The first 2 MiB are mapped by 4 KiB pages.
    ///
    /// # Errors
    /// The tables are not so, or there are too few pages for more.
    pub fn new(
        mut tables: T,
        Roots { guest: root, own: own_root }: Roots,
        hole: Span,
        ff_page: u64,
        identity_end: u64,
    ) -> Result<Self, MapError> {
        let first_pde = pde_address(&tables, root, 0).ok_or(MapError::Misaligned)?;
        let a20_on = tables.read(first_pde);
        let copy = tables.alloc().ok_or(MapError::OutOfTables)?;
        for n in 0..ENTRIES {
            // With A20 off, 1 MiB to 1 MiB + 64 KiB is the first 64 KiB again: all that real mode reaches.
            let from = if (256..272).contains(&n) { n.wrapping_sub(256) } else { n };
            let entry = tables.read(at(a20_on & ADDR, from));
            tables.write(at(copy, n), entry);
        }
        let no_execute = tables.alloc().ok_or(MapError::OutOfTables)?;
        let scratch = tables.alloc().ok_or(MapError::OutOfTables)?;
        let a20_off = copy | a20_on & !ADDR;
        // Of the VMM's own tables the lower half is data: the guest's memory.
        for n in 0..ENTRIES.wrapping_div(2) {
            let entry = tables.read(at(own_root, n));
            if entry & PRESENT != 0 {
                tables.write(at(own_root, n), entry | NX);
            }
        }
        let mut this = Self {
            tables,
            root,
            own_root,
            no_execute,
            hole,
            ff_page,
            scratch,
            open: [None; OPEN],
            apic: None,
            shown: None,
            first_pde,
            a20_on,
            a20_off,
            identity_end,
        };
        this.fill_scratch();
        Ok(this)
    }

    /// Whether the page at `gpa` is the VMM's.
    pub(crate) fn in_hole(&self, gpa: u64) -> bool {
        self.hole.overlaps(gpa, PAGE)
    }

    /// The root every CPU uses.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// A root that maps the same but nothing to be executed.
    pub(crate) fn no_execute(&mut self) -> u64 {
        for n in 0..ENTRIES {
            let entry = self.tables.read(at(self.root, n));
            let entry = if entry & PRESENT != 0 { entry | NX } else { entry };
            self.tables.write(at(self.no_execute, n), entry);
        }
        self.no_execute
    }

    /// Raise or lower the guest's A20 line. The caller flushes.
    pub(crate) fn set_a20(&mut self, on: bool) {
        let entry = if on { self.a20_on } else { self.a20_off };
        self.tables.write(self.first_pde, entry);
    }

    fn fill_scratch(&mut self) {
        for n in 0..ENTRIES {
            self.tables.write(at(self.scratch, n), u64::MAX);
        }
    }

    fn fault(&mut self, fault: NestedFault) -> Result<Outcome, MapError> {
        if self.hole.contains(fault.gpa, 1) {
            let page = fault.gpa & !(PAGE.wrapping_sub(1));
            let (entry, ..) = leaf(&self.tables, self.root, page).ok_or(MapError::Misaligned)?;
            // An instruction that needs more pages than these starts again with the first ones closed; none
            // of the x86's writes to so many.
            if self.open.iter().all(Option::is_some) {
                self.close();
            }
            if let Some(slot) = self.open.iter_mut().find(|slot| slot.is_none()) {
                *slot = Some(entry);
            }
            self.tables.write(entry, self.scratch | PRESENT | WRITE | USER);
            return Ok(Outcome::Opened);
        }
        let page = fault.gpa & !(PAGE.wrapping_sub(1));
        if fault.write
            && let Some(apic) = self.apic.as_mut().filter(|apic| apic.base == page)
        {
            apic.writes = Some(fault.gpa);
            self.tables.write(apic.at, self.scratch | PRESENT | WRITE | USER);
            return Ok(Outcome::Apic(fault.gpa));
        }
        let base = fault.gpa & !(MIB2.wrapping_sub(1));
        if fault.present || base < self.identity_end {
            return Err(MapError::Overlap);
        }
        // Four levels translate 48 bits.
        if base >= 1 << 48 {
            return Err(MapError::Misaligned);
        }
        let flags = WRITE | USER;
        match map(&mut self.tables, self.root, base, base, MIB2, flags, PageSize::Size2M) {
            Err(MapError::OutOfTables) => {
                self.recycle();
                map(&mut self.tables, self.root, base, base, MIB2, flags, PageSize::Size2M)?;
            }
            other => other?,
        }
        // A delivery under way uses the other root.
        self.no_execute();
        Ok(Outcome::Again)
    }

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
        self.apic = Some(Apic { base, at, entry, writes: None });
        Ok(())
    }

    /// Let the scratch page show `value` in the register at `gpa`, for an instruction that reads it too.
    fn show(&mut self, gpa: u64, value: u32) {
        let word = self.scratch | gpa & 0xff8;
        self.tables.write(word, u64::from(value).wrapping_shl((gpa as u32 & 4).wrapping_mul(8)));
    }

    /// The write to the APIC that a completed step made: guest-physical address and value.
    pub(crate) fn apic_written(&mut self) -> Option<(u64, u32)> {
        let gpa = self.apic.as_mut()?.writes?;
        let word = self.tables.read(self.scratch | gpa & 0xff8);
        Some((gpa, word.wrapping_shr((gpa as u32 & 4).wrapping_mul(8)) as u32))
    }

    /// Forget what was mapped on first touch, above the identity map, and take its tables back.
    fn recycle(&mut self) {
        const GIB: u64 = 1 << 30;
        for top in 0..ENTRIES {
            let root_entry = at(self.root, top);
            let pml4e = self.tables.read(root_entry);
            if pml4e & PRESENT == 0 {
                continue;
            }
            let whole = top.wrapping_mul(GIB.wrapping_mul(ENTRIES)) >= self.identity_end;
            for n in 0..ENTRIES {
                let gib = top.wrapping_mul(ENTRIES).wrapping_add(n);
                let slot = at(pml4e & ADDR, n);
                let pdpte = self.tables.read(slot);
                if gib.wrapping_mul(GIB) < self.identity_end || pdpte & PRESENT == 0 {
                    continue;
                }
                self.tables.write(slot, 0);
                if pdpte & table::LARGE == 0 {
                    self.tables.free(pdpte & ADDR);
                }
            }
            if whole {
                self.tables.write(root_entry, 0);
                self.tables.free(pml4e & ADDR);
            }
        }
    }

    /// The hole shows FFh again everywhere. Returns whether anything changed.
    pub(crate) fn close(&mut self) -> bool {
        let mut changed = false;
        for entry in core::mem::take(&mut self.open).into_iter().flatten() {
            self.tables.write(entry, self.ff_page | PRESENT | USER);
            changed = true;
        }
        if let Some(apic) = &mut self.apic
            && apic.writes.take().is_some()
        {
            self.tables.write(apic.at, apic.entry);
            changed = true;
        }
        if changed {
            self.fill_scratch();
        }
        changed
    }
}

const fn at(table: u64, n: u64) -> u64 {
    table.wrapping_add(n.wrapping_mul(8))
}

/// An access that the nested tables refuse.
pub(crate) fn fault<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
    fault: NestedFault,
) {
    if fault.fetch && fault.present && step::fetched(machine, cpu, vcpu) {
        return;
    }
    let outcome = machine.nested.lock().fault(fault);
    vcpu.flush();
    match outcome {
        Ok(Outcome::Again) => {}
        Ok(Outcome::Apic(gpa)) => {
            let value = machine.host.apic_read((gpa & 0xff0) as u16);
            machine.nested.lock().show(gpa, value);
            step::open_hole(machine, cpu, vcpu);
        }
        Ok(Outcome::Opened) => step::open_hole(machine, cpu, vcpu),
        // No table can show it, or there is no memory for one: nothing answers there.
        Err(_) => inject_gp(vcpu),
    }
}
