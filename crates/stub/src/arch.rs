//! x86-64 as `gdbstub` wants it described. The order of `target.xml` and of [`slot`] must agree.

use crate::{Register, Regs};
use core::fmt;
use core::num::NonZeroUsize;
use gdbstub::arch::{Arch, RegId, Registers};

/// How many registers of the core feature come before st0.
const BEFORE_FPU: usize = 24;

/// st0 to st7, then fctrl, fstat, ftag, fiseg, fioff, foseg, fooff, fop: gdb refuses a core feature
/// without them, and the VMM holds none, so they read as unavailable.
const FPU: [usize; 16] = [10, 10, 10, 10, 10, 10, 10, 10, 4, 4, 4, 4, 4, 4, 4, 4];

/// One place in the register file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// A register the VMM holds.
    Held(Register),
    /// One it does not, of so many bytes.
    Absent(usize),
}

impl Slot {
    fn bytes(self) -> usize {
        match self {
            Slot::Held(register) => register.bytes(),
            Slot::Absent(bytes) => bytes,
        }
    }
}

/// The place with gdb's register number `number`.
pub(crate) fn slot(number: usize) -> Option<Slot> {
    let Some(after) = number.checked_sub(BEFORE_FPU) else {
        return Register::ALL.get(number).copied().map(Slot::Held);
    };
    match FPU.get(after) {
        Some(&bytes) => Some(Slot::Absent(bytes)),
        None => Register::ALL.get(number.checked_sub(FPU.len())?).copied().map(Slot::Held),
    }
}

/// gdb's number of a register.
pub(crate) fn number_of(register: Register) -> usize {
    let index = register as usize;
    if index < BEFORE_FPU { index } else { index.saturating_add(FPU.len()) }
}

fn slots() -> impl Iterator<Item = Slot> {
    (0..).map_while(slot)
}

/// Changes one register; rip and ip stay two views of the same place.
pub(crate) fn change(regs: &mut Regs, register: Register, value: u64) {
    register.put(regs, value);
    match register {
        Register::Rip => regs.ip = regs.rip_linear.wrapping_sub(regs.cs.base),
        Register::Ip => regs.rip_linear = regs.ip.wrapping_add(regs.cs.base),
        _ => {}
    }
}

/// A little-endian number of at most eight bytes.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    let mut value = [0; 8];
    for (to, from) in value.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_le_bytes(value)
}

impl Registers for Regs {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.rip_linear
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        for slot in slots() {
            match slot {
                Slot::Held(register) => {
                    let value = register.get(self).to_le_bytes();
                    value.iter().take(register.bytes()).for_each(|&byte| write_byte(Some(byte)));
                }
                Slot::Absent(bytes) => (0..bytes).for_each(|_| write_byte(None)),
            }
        }
    }

    fn gdb_deserialize(&mut self, mut bytes: &[u8]) -> Result<(), ()> {
        for slot in slots() {
            let (value, rest) = bytes.split_at_checked(slot.bytes()).ok_or(())?;
            if let Slot::Held(register) = slot {
                register.put(self, number(value));
            }
            bytes = rest;
        }
        if bytes.is_empty() { Ok(()) } else { Err(()) }
    }
}

/// As many whole registers, in hexadecimal digits, as a packet of so many bytes holds: `g` for a client whose
/// packets are short. The rest it can ask for one by one.
pub(crate) struct Short<'a>(pub(crate) &'a Regs, pub(crate) usize);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `$`, `#` and the checksum.
        let mut room = self.1.saturating_sub(4) / 2;
        for slot in slots() {
            match room.checked_sub(slot.bytes()) {
                Some(left) => room = left,
                None => break,
            }
            match slot {
                Slot::Held(register) => {
                    let value = register.get(self.0).to_le_bytes();
                    value
                        .iter()
                        .take(register.bytes())
                        .try_for_each(|byte| write!(f, "{byte:02x}"))?;
                }
                Slot::Absent(bytes) => (0..bytes).try_for_each(|_| f.write_str("xx"))?,
            }
        }
        Ok(())
    }
}

impl RegId for Slot {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        let slot = slot(id)?;
        Some((slot, NonZeroUsize::new(slot.bytes())))
    }
}

/// 64-bit x86 in every CPU mode.
pub(crate) enum X86 {}

impl Arch for X86 {
    type Usize = u64;
    type Registers = Regs;
    type BreakpointKind = usize;
    type RegId = Slot;
}

#[cfg(test)]
mod tests;
