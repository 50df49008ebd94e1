//! The tests that cannot run on a CPU, and what its emulator lacks for them. One list for all CPUs: a test
//! that is not named here runs on each.

use super::means;
use crate::machine_args::Cpu;

/// What Bochs lacks, by test or group.
const BOCHS: &[(&str, &str)] = &[
    ("bench.memory", "Bochs has no gdb stub to compare with"),
    ("guest.parity.phenom", "it is a CPU of QEMU's"),
    ("guest.modes.phenom", "it is a CPU of QEMU's"),
    ("guest.hole.phenom", "it is a CPU of QEMU's"),
    ("debian.phenom", "it is a CPU of QEMU's"),
    ("debian.spcr", "Bochs has no table to be added"),
    ("stick.debian-ehci-sata", "Bochs has no SATA controller"),
    ("network", "Bochs's network cards have no boot ROM"),
    ("vmm.interrupt-once", "what could go wrong there is TCG's"),
    ("system.debian-12", "Bochs has no AHCI controller, and no further disks at EHCI and xHCI"),
    (
        "system.debian-12-i386",
        "Bochs has no AHCI controller, and no further disks at EHCI and xHCI",
    ),
    (
        "system.linux-la57",
        "Bochs 3.0 ends itself at an exit from five levels of paging to a VMM with four",
    ),
    ("system.ipxe-1.0", "Bochs ends itself when its BIOS finds nothing to boot"),
    ("system.ipxe-2.0", "Bochs has no network to boot from"),
];

/// What is about Bochs, by test.
const OF_BOCHS: &[&str] = &["bochs.stop", "bochs.reset"];

/// What is about the other vendor's CPUs, by test.
const OF_AMD: &[&str] = &["refusal.no-svm", "refusal.no-npt", "refusal.svm-locked", "vmm.deaf"];
const OF_INTEL: &[&str] = &[
    "refusal.no-vmx",
    "refusal.no-ept",
    "refusal.no-unrestricted-guest",
    "refusal.vmx-locked",
    "guest.uart.unlocked",
];

/// Of the SVM that Bochs models: it panics with "VM is set in long mode".
const VIRTUAL_8086: &str = "Bochs 3.0 ends itself at an exit from virtual-8086 mode";

/// What Bochs's AMD CPUs lack besides, by test alone.
const BOCHS_AMD: &[(&str, &str)] = &[
    ("guest.modes", VIRTUAL_8086),
    ("torture.quick", VIRTUAL_8086),
    ("torture.same", VIRTUAL_8086),
    ("torture.fixed", VIRTUAL_8086),
    ("torture.fresh", VIRTUAL_8086),
    ("refusal.svm-locked", "Bochs's VM_CR cannot be locked"),
    ("vmm.deaf", "Bochs has no performance counters"),
];

/// What AMD's CPUs lack, in either emulator.
const AMD: &[(&str, &str)] = &[
    (
        "gdb.stop-deaf",
        "nothing ends the run of a guest with interrupts off but an NMI, as vmm.deaf shows",
    ),
    ("gdb.refused", "SVM runs every state that the debugger lets through"),
    ("guest.parity.skylake", "it is an Intel CPU of Bochs's"),
    ("guest.parity.sapphire-rapids", "it is an Intel CPU of Bochs's"),
    ("guest.parity.arrow-lake", "it is an Intel CPU of Bochs's"),
];

/// What QEMU lacks, by test alone.
const QEMU: &[(&str, &str)] =
    &[("guest.init", "QEMU's TCG gives an INIT to the CPU, whatever intercepts it and holds it")];

/// What has nothing to do with the CPU: it runs with the default one's.
const NO_CPU: &[&str] = &["host", "image", "bench.image"];

/// Tests that Bochs takes too long for, unless it is asked.
const LONG_ON_BOCHS: &[&str] = &[
    // Linux clears 4 and 6 GiB, of which Bochs keeps the greater part in a file.
    "debian.cloud-4g",
    "debian.cloud-6g",
    "debian.memory",
    "guest.hole.4g",
    "guest.hole.6g",
    // A thousand cases take two minutes, three thousand bare and under the VMM a quarter of an hour.
    "torture.quick",
    "torture.same",
    // Two boots each; `system.geodsp` is the one that is quick.
    "system.mach-none",
    "system.mach-486",
    "system.linux-6.1-686-pae",
    "system.memtest86+-6.10",
    "system.invaders",
    // Boots of a whole Debian, three in each of the last: one from GRUB is quick, and a reset that boots none.
    "debian.bare",
    "debian.amd64",
    "debian.multiboot1",
    "stick.debian",
    "reset.triple-fault",
    "reset.keyboard",
    "reset.acpi",
    "reset.pci",
    // Each boots Linux, which is nearly all the time it takes, and has a brother that is left: stop-idle and stop-deaf,
    // killed-running, time.freeze.
    "gdb.stop-user",
    "gdb.stop-kernel",
    "gdb.killed-stopped",
    "time.run",
];

/// The test or group that `name` belongs to and what keeps it from running on `cpu`.
pub(super) fn what(cpu: Cpu, name: &str) -> Option<(&'static str, &'static str)> {
    let (others, why) = if cpu.is_intel() {
        (OF_AMD, "it is about an AMD CPU")
    } else {
        (OF_INTEL, "it is about an Intel CPU")
    };
    if let Some(test) = others.iter().find(|test| **test == name) {
        return Some((test, why));
    }
    if let Some(test) = OF_BOCHS.iter().find(|test| **test == name && !cpu.is_bochs()) {
        return Some((test, "it is about Bochs"));
    }
    let all = BOCHS.iter().find(|(group, _)| cpu.is_bochs() && means(group, name));
    let amd = matches!(cpu, Cpu::Ryzen | Cpu::Zambezi);
    all.or_else(|| BOCHS_AMD.iter().find(|(test, _)| amd && *test == name))
        .or_else(|| QEMU.iter().find(|(test, _)| !cpu.is_bochs() && *test == name))
        .or_else(|| AMD.iter().find(|(test, _)| cpu != Cpu::Intel && *test == name))
        .copied()
}

/// Whether the test `name` is the same on every CPU.
pub(super) fn no_cpu(name: &str) -> bool {
    NO_CPU.iter().any(|group| means(group, name))
}

/// Whether the test `name` is left out on `cpu` unless asked for, though it is not on others.
pub(super) fn long(cpu: Cpu, name: &str) -> bool {
    cpu.is_bochs() && LONG_ON_BOCHS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_that_of_a_test_or_a_group() {
        let tests = crate::test::all().unwrap();
        let lacking = BOCHS.iter().chain(BOCHS_AMD).chain(AMD).chain(QEMU).map(|(name, _)| name);
        let others = OF_AMD.iter().chain(OF_INTEL).chain(OF_BOCHS);
        for name in lacking.chain(NO_CPU).chain(LONG_ON_BOCHS).chain(others) {
            assert!(tests.iter().any(|test| means(name, &test.name)), "{name}");
        }
    }
}
