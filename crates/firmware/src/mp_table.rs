//! The table of CPUs before ACPI: Intel MultiProcessor Specification 1.4, chapter 4. Operating
//! systems still read it when ACPI is missing or switched off.
use crate::le::{fix_checksum, mem_u16, patch, sum, u16_at, u32_at};
use crate::{ApicIds, Disabled, Error, Phys, PhysMut, bda};

const NAME: &str = "MP";
/// Length of the floating pointer structure.
const POINTER: usize = 16;
/// Length of the configuration table's header.
const HEADER: usize = 44;
/// Offset of the configuration table's checksum.
const CHECKSUM: usize = 7;
/// A processor entry's flags: it is usable.
const ENABLED: u8 = 1;
/// CPUs of every default configuration (5.).
const DEFAULT_CPUS: u32 = 2;

/// Where floating pointers are searched: extended BIOS data area, last KiB of base memory as the
/// BIOS counts it and at 639 KiB, BIOS ROM (4., fig. 4-1); and the first KiB, where Linux looks too.
fn areas<P: Phys + ?Sized>(mem: &P) -> [Option<(u64, u64)>; 5] {
    let base = bda::base_memory_kib(mem).filter(|kib| (1..=640).contains(kib));
    let base_kib = base.map(|kib| u64::from(kib).saturating_sub(1) << 10);
    // All overlaps are harmless: what has been disabled once is left alone.
    [
        Some((0, 0x400)),
        bda::ebda(mem).map(|at| (at, 0x400)),
        base_kib.map(|at| (at, 0x400)),
        Some((0x9_fc00, 0x400)),
        Some((0xf_0000, 0x1_0000)),
    ]
}

/// The floating pointer at `at`, if a valid one is there.
fn pointer<P: Phys + ?Sized>(mem: &P, at: u64) -> Option<&[u8]> {
    let bytes = mem.bytes(at, POINTER)?;
    (bytes.starts_with(b"_MP_") && bytes.get(8) == Some(&1) && sum(bytes) == 0).then_some(bytes)
}

/// Whether a floating pointer names one of the default configurations (5.) and no table.
fn is_default(pointer: &[u8]) -> bool {
    pointer.get(11).is_some_and(|feature| *feature != 0)
}

/// Where the configuration table is that a floating pointer names.
fn table_of(pointer: &[u8]) -> u64 {
    u64::from(u32_at(pointer, 4).unwrap_or(0))
}

/// A processor entry.
struct Cpu {
    apic_id: u8,
    flags: u8,
    /// Physical address of the flags.
    flags_at: u64,
}

/// Base length of the configuration table at `at`; `None` if no operating system would take it.
fn table_len<P: Phys + ?Sized>(mem: &P, at: u64) -> Option<usize> {
    let header = mem.bytes(at, HEADER)?;
    let len = usize::from(u16_at(header, 4)?);
    (header.starts_with(b"PCMP") && len >= HEADER).then_some(len)
}

/// The next processor entry of the table at or after `*offset`, which is moved past it.
fn next_cpu<P: Phys + ?Sized>(
    mem: &P,
    table: u64,
    offset: &mut usize,
) -> Result<Option<Cpu>, Error> {
    let Some(len) = table_len(mem, table) else { return Ok(None) };
    let bytes = mem.bytes(table, len).ok_or(Error::Unreadable { at: table })?;
    while let Some([kind, rest @ ..]) = bytes.get(*offset..) {
        let at = table.saturating_add(*offset as u64);
        let next = offset.saturating_add(if *kind == 0 { 20 } else { 8 });
        if *kind > 4 || next > len {
            return Err(Error::Malformed { table: NAME, at });
        }
        *offset = next;
        if let (0, &[apic_id, _, flags, ..]) = (kind, rest) {
            return Ok(Some(Cpu { apic_id, flags, flags_at: at.saturating_add(3) }));
        }
    }
    Ok(None)
}

