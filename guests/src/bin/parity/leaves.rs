//! Every CPUID leaf and subleaf.

use guests::cpu::{self, cpuid};
use guests::report::{fact, value};

const FEATURES: u32 = 0x8000_0001;
const SVM_FEATURES: u32 = 0x8000_000a;
const SVM_BIT: u32 = 1 << 2;

fn subleaves(leaf: u32) -> u32 {
    match leaf {
        4 | 0xb | 0x8000_001d => 8,
        7 => 3,
        0xd => 64,
        0xf | 0x10 | 0x12 | 0x14 | 0x17 | 0x18 => 4,
        _ => 1,
    }
}

/// Leaves of the basic, hypervisor and extended ranges, and what answers beyond their ends.
pub(crate) fn all(name: &str) {
    for range in [0, 0x4000_0000, 0x8000_0000_u32] {
        let last = cpuid(range, 0)[0].clamp(range, range + 0x40);
        for leaf in range..=last.wrapping_add(1) {
            for sub in 0..subleaves(leaf) {
                one(name, leaf, sub);
            }
        }
    }
    one(name, 0xc000_0000, 0);
    one(name, u32::MAX, 0);
}

fn one(name: &str, leaf: u32, sub: u32) {
    let mut r = cpuid(leaf, sub);
    if sub > 1 && r == [0; 4] {
        return;
    }
    if leaf == FEATURES {
        value("svm.cpuid.bit", format_args!("{}", u32::from(r[2] & SVM_BIT != 0)));
        r[2] &= !SVM_BIT;
    }
    let prefix = if leaf == SVM_FEATURES { "svm." } else { "" };
    value(
        format_args!("{prefix}{name}.{leaf:08x}.{sub:x}"),
        format_args!("{:08x} {:08x} {:08x} {:08x}", r[0], r[1], r[2], r[3]),
    );
}

/// Leaf 1's OSXSAVE follows CR4 (AMD APM 3, Fn0000_0001_ECX).
pub(crate) fn osxsave() {
    const OSXSAVE: u64 = 1 << 18;
    let shown = || cpu::has(1, 2, 27);
    fact("cpuid.osxsave-clear", shown(), false);
    if cpu::has(1, 2, 26) {
        cpu::set_cr4(cpu::cr4() | OSXSAVE);
        fact("cpuid.osxsave-set", shown(), true);
        all("cpuid.xsave-on");
        cpu::set_cr4(cpu::cr4() & !OSXSAVE);
        fact("cpuid.osxsave-clear-again", shown(), false);
    }
}
