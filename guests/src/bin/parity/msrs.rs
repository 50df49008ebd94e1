//! Model-specific registers: the value, or #GP.

use guests::exception::{self, Fault};
use guests::{cpu, report};
use report::value;

/// What a probe did, as the report shows it.
pub(crate) struct Outcome(pub(crate) Result<Option<u64>, Fault>);

impl core::fmt::Display for Outcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Ok(Some(v)) => write!(f, "{v:x}"),
            Ok(None) => write!(f, "done"),
            Err(fault) => write!(f, "#{} {:x}", fault.vector, fault.error),
        }
    }
}

pub(crate) fn read(msr: u32) -> Outcome {
    let mut v = 0;
    Outcome(exception::catch(|| v = cpu::rdmsr(msr)).map_or(Ok(Some(v)), Err))
}

pub(crate) fn write(msr: u32, v: u64) -> Outcome {
    Outcome(exception::catch(|| cpu::wrmsr(msr, v)).map_or(Ok(None), Err))
}

/// By the numbers of AMD APM 2, appendix A.
const READ: &[(&str, u32)] = &[
    ("apic-base", 0x1b),
    ("mtrrcap", 0xfe),
    ("sysenter-cs", 0x174),
    ("sysenter-esp", 0x175),
    ("sysenter-eip", 0x176),
    ("mcg-cap", 0x179),
    ("mcg-status", 0x17a),
    ("mcg-ctl", 0x17b),
    ("debugctl", 0x1d9),
    ("pat", 0x277),
    ("mtrr-def-type", 0x2ff),
    ("mc0-ctl", 0x400),
    ("mc0-status", 0x401),
    ("mc0-addr", 0x402),
    ("mc0-misc", 0x403),
    ("x2apic-id", 0x802),
    ("x2apic-version", 0x803),
    ("x2apic-icr", 0x830),
    ("xss", 0xda0),
    ("star", 0xc000_0081),
    ("lstar", 0xc000_0082),
    ("cstar", 0xc000_0083),
    ("sfmask", 0xc000_0084),
    ("fs-base", 0xc000_0100),
    ("gs-base", 0xc000_0101),
    ("kernel-gs-base", 0xc000_0102),
    ("tsc-aux", 0xc000_0103),
    ("perf-ctl0", 0xc001_0000),
    ("perf-ctr0", 0xc001_0004),
    ("syscfg", 0xc001_0010),
    ("hwcr", 0xc001_0015),
    ("iorr-base0", 0xc001_0016),
    ("top-mem", 0xc001_001a),
    ("top-mem2", 0xc001_001d),
    ("pstate-limit", 0xc001_0061),
    ("smm-base", 0xc001_0111),
    ("perf-ctl0-ext", 0xc001_0200),
    ("osvw-length", 0xc001_0140),
    ("nonexistent-deadbeef", 0xdead_beef),
    ("nonexistent-c0010fff", 0xc001_0fff),
    ("nonexistent-0", 0x4000_0000),
    ("microcode", 0x8b),
];

/// A microcode update without contents: header and data (Intel SDM 3A, 9.11.1), or a patch of AMD's.
#[repr(align(64))]
struct Update([u8; 4096]);
static UPDATE: Update = Update([0; 4096]);

/// Reads, then writes that must come back.
pub(crate) fn all() {
    for &(name, msr) in READ {
        value(format_args!("msr.{name}"), format_args!("{}", read(msr)));
    }
    for msr in [0x250, 0x258, 0x259].into_iter().chain(0x268..0x270) {
        value(format_args!("msr.mtrr-fixed-{msr:x}"), format_args!("{}", read(msr)));
    }
    for msr in 0x200..0x210 {
        value(format_args!("msr.mtrr-variable-{msr:x}"), format_args!("{}", read(msr)));
    }
    // A value, and one with an address that is not canonical.
    for (name, msr) in [
        ("sysenter-cs", 0x174),
        ("sysenter-esp", 0x175),
        ("pat", 0x277),
        ("star", 0xc000_0081),
        ("lstar", 0xc000_0082),
        ("kernel-gs-base", 0xc000_0102),
        ("tsc-aux", 0xc000_0103),
        ("fs-base", 0xc000_0100),
    ] {
        let before = read(msr);
        for (kind, v) in [("ok", 0x0606_0606), ("not-canonical", 0x8000_0000_0000_0000)] {
            let done = write(msr, v);
            value(
                format_args!("msr.{name}-write-{kind}"),
                format_args!("{done} then {}", read(msr)),
            );
        }
        if let Ok(Some(v)) = before.0 {
            write(msr, v);
        }
    }
    for (name, msr) in [("deadbeef", 0xdead_beef), ("c0010fff", 0xc001_0fff), ("mtrrcap", 0xfe)] {
        value(format_args!("msr.{name}-write"), format_args!("{}", write(msr, 0)));
    }
    // The VMM makes these writes for the guest. The CPU refuses an update that is all zeroes, or silently leaves it.
    let update = UPDATE.0.as_ptr() as u64;
    for (name, msr, at) in [("intel", 0x79, update + 48), ("amd", 0xc001_0020, update)] {
        let done = write(msr, at);
        value(format_args!("msr.microcode-{name}"), format_args!("{done} then {}", read(0x8b)));
    }
    let tsc = |v: u64| {
        cpu::wrmsr(0x10, v);
        cpu::rdtsc() >= v && cpu::rdtsc() < v + (1 << 36)
    };
    value("msr.tsc-write", format_args!("{}", tsc(1 << 40)));
}
