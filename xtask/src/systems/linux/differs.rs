//! What of a Linux may differ between the bare machine and the VMM: each a row of the book's list of traces,
//! or a value of time or chance.

use crate::systems::Differs::{self, Lines, Map, Memory, Varies};

const MEMORY: &str = "a trace: the hole and the low page; debian.memory judges the whole map";
const UART: &str = "a trace: the ports of link and log are hidden";
const DEBUG_STORE: &str = "a trace: the debug store of Intel's CPUs is concealed";
const TIME: &str = "measured, and again in every run";
const BUSY: &str = "what a kernel says when the host leaves its emulator no time";
const ORDER: &str = "numbered in the order in which threads come";

/// For every Linux.
pub(super) const LINUX: &[Differs] = &[
    Lines {
        pattern: r"^IOMEM .*(System RAM|Reserved|RAM buffer|Kernel (code|rodata|data|bss))$",
        why: MEMORY,
    },
    Lines {
        pattern: r"^IOMEM 000e[0-9a-f]{4}-000effff : Adapter ROM$",
        why: "SeaBIOS's own low memory with a ROM's signature before it: its checksum is right once in 256 times",
    },
    Map {
        pattern: r"^LOG BIOS-e820: \[mem 0x(?<first>\w+)-0x(?<last>\w+)\] (?<kind>[a-z]\w+)",
        usable: "usable",
    },
    // As 7.2 writes it.
    Map {
        pattern: r"^LOG BIOS-e820: \[mem 0x(?<first>\w+)-0x(?<last>\w+)\]  (?<kind>System RAM|\w+)",
        usable: "System RAM",
    },
    Lines { pattern: r"^LOG e820: (reserve|register) RAM buffer ", why: MEMORY },
    Lines { pattern: r"^LOG   node   0: \[mem ", why: MEMORY },
    Lines { pattern: r"^LOG .* pages in unavailable ranges$", why: MEMORY },
    Lines { pattern: r"^LOG (PM: hibernation|PM): Registered nosave memory: ", why: MEMORY },
    Lines { pattern: r"^LOG (RAMDISK|initial memory mapped): \[mem ", why: MEMORY },
    Lines { pattern: r"^LOG (DMA zone|  (DMA|DMA32|Normal|HighMem) zone): \d+ pages", why: MEMORY },
    Memory {
        pattern: r"^LOG On node 0 totalpages: (\d+)$",
        unit: 4096.0,
        // The low page, beside.
        rounding: 2.0,
        less: |hole| hole.end - hole.start,
    },
    Varies { pattern: r"Total pages: (\d+)", why: MEMORY },
    Varies { pattern: r"Memory: (\d+)K/(\d+)K available .*, (\d+)K reserved", why: MEMORY },
    Varies {
        pattern: r"^LOG (?:Dentry|Inode-cache|\S+) (?:cache )?hash table entries: (.*)",
        why: MEMORY,
    },
    Lines { pattern: r"^PORT +03[ef]8-03[ef]f : serial$", why: UART },
    Lines { pattern: r"^LOG (00:\d\d|serial8250): ttyS[02] at I/O 0x3[ef]8 ", why: UART },
    Varies {
        pattern: r"^CPU flags\s*:.* clflush( dts|) .* arch_perfmon( pebs bts|) .* pclmulqdq( dtes64|) monitor( ds_cpl|) ",
        why: DEBUG_STORE,
    },
    Varies { pattern: r"^LOG Performance Events: (PEBS \S+, |)", why: DEBUG_STORE },
    Varies { pattern: r"^\[( *[\d.]+)\] ", why: TIME },
    // What is left would tell of a clock that is worse: TSC unstable, another clock source.
    Lines {
        pattern: r"^LOG tsc: (Detected|Refined|Fast TSC calibration|Unable to calibrate|using \w+ reference|\w+ calibration|\w+/\w+ calibration)",
        why: TIME,
    },
    Lines {
        pattern: r"^LOG clocksource: (tsc: mask|acpi_pm: mask|Switched to clocksource tsc$)",
        why: "the first and the last come two seconds after the start, when some runs have ended; the PM timer is \
              no clock where it was measured too far off",
    },
    Varies { pattern: r"max_cycles: (0x\w+), max_idle_ns: (\d+) ns$", why: TIME },
    Lines {
        pattern: r"^LOG (PM-Timer running at|APIC calibration|APIC delta|Calibrating delay loop|sched_clock: Marking stable|random: )",
        why: TIME,
    },
    Lines {
        pattern: r"\.\.MP-BIOS bug|\.\.\.trying to set up timer|\.\.\. \(found apic|\.\.\.\.\.\.\. (works|failed)",
        why: BUSY,
    },
    Lines {
        pattern: r"^LOG (hpet: Lost|hrtimer: interrupt took|perf: interrupt took|pci .*: quirk_\w+\+\w+/\w+ took)",
        why: BUSY,
    },
    Varies { pattern: r"^IRQ +0: (\S+) ", why: BUSY },
    Varies { pattern: r"^CPU (?:cpu MHz|bogomips)\s*: ([\d.]+)$", why: TIME },
    Varies { pattern: r"([\d.]+) BogoMIPS", why: TIME },
    Varies { pattern: r"^    BogoMIPS: +([\d.]+)$", why: TIME },
    Varies { pattern: r"(\d+) ?ms$|in (\d+)ms|(\d+) usecs", why: TIME },
    Varies { pattern: r"setting system clock to (\S+ ?\S* UTC \(\d+\))", why: TIME },
    Varies { pattern: r"audit: type=2000 audit\(([\d.]+):1\)", why: TIME },
    Varies { pattern: r"^LOG input: .*/input/input(\d+)$", why: ORDER },
];

