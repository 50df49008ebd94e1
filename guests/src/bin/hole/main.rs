//! The range a VMM keeps for itself: reads give FFh, writes vanish, for every kind of access; and the
//! BIOS's three memory sizes agree about it.

#![no_std]
#![no_main]

mod access;
mod map;
mod strings;
mod walk;

use guests::cpu::Racy;
use guests::{bios, report};

guests::guest!(main);
guests::assembly!("low.S");

/// A page of the guest's own.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u64; 512]);

static BUFFER: Racy<Page> = Racy::new(Page([0; 512]));
static DIRECTORY: Racy<Page> = Racy::new(Page([0; 512]));
static TABLE: Racy<Page> = Racy::new(Page([0; 512]));

/// The VMM's range.
#[derive(Clone, Copy, Debug)]
struct Hole {
    base: u64,
    size: u64,
    /// Usable RAM follows directly.
    ram_above: bool,
}

impl Hole {
    fn end(self) -> u64 {
        self.base + self.size
    }
}

fn main() {
    let e820 = bios::e820();
    map::agreement(&e820);
    let Some(hole) = map::find(&e820) else {
        report::info(format_args!("no hole"));
        return;
    };
    report::info(format_args!("hole base {:x} size {:x}", hole.base, hole.size));
    map::reads_ff("hole.reads-ff", hole);
    access::moves(hole);
    access::borders(hole);
    access::locked(hole);
    access::sse(hole);
    access::stack(hole);
    access::stores_of_tables(hole);
    access::fetch(hole);
    access::stepped(hole);
    access::stepped_string(hole);
    strings::all(hole);
    strings::pages(hole);
    walk::long(hole);
    walk::unreal(hole);
    walk::paging32(hole);
    strings::long_fill(hole);
    map::reads_ff("hole.still-ff", hole);
}
