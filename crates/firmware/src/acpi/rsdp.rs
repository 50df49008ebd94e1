//! The Root System Description Pointer, where all tables hang: ACPI 6.5, 5.2.5.
use crate::le::{sum, u32_at, u64_at};
use crate::{Phys, bda};

const SIGNATURE: &[u8; 8] = b"RSD PTR ";
/// Length of ACPI 1.0's structure, covered by the first checksum.
const LEN_1: usize = 20;
/// Length of ACPI 2.0's structure, covered by the second. ACPICA too takes this fixed length, not
/// the one the structure states.
const LEN_2: usize = 36;

/// A valid RSDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rsdp {
    /// 0 = ACPI 1.0, 2 = ACPI 2.0 and later.
    pub revision: u8,
    /// Physical address of the RSDT; 0 = none.
    pub rsdt: u32,
    /// Physical address of the XSDT; 0 = none.
    pub xsdt: u64,
}

impl Rsdp {
    /// Reads an RSDP, or a boot loader's copy of one. `None` if signature or checksums are wrong.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let first = bytes.get(..LEN_1)?;
        if !first.starts_with(SIGNATURE) || sum(first) != 0 {
            return None;
        }
        let revision = *first.get(15)?;
        let rsdt = u32_at(first, 16)?;
        let mut xsdt = 0;
        if revision >= 2 {
            let whole = bytes.get(..LEN_2)?;
            if sum(whole) != 0 {
                return None;
            }
            xsdt = u64_at(whole, 24)?;
        }
        Some(Self { revision, rsdt, xsdt })
    }
}

/// Searches the first KiB of the extended BIOS data area, then E0000h..FFFFFh, on 16-byte
/// boundaries; ACPI 6.5, 5.2.5.1.
pub fn find_rsdp<P: Phys + ?Sized>(mem: &P) -> Option<Rsdp> {
    let ebda = bda::ebda(mem).map(|at| at..at.saturating_add(0x400));
    let areas = [ebda, Some(0xe_0000..0x10_0000)];
    areas.into_iter().flatten().flat_map(|area| area.step_by(16)).find_map(|at| {
        let mark = mem.bytes(at, SIGNATURE.len())?;
        if mark != SIGNATURE {
            return None;
        }
        let longer = mem.bytes(at, LEN_2);
        longer.or_else(|| mem.bytes(at, LEN_1)).and_then(Rsdp::parse)
    })
}