/// For Xen and its dom0.
pub(super) const XEN: &[Differs] = &and_linux::<{ LINUX.len() + ONLY_XEN.len() }>(ONLY_XEN);
const ONLY_XEN: &[Differs] = &[
    Lines {
        pattern: r"^LOG (clocksource: |tsc: |TSC found unstable|sched_clock: )",
        why: "dom0 compares the TSC with Xen's clock, and in an emulator distrusts it, bare too",
    },
    Lines { pattern: r"^\(XEN\)  \[[0-9a-f]+, [0-9a-f]+\] ", why: MEMORY },
    Map {
        pattern: r"^LOG Xen: \[mem 0x(?<first>\w+)-0x(?<last>\w+)\] (?<kind>\w+)",
        usable: "usable",
    },
    Memory {
        pattern: r"^\(XEN\) System RAM: \d+MB \((\d+)kB\)$",
        unit: 1024.0,
        // The low page, beside.
        rounding: 8.0,
        less: |hole| hole.end - hole.start,
    },
    Varies { pattern: r"^\(XEN\) System RAM: (\d+)MB", why: MEMORY },
    Varies { pattern: r"^LOG Remapped (\d+) page", why: MEMORY },
    Varies {
        pattern: r"^\(XEN\) (?: Init\. ramdisk: +|Xen image load base address: )(.*)$",
        why: "as high as memory goes, which is less",
    },
    Varies { pattern: r"^\(XEN\) Detected ([\d.]+) MHz", why: TIME },
];

/// For the kernel's own tests.
pub(super) const KSELFTEST: &[Differs] = &[
    Lines {
        pattern: r"^\[ *[\d.]+\] ",
        why: "an oops by sysret_ss_attrs and the like, which the emulator's CPU provokes, with all registers",
    },
    Varies {
        pattern: r"GS/BASE (changed from 0x1/0x0 to 0x0/0x0 because IRET is defective|remained 0x1/0x0)$",
        why: "whether an interrupt comes in between, whose IRET makes every null selector 0",
    },
    Varies { pattern: r"vDSO time offsets: ([\d.]+ [\d.]+)$", why: TIME },
    Varies {
        pattern: r"(?:R11 has changed:|Flags +(?:after|change)=)([0-9a-f]{16}\b.*)$",
        why: "arithmetic flags as the kernel's way back from a system call left them, which depends on what it had to do",
    },
];

/// For Debian on a disk.
pub(super) const DISK: &[Differs] = &and_linux::<{ LINUX.len() + ONLY_DISK.len() }>(ONLY_DISK);
const ONLY_DISK: &[Differs] = &[
    Varies { pattern: r"\bsd([a-z])\d*\b", why: ORDER },
    Varies { pattern: r"\b(?:scsi(?: host)?|ata|sd|usb) ?(\d+)(?:[:.-]|\b)", why: ORDER },
    Lines { pattern: r"^UNIT systemd-fsckd\.service ", why: "it leaves when it has nothing to do" },
];

/// [`LINUX`] and `more`.
const fn and_linux<const N: usize>(more: &[Differs]) -> [Differs; N] {
    let mut all = [LINUX[0]; N];
    let mut n = 0;
    while n < N {
        all[n] = if n < LINUX.len() { LINUX[n] } else { more[n - LINUX.len()] };
        n += 1;
    }
    all
}
