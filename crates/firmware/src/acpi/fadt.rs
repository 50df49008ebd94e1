//! The Fixed ACPI Description Table: where sleep and reset are asked for; ACPI 6.5, 5.2.9.
use super::{Gas, Rsdp, table};
use crate::Phys;
use crate::le::{u32_at, u64_at};

/// Flags: RESET_REG can be used.
const RESET_REG_SUP: u32 = 1 << 10;

/// What is used of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fadt {
    /// I/O port and value that reset the machine; `None` if it is not done by a port.
    pub reset: Option<(u16, u8)>,
    /// I/O port of the PM1a control register; 0 = none.
    pub pm1a_cnt: u16,
    /// Physical address of the FACS; 0 = none.
    pub facs: u64,
}

impl Fadt {
    /// Reads the fields of a whole table, header included. What a short table of an old revision
    /// lacks is absent; an X_ field goes before its 32-bit ancestor unless it is 0.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let field = |at| u32_at(bytes, at).unwrap_or(0);
        let reset = || {
            let register = (Gas::read(bytes, 116)?.port()?, *bytes.get(128)?);
            (field(112) & RESET_REG_SUP != 0).then_some(register)
        };
        let x_pm1a_cnt = Gas::read(bytes, 172).and_then(|gas| gas.port());
        let x_facs = u64_at(bytes, 132).filter(|at| *at != 0);
        Self {
            reset: reset(),
            pm1a_cnt: x_pm1a_cnt.unwrap_or_else(|| u16::try_from(field(64)).unwrap_or(0)),
            facs: x_facs.unwrap_or_else(|| u64::from(field(36))),
        }
    }
}

/// Reads the machine's FADT; `None` if it has none.
pub fn find<P: Phys + ?Sized>(mem: &P, rsdp: &Rsdp) -> Option<Fadt> {
    table(mem, rsdp, b"FACP").map(|table| Fadt::parse(table.bytes))
}
