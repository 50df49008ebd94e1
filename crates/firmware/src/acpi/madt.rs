//! The Multiple APIC Description Table: which CPUs there are; ACPI 6.5, 5.2.12.
use super::{CHECKSUM, Rsdp, Table, roots};
use crate::le::{fix_checksum, patch, u32_at};
use crate::{ApicIds, Disabled, Error, Phys, PhysMut};

const NAME: &str = "APIC";
/// Offset of the first entry: after the header, the local APIC's address and the flags.
const FIRST: usize = 44;
/// Copies of the table that are looked at. Firmware publishes one.
const MAX_COPIES: usize = 4;

/// A CPU's flags: it is there.
const ENABLED: u32 = 1;
/// A CPU's flags: it may be added later.
const ONLINE_CAPABLE: u32 = 2;

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it describes: 0 = processor local APIC, 1 = I/O APIC, 9 = local x2APIC, ...
    pub kind: u8,
    /// Where it begins, from the table's first byte.
    pub offset: usize,
    /// All of it, type and length included.
    pub bytes: &'a [u8],
}

/// A CPU named by an entry.
#[derive(Clone, Copy)]
struct Cpu {
    apic_id: u32,
    flags: u32,
    /// Where the flags are, from the table's first byte.
    flags_offset: usize,
}

impl Entry<'_> {
    /// The CPU it names, if that is what it does. `Err` if it is too short for its type.
    fn cpu(&self) -> Result<Option<Cpu>, ()> {
        let field = |at| u32_at(self.bytes, at).ok_or(());
        let (apic_id, flags_at) = match self.kind {
            0 => (field(0)? >> 24, 4), // 5.2.12.2: type, length, ACPI ID, APIC ID, flags
            9 => (field(4)?, 8),       // 5.2.12.12: type, length, reserved, x2APIC ID, flags
            _ => return Ok(None),
        };
        let flags_offset = self.offset.saturating_add(flags_at);
        Ok(Some(Cpu { apic_id, flags: field(flags_at)?, flags_offset }))
    }
}

/// The entry at `offset`; `None` at the end.
fn entry_at<'a>(table: &Table<'a>, offset: usize) -> Result<Option<Entry<'a>>, Error> {
    let malformed = Error::Malformed { table: NAME, at: table.at.saturating_add(offset as u64) };
    let rest = table.bytes.get(offset..).unwrap_or(&[]);
    let &[kind, len, ..] = rest else { return Ok(None) };
    let bytes = rest.get(..usize::from(len)).filter(|b| b.len() >= 2).ok_or(malformed)?;
    Ok(Some(Entry { kind, offset, bytes }))
}

/// The entries of a table, in order.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    table: Table<'a>,
    next: Option<usize>,
}

/// Walks the entries of a MADT; the walk ends at the first one that makes no sense, with an error.
#[must_use]
pub const fn entries(table: Table<'_>) -> Entries<'_> {
    Entries { table, next: Some(FIRST) }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = entry_at(&self.table, self.next?).transpose();
        self.next = match &entry {
            Some(Ok(entry)) => entry.offset.checked_add(entry.bytes.len()),
            _ => None,
        };
        entry
    }
}

/// The next CPU of the table at or after `*offset`, which is moved past it.
fn next_cpu(table: &Table<'_>, offset: &mut usize) -> Result<Option<Cpu>, Error> {
    for entry in (Entries { table: *table, next: Some(*offset) }) {
        let entry = entry?;
        *offset = entry.offset.saturating_add(entry.bytes.len());
        let at = table.at.saturating_add(entry.offset as u64);
        let cpu = entry.cpu().map_err(|()| Error::Malformed { table: NAME, at })?;
        if cpu.is_some() {
            return Ok(cpu);
        }
    }
    Ok(None)
}

/// Addresses of all copies of the table that either root names, without repetition.
fn copies<P: Phys + ?Sized>(mem: &P, rsdp: &Rsdp) -> Result<[Option<u64>; MAX_COPIES], Error> {
    let mut found = [None; MAX_COPIES];
    for root in roots(mem, rsdp)?.into_iter().flatten() {
        for at in (0..).map_while(|index| root.pointer(mem, index)).filter(|at| *at != 0) {
            let signature = mem.bytes(at, 4).ok_or(Error::Unreadable { at })?;
            if signature == NAME.as_bytes() && !found.contains(&Some(at)) {
                let free = found.iter_mut().find(|slot| slot.is_none());
                *free.ok_or(Error::TooMany { table: NAME })? = Some(at);
            }
        }
    }
    Ok(found)
}

