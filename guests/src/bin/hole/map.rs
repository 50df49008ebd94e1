//! The memory map, and the hole in it.

use crate::Hole;
use guests::bios::{self, Map, Regs};
use guests::{cpu_asm, report, start};

const MIB: u64 = 1 << 20;

/// Where the usable run that holds `base` ends.
fn usable_to(map: &Map, base: u64) -> u64 {
    let mut end = base;
    while let Some(r) =
        map.ranges().iter().find(|r| r.kind == 1 && r.base <= end && r.base + r.size > end)
    {
        end = r.base + r.size;
    }
    end
}

/// E801h and 88h name RAM that E820h calls usable, and all of it that they can name.
pub(crate) fn agreement(map: &Map) {
    for r in map.ranges() {
        report::info(format_args!("e820 {:x} {:x} {}", r.base, r.size, r.kind));
    }
    let ordered = map.ranges().iter().all(|a| {
        map.ranges()
            .iter()
            .all(|b| a == b || a.base + a.size <= b.base || b.base + b.size <= a.base)
    });
    report::holds("e820.no-overlap", ordered);

    let end = usable_to(map, MIB).min(1 << 32);
    report::holds("e820.usable-from-1m", end > 16 * MIB);
    let kib = (end - MIB) / 1024;
    let e801 = bios::int(0x15, Regs { eax: 0xe801, ..Regs::default() });
    report::info(format_args!(
        "e801 ax {:x} bx {:x} cx {:x} dx {:x}",
        e801.eax as u16, e801.ebx as u16, e801.ecx as u16, e801.edx as u16
    ));
    report::holds("e801.carry-clear", !e801.carry());
    report::fact("e801.ax", u64::from(e801.eax as u16), kib.min(0x3c00));
    let bx = u64::from(e801.ebx as u16);
    // Bochs's BIOS counts its ACPI tables, the 64 KiB behind, as RAM: where there is no VMM nobody corrects that.
    let behind = map.ranges().iter().any(|r| r.kind == 3 && r.base == end && r.size == 0x1_0000);
    if find(map).is_none() && behind && bx == (end + 0x1_0000 - 16 * MIB) / 65536 {
        report::info(format_args!("e801 names ACPI tables as RAM"));
    } else {
        report::fact("e801.bx", bx, (end - 16 * MIB) / 65536);
    }
    report::fact("e801.cx-is-ax", e801.ecx as u16, e801.eax as u16);
    report::fact("e801.dx-is-bx", e801.edx as u16, e801.ebx as u16);
    let old = bios::int(0x15, Regs { eax: 0x8800, ..Regs::default() });
    let got = u64::from(old.eax as u16);
    report::info(format_args!("88h ax {got:x}"));
    report::holds("88h.carry-clear", !old.carry());
    // SeaBIOS says 63 MiB at most, others 64 MiB less one KiB.
    report::holds("88h.agrees", got <= kib && got >= kib.min(0xfc00));
}

/// A reserved range below 4 GiB, on a 2 MiB border, right after usable RAM. Firmware alone has none:
/// its own tables begin 128 KiB below the top of RAM.
///
/// `hole=BASE` on the command line names 2 MiB that no map shows: read-only FFh memory under an
/// emulator, to test this guest itself.
pub(crate) fn find(map: &Map) -> Option<Hole> {
    const ALIGN: u64 = 2 * MIB;
    // More than the tables that firmware keeps at the top of RAM.
    const LEAST: u64 = 256 << 10;
    if let Some(base) = start::number("hole=") {
        return Some(Hole { base, size: ALIGN, ram_above: true });
    }
    let r = map.ranges().iter().find(|r| {
        let after_ram = map.ranges().iter().any(|u| u.kind == 1 && u.base + u.size == r.base);
        r.kind != 1 && r.base < 1 << 32 && r.base % ALIGN == 0 && after_ram && r.size >= LEAST
    })?;
    let size = r.size & !0xfff;
    let end = r.base + size;
    let ram_above = map.ranges().iter().any(|u| u.kind == 1 && u.base == end);
    Some(Hole { base: r.base, size, ram_above })
}

/// The whole of it, eight bytes at a time.
pub(crate) fn reads_ff(name: &str, hole: Hole) {
    let left: u64;
    let equal: u8;
    cpu_asm!("repe scasq", "sete dl", in("rax") u64::MAX, inout("rcx") hole.size / 8 => left,
        inout("rdi") hole.base => _, out("dl") equal, options(nostack));
    report::fact(name, (left, equal), (0, 1));
}
