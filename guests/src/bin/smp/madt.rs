//! Which CPUs the firmware lists: RSDP, RSDT or XSDT, MADT (ACPI 6.5, 5.2.5 to 5.2.12).

use guests::cpu;
use guests::report::{fact, info};

fn sum(at: u64, len: u64) -> u8 {
    (at..at + len).fold(0, |sum, at| sum.wrapping_add(cpu::read8(at)))
}

fn rsdp() -> Option<u64> {
    let ebda = u64::from(cpu::read16(0x40e)) << 4;
    (ebda..ebda + 1024)
        .chain(0xe_0000..0x10_0000)
        .step_by(16)
        .find(|&at| cpu::read64(at) == u64::from_le_bytes(*b"RSD PTR ") && sum(at, 20) == 0)
}

/// The MADT that one root names: `pointer` is 4 bytes wide in the RSDT, 8 in the XSDT.
fn madt_of(root: u64, pointer: u64) -> Option<u64> {
    let len = u64::from(cpu::read32(root + 4));
    (root + 36..root + len)
        .step_by(pointer as usize)
        .map(|at| if pointer == 8 { cpu::read64(at) } else { u64::from(cpu::read32(at)) })
        .find(|&at| cpu::read32(at) == u32::from_le_bytes(*b"APIC"))
}

fn madt() -> Option<u64> {
    let rsdp = rsdp()?;
    let xsdt = if cpu::read8(rsdp + 15) >= 2 { cpu::read64(rsdp + 24) } else { 0 };
    if xsdt == 0 { madt_of(u64::from(cpu::read32(rsdp + 16)), 4) } else { madt_of(xsdt, 8) }
}

/// How many CPUs the MADT lists as enabled; 1 without a MADT.
pub(crate) fn enabled_cpus() -> u32 {
    let Some(madt) = madt() else {
        info(format_args!("madt.none"));
        return 1;
    };
    let len = u64::from(cpu::read32(madt + 4));
    fact("madt.checksum", sum(madt, len), 0);
    let mut enabled = 0;
    let mut at = madt + 44;
    while at < madt + len {
        // Type 0, a processor's local APIC, or 9, its x2APIC: where the ID and the flags are.
        let cpu = match cpu::read8(at) {
            0 => Some((u32::from(cpu::read8(at + 3)), cpu::read32(at + 4))),
            9 => Some((cpu::read32(at + 4), cpu::read32(at + 8))),
            _ => None,
        };
        if let Some((id, flags)) = cpu {
            info(format_args!("madt.cpu id {id:x} flags {flags:x}"));
            enabled += flags & 1;
        }
        at += u64::from(cpu::read8(at + 1)).max(2);
    }
    enabled
}