/// Enabled CPUs of one table. A CPU with an entry of each type counts once.
fn count_in(table: &Table<'_>) -> Result<u32, Error> {
    let mut low = [false; 256];
    let mut high = 0u32;
    let mut offset = FIRST;
    while let Some(cpu) = next_cpu(table, &mut offset)? {
        if cpu.flags & ENABLED != 0 {
            match usize::try_from(cpu.apic_id).ok().and_then(|id| low.get_mut(id)) {
                Some(seen) => *seen = true,
                None => high = high.saturating_add(1),
            }
        }
    }
    Ok(low.iter().filter(|seen| **seen).fold(high, |sum, _| sum.saturating_add(1)))
}

/// Number of enabled CPUs in the first MADT; 0 if there is no MADT.
///
/// # Errors
/// [`Error::Unreadable`], [`Error::Malformed`] or [`Error::TooMany`].
pub fn count_cpus<P: Phys + ?Sized>(mem: &P, rsdp: &Rsdp) -> Result<u32, Error> {
    match copies(mem, rsdp)?.first() {
        Some(Some(at)) => count_in(&Table::read(mem, *at, NAME)?),
        _ => Ok(0),
    }
}

/// Adds the local APIC IDs of the enabled CPUs in the first MADT.
///
/// # Errors
/// As [`count_cpus`]; those before the entry that makes no sense were added.
pub fn apic_ids<P: Phys + ?Sized>(
    mem: &P,
    rsdp: &Rsdp,
    ids: &mut ApicIds<'_>,
) -> Result<(), Error> {
    if let Some(Some(at)) = copies(mem, rsdp)?.first() {
        let table = Table::read(mem, *at, NAME)?;
        let mut offset = FIRST;
        while let Some(cpu) = next_cpu(&table, &mut offset)? {
            if cpu.flags & ENABLED != 0 {
                ids.add(cpu.apic_id);
            }
        }
    }
    Ok(())
}

/// Makes every CPU but the one with this APIC ID vanish: clears Enabled and Online Capable of all
/// others in every MADT that either root names. Everything is checked before anything is changed.
///
/// A machine without a MADT has one CPU: nothing is changed, both numbers are 0.
///
/// # Errors
/// [`Error::NotListed`] if CPUs are listed but not this one; others as their names say. After
/// [`Error::ReadOnly`] some entries may have been changed.
pub fn disable_other_cpus<P: PhysMut + ?Sized>(
    mem: &mut P,
    rsdp: &Rsdp,
    keep_apic_id: u32,
) -> Result<Disabled, Error> {
    let copies = copies(mem, rsdp)?;
    for at in copies.into_iter().flatten() {
        check(&Table::read(mem, at, NAME)?, keep_apic_id)?;
    }
    let enabled_total = count_cpus(mem, rsdp)?;
    let mut disabled = 0u32;
    for at in copies.into_iter().flatten() {
        disabled = disabled.saturating_add(disable_in(mem, at, keep_apic_id)?);
    }
    Ok(Disabled { enabled_total, disabled })
}

/// Whether all of the table makes sense and, if it lists CPUs, this one is among them.
fn check(table: &Table<'_>, apic_id: u32) -> Result<(), Error> {
    let (mut any, mut listed) = (false, false);
    let mut offset = FIRST;
    while let Some(cpu) = next_cpu(table, &mut offset)? {
        let enabled = cpu.flags & ENABLED != 0;
        any |= enabled;
        listed |= enabled && cpu.apic_id == apic_id;
    }
    if any && !listed { Err(Error::NotListed { apic_id }) } else { Ok(()) }
}

fn disable_in<P: PhysMut + ?Sized>(mem: &mut P, at: u64, keep: u32) -> Result<u32, Error> {
    let mut disabled = 0u32;
    let mut offset = FIRST;
    while let Some(cpu) = next_cpu(&Table::read(mem, at, NAME)?, &mut offset)? {
        let flags = cpu.flags & !(ENABLED | ONLINE_CAPABLE);
        if cpu.apic_id != keep && flags != cpu.flags {
            let field = at.saturating_add(cpu.flags_offset as u64);
            let [low, ..] = flags.to_le_bytes(); // both flags are in the first byte
            patch(mem, field, &[low])?;
            disabled = disabled.saturating_add(1);
        }
    }
    if disabled != 0 {
        let len = Table::read(mem, at, NAME)?.bytes.len();
        fix_checksum(mem, at, len, CHECKSUM)?;
    }
    Ok(disabled)
}
