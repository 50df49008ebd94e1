//! The tables that name a serial port for consoles (SPCR) and debuggers (DBG2). An operating system
//! that reads them talks to the port although nothing else lists it.
use super::{CHECKSUM, Gas, LENGTH, Root, Rsdp, Table, roots};
use crate::le::{fix_checksum, patch, u16_at, u32_at};
use crate::{Error, Phys, PhysMut};

/// Type of a debug device in DBG2: serial.
const DBG2_SERIAL: u16 = 0x8000;
/// Shortest description of a debug device in DBG2.
const DBG2_DEVICE: u16 = 22;

/// The Serial Port Console Redirection table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spcr {
    /// 0 and 1 = 16550 and its kin; others as DBG2's serial subtypes.
    pub interface_type: u8,
    /// Where its registers are.
    pub base: Gas,
}

impl Spcr {
    /// Reads a whole table, header included; `None` if it is too short.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self { interface_type: *bytes.get(36)?, base: Gas::read(bytes, 40)? })
    }
}

/// Whether a DBG2 table names the port for a serial device.
fn dbg2_names(bytes: &[u8], port: u16) -> bool {
    let first = u32_at(bytes, 36).map_or(0, |offset| offset as usize);
    let devices = core::iter::successors(bytes.get(first..), |device| {
        let len = u16_at(device, 1).filter(|len| *len >= DBG2_DEVICE)?;
        device.get(usize::from(len)..)
    });
    let count = u32_at(bytes, 40).map_or(0, |count| count as usize);
    devices.take(count).any(|device| {
        let offset = usize::from(u16_at(device, 18).unwrap_or(u16::MAX));
        let addresses = usize::from(device.get(3).copied().unwrap_or(0));
        let mut ports = (0..addresses)
            .map(|index| Gas::read(device, index.saturating_mul(Gas::LEN).saturating_add(offset)))
            .map(|gas| gas.and_then(|gas| gas.port()));
        u16_at(device, 12) == Some(DBG2_SERIAL) && ports.any(|named| named == Some(port))
    })
}

/// Whether the table at `at` must not be seen.
fn names_port<P: Phys + ?Sized>(mem: &P, at: u64, port: u16) -> bool {
    let Ok(table) = Table::read(mem, at, "") else { return false };
    match &table.signature() {
        b"SPCR" => Spcr::parse(table.bytes).is_some_and(|spcr| spcr.base.port() == Some(port)),
        b"DBG2" => dbg2_names(table.bytes, port),
        _ => false,
    }
}

/// Removes from RSDT and XSDT every pointer to an SPCR or DBG2 table that names this I/O port.
/// True if there was one.
///
/// # Errors
/// [`Error::Unreadable`] or [`Error::Malformed`] for a root; [`Error::ReadOnly`] if it cannot be
/// changed.
pub fn hide_spcr<P: PhysMut + ?Sized>(mem: &mut P, rsdp: &Rsdp, port: u16) -> Result<bool, Error> {
    let mut hidden = false;
    for mut root in roots(mem, rsdp)?.into_iter().flatten() {
        let mut index = 0usize;
        while let Some(at) = root.pointer(mem, index) {
            if at != 0 && names_port(mem, at, port) {
                remove(mem, &mut root, index)?;
                hidden = true;
            } else {
                index = index.saturating_add(1);
            }
        }
    }
    Ok(hidden)
}

/// Removes the pointer numbered `index`: the rest moves up, the table gets shorter.
fn remove<P: PhysMut + ?Sized>(mem: &mut P, root: &mut Root, index: usize) -> Result<(), Error> {
    let mut to = index;
    while let (Some(slot), Some(next)) = (root.slot(to), root.pointer(mem, to.saturating_add(1))) {
        to = to.saturating_add(1);
        patch(mem, slot, next.to_le_bytes().get(..root.width).unwrap_or(&[]))?;
    }
    if let Some(last) = root.slot(to) {
        patch(mem, last, [0; 8].get(..root.width).unwrap_or(&[]))?;
    }
    root.len = root.len.saturating_sub(root.width);
    let len = u32::try_from(root.len).unwrap_or(0);
    patch(mem, root.at.saturating_add(LENGTH as u64), &len.to_le_bytes())?;
    fix_checksum(mem, root.at, root.len, CHECKSUM)
}
