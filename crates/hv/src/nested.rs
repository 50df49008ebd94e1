//! The guest's physical memory: the nested tables, and the faults on them.
//!
//! The hole reads FFh and swallows writes for every instruction without decoding any: its pages show
//! one read-only page of FFh; a write gets a scratch page in its place for one step (docs/decisions).
mod apic;

use crate::instruction::inject_gp;
use crate::{Cpu, Host, Machine, step, string_store};
use handover::Span;
use paging::mtrr::{MemoryType, Mtrrs};
use paging::table::{
    self, ADDR, Format, MapError, NX, PRESENT, PageSize, Root, TableMemory, follow, leaf,
    map_typed, pde_address,
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

/// Where the VMM sees the local APIC's page while it is watched: a gibibyte behind the hole's first byte,
/// which is the most a hole can have.
pub const APIC_WINDOW: u64 = handover::VMM_BASE + (1 << 30);

/// The roots of both sets of tables.
#[derive(Clone, Copy, Debug)]
pub struct Roots {
    /// The nested tables.
    pub guest: Root,
    /// The VMM's own, host-physical.
    pub own: u64,
}

/// A table's first entry with A20 on and off, and where it stands.
#[derive(Clone, Copy, Debug)]
struct A20 {
    place: u64,
    on: u64,
    off: u64,
}

/// The nested tables.
pub struct Nested<T> {
    tables: T,
    root: Root,
    /// What the leaves say where they say types: the MTRRs.
    types: Mtrrs,
    own_root: u64,
    no_execute: u64,
    hole: Span,
    ff_page: u64,
    scratch: u64,
    /// Entries of the hole that show the scratch page now.
    open: [Option<u64>; OPEN],
    apic: Option<apic::Page>,
    /// What the APIC window shows.
    shown: Option<u64>,
    /// Of the nested tables, and of the VMM's own where they do not share the lower half.
    a20: [Option<A20>; 2],
    a20_on: bool,
    identity_end: u64,
    /// Nothing is mapped from here on.
    end: u64,
}

/// With A20 off, 1 MiB to 1 MiB + 64 KiB is the first 64 KiB again: all that real mode reaches.
fn alias<T: TableMemory>(tables: &mut T, it: A20) {
    for n in 0..ENTRIES {
        let from = if (256..272).contains(&n) { n.wrapping_sub(256) } else { n };
        let entry = tables.read(at(it.on & ADDR, from));
        tables.write(at(it.off & ADDR, n), entry);
    }
}

/// What is needed to lower and raise A20 in the tables at `root`.
fn a20<T: TableMemory>(tables: &mut T, root: Root) -> Result<A20, MapError> {
    let place = pde_address(tables, root, 0).ok_or(MapError::Misaligned)?;
    let on = tables.read(place);
    let copy = tables.alloc().ok_or(MapError::OutOfTables)?;
    let it = A20 { place, on, off: copy | on & !ADDR };
    alias(tables, it);
    Ok(it)
}

impl<T: TableMemory> Nested<T> {
    /// Take over the tables at `roots.guest`, in which everything below `identity_end` is mapped to itself but for
    /// `hole`, whose pages all show `ff_page`; up to `end` (`x86defs::addresses`) more is mapped on first touch. The first
    /// 2 MiB are mapped by 4 KiB pages. Where the leaves say memory types, they say those of `types`.
    ///
    /// # Errors
    /// The tables are not so, or there are too few pages for more.
    pub fn new(
        mut tables: T,
        Roots { guest: root, own: own_root }: Roots,
        types: Mtrrs,
        hole: Span,
        ff_page: u64,
        (identity_end, end): (u64, u64),
    ) -> Result<Self, MapError> {
        let mut both = [Some(a20(&mut tables, root)?), None];
        let own = pde_address(&tables, own_root, 0);
        if let [Some(first), second] = &mut both
            && own.is_some_and(|place| place != first.place)
        {
            *second = Some(a20(&mut tables, own_root.into())?);
        }
        let no_execute = tables.alloc().ok_or(MapError::OutOfTables)?;
        let scratch = tables.alloc().ok_or(MapError::OutOfTables)?;
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
            types,
            own_root,
            no_execute,
            hole,
            ff_page,
            scratch,
            open: [None; OPEN],
            apic: None,
            shown: None,
            a20: both,
            a20_on: true,
            identity_end,
            end,
        };
        this.fill_scratch();
        Ok(this)
    }

    /// Whether the page at `gpa` is the VMM's.
    pub(crate) fn in_hole(&self, gpa: u64) -> bool {
        self.hole.overlaps(gpa, PAGE)
    }

    /// The root every CPU uses, host-physical.
    pub fn root(&self) -> u64 {
        self.root.hpa
    }

    /// A leaf's attributes: RAM of the VMM's own in the place of something, to be written or not.
    const fn stand_in(&self, write: bool) -> u64 {
        self.root.format.nested(write, true, MemoryType::WriteBack)
    }

    /// A root that maps the same but nothing to be executed.
    pub(crate) fn no_execute(&mut self) -> u64 {
        for n in 0..ENTRIES {
            let entry = self.tables.read(at(self.root.hpa, n));
            let present = self.root.format.present(entry);
            let entry = if present { self.root.format.without_execute(entry) } else { entry };
            self.tables.write(at(self.no_execute, n), entry);
        }
        self.no_execute
    }

    /// Raise or lower the guest's A20 line. The caller flushes.
    pub(crate) fn set_a20(&mut self, on: bool) {
        self.a20_on = on;
        for it in self.a20.into_iter().flatten() {
            self.tables.write(it.place, if on { it.on } else { it.off });
        }
    }

    /// Whether the tables say memory types, so that they must hear of the MTRRs.
    pub(crate) fn is_typed(&self) -> bool {
        self.root.format == Format::Ept
    }

    /// The guest has written an MTRR, which the CPU accepted: its memory has other types now. The caller flushes.
    pub(crate) fn set_mtrr(&mut self, register: u32, value: u64) -> Result<(), MapError> {
        let before = self.types.clone();
        if self.types.write(register, value).is_err() {
            return Err(MapError::Misaligned);
        }
        let on = self.a20_on;
        self.set_a20(true);
        let end = self.identity_end;
        let now = &self.types;
        let done = follow(&mut self.tables, self.root, (&before, now), end, PageSize::Size2M);
        for it in self.a20.into_iter().flatten() {
            alias(&mut self.tables, it);
        }
        self.set_a20(on);
        // What was mapped on first touch has the types of before.
        self.recycle();
        done
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
            let scratch = self.scratch | self.stand_in(true);
            self.tables.write(entry, scratch);
            return Ok(Outcome::Opened);
        }
        let page = fault.gpa & !(PAGE.wrapping_sub(1));
        if fault.write
            && let Some(apic) = self.apic.as_mut().filter(|apic| apic.base == page)
        {
            apic.writes = Some(fault.gpa);
            let shown = self.root.format.nested(true, true, MemoryType::WriteBack);
            self.tables.write(apic.at, self.scratch | shown);
            return Ok(Outcome::Apic(fault.gpa));
        }
        let base = fault.gpa & !(MIB2.wrapping_sub(1));
        if fault.present || base < self.identity_end {
            return Err(MapError::Overlap);
        }
        if base >= self.end {
            return Err(MapError::Misaligned);
        }
        if let Err(MapError::OutOfTables) = self.touch(base) {
            self.recycle();
            self.touch(base)?;
        }
        // A delivery under way uses the other root.
        self.no_execute();
        Ok(Outcome::Again)
    }

    /// Map the 2 MiB at `base` on first touch, each part with the type the MTRRs say.
    fn touch(&mut self, base: u64) -> Result<(), MapError> {
        let flags = self.root.format.nested(true, true, MemoryType::WriteBack);
        let range = base..base.wrapping_add(MIB2);
        map_typed(&mut self.tables, self.root, &self.types, range, flags, PageSize::Size2M)
    }

    /// Forget what was mapped on first touch, above the identity map, and take its tables back.
    fn recycle(&mut self) {
        const GIB: u64 = 1 << 30;
        for top in 0..ENTRIES {
            let root_entry = at(self.root.hpa, top);
            let pml4e = self.tables.read(root_entry);
            if !self.root.format.present(pml4e) {
                continue;
            }
            let whole = top.wrapping_mul(GIB.wrapping_mul(ENTRIES)) >= self.identity_end;
            for n in 0..ENTRIES {
                let gib = top.wrapping_mul(ENTRIES).wrapping_add(n);
                let slot = at(pml4e & ADDR, n);
                let pdpte = self.tables.read(slot);
                if gib.wrapping_mul(GIB) < self.identity_end || !self.root.format.present(pdpte) {
                    continue;
                }
                self.tables.write(slot, 0);
                if pdpte & table::LARGE == 0 {
                    self.free_directory(pdpte & ADDR);
                }
            }
            if whole {
                self.tables.write(root_entry, 0);
                self.tables.free(pml4e & ADDR);
            }
        }
    }

    /// Take back a page directory, and the page tables below it.
    fn free_directory(&mut self, directory: u64) {
        for n in 0..ENTRIES {
            let pde = self.tables.read(at(directory, n));
            if self.root.format.present(pde) && pde & table::LARGE == 0 {
                self.tables.free(pde & ADDR);
            }
        }
        self.tables.free(directory);
    }

    /// The hole shows FFh again everywhere. Returns whether anything changed.
    pub(crate) fn close(&mut self) -> bool {
        let mut changed = false;
        for entry in core::mem::take(&mut self.open).into_iter().flatten() {
            let hidden = self.ff_page | self.stand_in(false);
            self.tables.write(entry, hidden);
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
    if fault.write
        && !fault.table_walk
        && crate::apic::store(machine, cpu, vcpu, fault.gpa).is_some()
    {
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
        Ok(Outcome::Opened) => {
            if fault.write && !fault.table_walk {
                string_store::pass_over(machine, cpu, vcpu, fault.gpa);
            }
            step::open_hole(machine, cpu, vcpu);
        }
        // No table can show it, or there is no memory for one: nothing answers there.
        Err(_) => inject_gp(vcpu),
    }
}