/// Number of enabled CPUs in the MP table that lists most of them; 0 if there is no MP table.
///
/// # Errors
/// [`Error::Unreadable`] or [`Error::Malformed`].
pub fn count_cpus<P: Phys + ?Sized>(mem: &P) -> Result<u32, Error> {
    let mut most = 0;
    for (base, len) in areas(mem).into_iter().flatten() {
        for at in (base..base.saturating_add(len)).step_by(POINTER) {
            let Some(bytes) = pointer(mem, at) else { continue };
            most = most.max(match is_default(bytes) {
                true => DEFAULT_CPUS,
                false => count_in(mem, table_of(bytes))?,
            });
        }
    }
    Ok(most)
}

fn count_in<P: Phys + ?Sized>(mem: &P, table: u64) -> Result<u32, Error> {
    let mut count = 0u32;
    let mut offset = HEADER;
    while let Some(cpu) = next_cpu(mem, table, &mut offset)? {
        count = count.saturating_add(u32::from(cpu.flags & ENABLED));
    }
    Ok(count)
}

/// Adds the local APIC IDs of the enabled CPUs in all MP tables. A default configuration names none: its CPUs are 0 and 1
/// (5., table 5-1).
///
/// # Errors
/// As [`count_cpus`]; those before the entry that makes no sense were added.
pub fn apic_ids<P: Phys + ?Sized>(mem: &P, ids: &mut ApicIds<'_>) -> Result<(), Error> {
    for (base, len) in areas(mem).into_iter().flatten() {
        for at in (base..base.saturating_add(len)).step_by(POINTER) {
            let Some(bytes) = pointer(mem, at) else { continue };
            if is_default(bytes) {
                (0..DEFAULT_CPUS).for_each(|id| ids.add(id));
                continue;
            }
            let mut offset = HEADER;
            while let Some(cpu) = next_cpu(mem, table_of(bytes), &mut offset)? {
                if cpu.flags & ENABLED != 0 {
                    ids.add(u32::from(cpu.apic_id));
                }
            }
        }
    }
    Ok(())
}

/// Makes every CPU but the one with this APIC ID vanish from the MP tables, all that are found. A
/// floating pointer that names no table but one of the default configurations stands for two CPUs:
/// it is struck out. `None` if the machine has no MP table.
///
/// # Errors
/// [`Error::ReadOnly`] where the BIOS write-protects its segment, as SeaBIOS does: the caller may
/// show the guest a copy. Others as their names say.
pub fn disable_other_cpus<P: PhysMut + ?Sized>(
    mem: &mut P,
    keep_apic_id: u32,
) -> Result<Option<Disabled>, Error> {
    let mut result: Option<Disabled> = None;
    for (base, len) in areas(mem).into_iter().flatten() {
        for at in (base..base.saturating_add(len)).step_by(POINTER) {
            let Some(bytes) = pointer(mem, at) else { continue };
            let table = table_of(bytes);
            let one = if is_default(bytes) {
                patch(mem, at, &[0; 4])?;
                Disabled { enabled_total: DEFAULT_CPUS, disabled: 1 }
            } else {
                disable_in(mem, table, keep_apic_id)?
            };
            let all = result.get_or_insert_default();
            all.enabled_total = all.enabled_total.max(one.enabled_total);
            all.disabled = all.disabled.saturating_add(one.disabled);
        }
    }
    Ok(result)
}

fn disable_in<P: PhysMut + ?Sized>(mem: &mut P, table: u64, keep: u32) -> Result<Disabled, Error> {
    let mut done = Disabled::default();
    let mut offset = HEADER;
    while let Some(cpu) = next_cpu(mem, table, &mut offset)? {
        if cpu.flags & ENABLED == 0 {
            continue;
        }
        done.enabled_total = done.enabled_total.saturating_add(1);
        if u32::from(cpu.apic_id) != keep {
            patch(mem, cpu.flags_at, &[cpu.flags & !ENABLED])?;
            done.disabled = done.disabled.saturating_add(1);
        }
    }
    if done.disabled != 0 {
        let len = mem_u16(mem, table.saturating_add(4)).map_or(0, usize::from);
        fix_checksum(mem, table, len, CHECKSUM)?;
    }
    Ok(done)
}
