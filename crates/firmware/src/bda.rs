//! The BIOS data area at 400h: the few words in it that other software believes.
use crate::le::{mem_u16, u16_at};
use crate::{Phys, PhysMut};

const COM_PORTS: u64 = 0x400;
const COM_PORTS_LEN: usize = 8;
const EBDA_SEGMENT: u64 = 0x40e;
const EQUIPMENT: u64 = 0x410;
const BASE_MEMORY: u64 = 0x413;

/// Equipment word, bits 11:9: number of serial ports.
const SERIAL_SHIFT: u32 = 9;
const SERIAL_MASK: u16 = 7 << SERIAL_SHIFT;

/// KiB of conventional memory, as `INT 12h` answers it.
pub fn base_memory_kib<P: Phys + ?Sized>(mem: &P) -> Option<u16> {
    mem_u16(mem, BASE_MEMORY)
}

/// Sets the KiB of conventional memory; false if the word is not there.
pub fn set_base_memory_kib<P: PhysMut + ?Sized>(mem: &mut P, kib: u16) -> bool {
    mem.write(BASE_MEMORY, &kib.to_le_bytes())
}

/// Where the extended BIOS data area begins; `None` if the BIOS names no plausible place.
pub fn ebda<P: Phys + ?Sized>(mem: &P) -> Option<u64> {
    let at = u64::from(mem_u16(mem, EBDA_SEGMENT)?) << 4;
    (0x500..0xa_0000).contains(&at).then_some(at)
}

/// Removes a serial port from the table of COM ports as if the BIOS had not found it, and from
/// their number in the equipment word. True if it was there and is gone.
pub fn hide_uart<P: PhysMut + ?Sized>(mem: &mut P, port: u16) -> bool {
    let Some(old) = mem.bytes(COM_PORTS, COM_PORTS_LEN) else { return false };
    let mut new = [0; COM_PORTS_LEN];
    let kept = || old.chunks_exact(2).filter(|entry| u16_at(entry, 0) != Some(port));
    new.chunks_exact_mut(2).zip(kept()).for_each(|(slot, entry)| slot.copy_from_slice(entry));
    let ports = kept().filter(|entry| u16_at(entry, 0) != Some(0)).count();
    if port == 0 || kept().count() == COM_PORTS_LEN / 2 {
        return false;
    }
    let Some(equipment) = mem_u16(mem, EQUIPMENT) else { return false };
    let ports = u16::try_from(ports).unwrap_or(0);
    let equipment = equipment & !SERIAL_MASK | ports << SERIAL_SHIFT;
    mem.write(COM_PORTS, &new) && mem.write(EQUIPMENT, &equipment.to_le_bytes())
}
