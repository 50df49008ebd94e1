//! Setup: from a machine still in its boot loader's hands to the resident VMM's first instruction.
//!
//! It sizes the VMM, places it at the top of usable RAM below 4 GiB, lays out the resident image
//! there, builds the nested tables and the VMM's own, tells the firmware's tables that the memory
//! is gone, and hands over (crate `handover`). Both boot paths share it; they differ in where
//! the memory map comes from.
//!
//! Order is the principle: all that may fail comes before the first change the guest could see, so
//! that a machine that cannot run the VMM is left as it was found.
#![no_std]

#[cfg(test)]
extern crate std;

mod console;
mod cpu;
mod error;
mod guest;
pub mod image;
mod int15;
mod layout;
mod low;
mod memory;
pub mod next;
mod place;
mod tables;

use core::convert::Infallible;
use core::ptr;

use firmware::ApicIds;
use firmware::acpi::Rsdp;
use firmware::e820::Map;
use firmware::options::CommandLine;
use handover::{HandOver, MAGIC, MAX_CPUS, Note, Span, VMM_BASE, seal};
use paging::mtrr::Mtrrs;
use paging::table::{PageSize, tables_for_types};

pub use console::Console;
pub use cpu::{Unfit, halt};
pub use error::Error;
pub use memory::Identity;

use image::Image;
use layout::{FOUR_GIB, LARGE_PAGE, Layout, Needs};

/// What a boot path found out.
pub struct Boot<'a> {
    /// The memory map, normalised.
    pub map: Map,
    /// The root of the ACPI tables.
    pub rsdp: Option<Rsdp>,
    /// The command line, parsed.
    pub options: CommandLine,
    /// The resident image, an ELF file.
    pub image: &'a [u8],
    /// The BIOS drive the machine was started from, if known.
    pub drive: Option<u8>,
}

/// Starts the VMM; returns only if that cannot be done. `console` gets what is worth knowing but
/// no reason to stop.
///
/// # Errors
/// See [`Error`]. The machine is as before unless [`Identity::changed`].
pub fn start(
    memory: &mut Identity,
    boot: Boot<'_>,
    console: &mut Console,
) -> Result<Infallible, Error> {
    let cpu = cpu::check_this()?;
    seal::check(boot.image)?;
    let image = Image::parse(boot.image)?;
    let mut map = boot.map;
    map.limit_ram(cpu.addresses);
    let cpus = guest::count_cpus(memory, boot.rsdp.as_ref(), cpu.threads)?;
    let mut room = [0; MAX_CPUS];
    let mut ids = ApicIds::new(&mut room);
    guest::apic_ids(memory, boot.rsdp.as_ref(), cpu.apic_id, &mut ids);
    let ids = ids.list();
    let mapped_end = map.highest_ram_end().max(FOUR_GIB).next_multiple_of(LARGE_PAGE);
    let max_page = if cpu.page_1gb { PageSize::Size1G } else { PageSize::Size2M };
    let typed = match &cpu.types {
        Some(types) => Some(tables_for_types(types, mapped_end, max_page)?),
        None => None,
    };
    let needs = Needs {
        image_len: image.memory_len(),
        cpus: ids.len() as u32,
        mapped_end,
        max_page,
        typed,
    };
    let layout = Layout::new(&needs).ok_or(Error::TooManyCpus(cpus))?;
    let hole = place::hole(&mut map, &memory.occupied(), layout.len())?;
    let low_page = low::reserve(memory, &mut map)?;
    let (ram, ram_len) = place::guest_ram(&map)?;
    let (ranges, map_len) = place::ranges(&map);

    let part = |part: Span| Span { base: hole.base + part.base, len: part.len };
    let room = memory.bytes_mut(hole.base, hole.len as usize).ok_or(Error::NoRoom(hole.len))?;
    let CommandLine { vmm: mut options, boot: from } = boot.options;
    // Of the VMM that was here before the reset.
    options.wait |= Note::find(room).is_some_and(|note| note.wait);
    let (npt_root, host_cr3) = build(room, hole, &image, &layout, &needs, cpu.types.as_ref())?;

    let reset = guest::conceal(memory, console, boot.rsdp.as_ref(), cpu.apic_id, &options)?;
    let begin = low::install(memory, low_page, &map, from, boot.drive)?;

    let page = part(layout.processors).base;
    for (at, id) in (page..).step_by(4).zip(ids) {
        let place = memory.bytes_mut(at, 4).ok_or(Error::NoRoom(hole.len))?;
        place.copy_from_slice(&id.to_le_bytes());
    }
    let handover = HandOver {
        magic: MAGIC,
        hole,
        image: part(layout.image),
        free: part(layout.free),
        vmx: cpu.types.is_some(),
        npt_root,
        host_cr3,
        ff_page: part(layout.ff_page).base,
        cpus,
        processors: Span { base: page, len: 4 * ids.len() as u64 },
        options,
        start: begin.start,
        next_disk: begin.next_disk,
        reset,
        wipe: memory.occupied(),
        ram_len,
        ram,
        map_len,
        map: ranges,
    };
    let page = part(layout.handover);
    let bytes =
        memory.bytes_mut(page.base, size_of::<HandOver>()).ok_or(Error::NoRoom(hole.len))?;
    // SAFETY: a page of the hole, exclusively borrowed, large enough and aligned to 4 KiB.
    unsafe { ptr::write(bytes.as_mut_ptr().cast(), handover) };

    let run = |offset: u64| VMM_BASE + offset;
    // SAFETY: `build` made `host_cr3` map the lower half as the nested tables do, where this code
    // lies outside the hole and so at its own address, and the hole at `VMM_BASE` with the stack,
    // the hand-over and the image, whose entry was found to be executable; by the contract of the
    // crate `handover` it takes one. The boot path keeps interrupts off; `check_this` saw NX.
    unsafe {
        cpu::enter(
            host_cr3,
            run(layout.stack.end()),
            run(layout.image.base + image.entry()),
            run(layout.handover.base),
        )
    }
}

/// Fills the hole, whose memory `room` is: image, tables, FFh page; zeroes for the rest. Returns
/// the roots of the nested tables and of the VMM's own.
fn build(
    room: &mut [u8],
    hole: Span,
    image: &Image<'_>,
    layout: &Layout,
    needs: &Needs,
    types: Option<&Mtrrs>,
) -> Result<(u64, u64), Error> {
    room.fill(0);
    let short = Error::NoRoom(hole.len);
    let range = |part: Span| part.base as usize..part.end() as usize;
    image.load(room.get_mut(range(layout.image)).ok_or(short)?, VMM_BASE + layout.image.base)?;
    room.get_mut(range(layout.ff_page)).ok_or(short)?.fill(0xff);
    let memory = room.get_mut(range(layout.tables)).ok_or(short)?;
    let mut pages = tables::Pages::new(hole.base + layout.tables.base, memory);
    let ff_page = hole.base + layout.ff_page.base;
    let lower = tables::nested(&mut pages, needs, hole, ff_page, None)?;
    let nested = match types {
        Some(_) => tables::nested(&mut pages, needs, hole, ff_page, types)?,
        None => lower,
    };
    let host = tables::host(&mut pages, lower, hole.base, layout, image.segments())?;
    Ok((nested, host))
}
