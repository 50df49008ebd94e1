//! What of a Linux may differ between the bare machine and the VMM: each a row of the book's list of traces,
//! or a value of time or chance.

use crate::systems::Differs::{self, Lines, Map, Varies};

const MEMORY: &str = "a trace: the hole and the low page; debian.memory judges the whole map";
const UART: &str = "a trace: the ports of link and log are hidden";
const TIME: &str = "measured, and again in every run";
const ORDER: &str = "numbered in the order in which threads come";

/// For every Linux.
pub(super) const LINUX: &[Differs] = &[
    Lines {
        pattern: r"^IOMEM .*(System RAM|Reserved|RAM buffer|Kernel (code|rodata|data|bss))$",
        why: MEMORY,
    },
    Map {
        pattern: r"^LOG BIOS-e820: \[mem 0x(?<first>\w+)-0x(?<last>\w+)\] (?<kind>\w+)",
        usable: "usable",
    },
    Lines { pattern: r"^LOG e820: reserve RAM buffer ", why: MEMORY },
    Lines { pattern: r"^LOG   node   0: \[mem ", why: MEMORY },
    Lines { pattern: r"^LOG .* pages in unavailable ranges$", why: MEMORY },
    Lines { pattern: r"^LOG (PM: hibernation|PM): Registered nosave memory: ", why: MEMORY },
    Lines { pattern: r"^LOG (RAMDISK|initial memory mapped): \[mem ", why: MEMORY },
    Lines { pattern: r"^LOG (DMA zone|  (DMA|DMA32|Normal|HighMem) zone): \d+ pages", why: MEMORY },
    Varies { pattern: r"Total pages: (\d+)", why: MEMORY },
    Varies { pattern: r"Memory: (\d+)K/(\d+)K available .*, (\d+)K reserved", why: MEMORY },
    Varies {
        pattern: r"^LOG (?:Dentry|Inode-cache|\S+) (?:cache )?hash table entries: (.*)",
        why: MEMORY,
    },
    Lines { pattern: r"^PORT   03[ef]8-03[ef]f : serial$", why: UART },
    Lines { pattern: r"^LOG 00:\d\d: ttyS[02] at I/O 0x3[ef]8 ", why: UART },
    Varies { pattern: r"^\[ *([\d.]+)\] ", why: TIME },
    Lines { pattern: r"^LOG (tsc|clocksource): ", why: TIME },
    Lines {
        pattern: r"^LOG (Calibrating delay loop|sched_clock: Marking stable|random: )",
        why: TIME,
    },
    Varies { pattern: r"^CPU (?:cpu MHz|bogomips)\s*: ([\d.]+)$", why: TIME },
    Varies { pattern: r"([\d.]+) BogoMIPS", why: TIME },
    Varies { pattern: r"^    BogoMIPS: +([\d.]+)$", why: TIME },
    Varies { pattern: r"(\d+) ?ms$|in (\d+)ms|(\d+) usecs", why: TIME },
    Varies { pattern: r"setting system clock to (\S+ ?\S* UTC \(\d+\))", why: TIME },
    Varies { pattern: r"audit: type=2000 audit\(([\d.]+):1\)", why: TIME },
    Varies { pattern: r"^LOG input: .*/input/input(\d+)$", why: ORDER },
];

/// For Xen's dom0, beside.
pub(super) const XEN: &[Differs] = &[];
/// For the kernel's own tests.
pub(super) const KSELFTEST: &[Differs] = &[Lines {
    pattern: r"^\[ *[\d.]+\] ",
    why: "an oops by sysret_ss_attrs and the like, which the emulator's CPU provokes, with all registers",
}];
/// For a disk.
pub(super) const DISK: &[Differs] = LINUX;
