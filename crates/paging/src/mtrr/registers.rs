//! The MTRRs as MSRs: what a guest reads, and which of its writes the CPU would accept.

use super::{
    CAP_WC, DEF_E, DEF_FE, MTRR_CAP, MTRR_DEF_TYPE, MTRR_FIX, MTRR_PHYSBASE0, MemoryType, Mtrrs,
    variable::{VALID, Variable},
};
use crate::mtrr::CAP_FIX;

/// WRMSR would raise #GP: the MSR is no MTRR or read-only, or the value has a reserved bit or type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// An MTRR's place.
enum Register<'a> {
    DefType(&'a mut u64),
    Fixed(&'a mut u64),
    Base(&'a mut u64),
    Mask(&'a mut u64),
}

impl Mtrrs {
    /// RDMSR; `None` if the CPU has no such MTRR.
    #[must_use]
    pub fn read(&self, msr: u32) -> Option<u64> {
        match msr {
            MTRR_CAP => Some(self.cap),
            MTRR_DEF_TYPE => Some(self.def_type),
            _ => match fixed_index(msr) {
                Some(index) if self.cap & CAP_FIX != 0 => self.fixed.get(index).copied(),
                _ => {
                    let (pair, is_mask) = variable_index(msr)?;
                    let Variable { base, mask } = *self.variable.get(..self.count())?.get(pair)?;
                    Some(if is_mask { mask } else { base })
                }
            },
        }
    }

    /// WRMSR.
    ///
    /// # Errors
    /// The CPU would raise #GP; nothing has changed.
    pub fn write(&mut self, msr: u32, value: u64) -> Result<(), Refused> {
        let (cap, address) = (self.cap, self.limit.wrapping_sub(1) & !0xFFF);
        let has_type = |value: u64| match MemoryType::new(value as u8) {
            Some(MemoryType::WriteCombining) => cap & CAP_WC != 0,
            kind => kind.is_some(),
        };
        let register = self.register(msr).ok_or(Refused)?;
        let valid = match &register {
            Register::DefType(_) => value & !(DEF_E | DEF_FE | 0xFF) == 0 && has_type(value),
            Register::Fixed(_) => {
                value.to_le_bytes().into_iter().all(|kind| has_type(u64::from(kind)))
            }
            Register::Base(_) => value & !(address | 0xFF) == 0 && has_type(value),
            Register::Mask(_) => value & !(address | VALID) == 0,
        };
        let (Register::DefType(place)
        | Register::Fixed(place)
        | Register::Base(place)
        | Register::Mask(place)) = register;
        if !valid {
            return Err(Refused);
        }
        *place = value;
        Ok(())
    }

    fn register(&mut self, msr: u32) -> Option<Register<'_>> {
        if msr == MTRR_DEF_TYPE {
            return Some(Register::DefType(&mut self.def_type));
        }
        if let Some(index) = fixed_index(msr) {
            let there = self.cap & CAP_FIX != 0;
            return self.fixed.get_mut(index).filter(|_| there).map(Register::Fixed);
        }
        let (pair, is_mask) = variable_index(msr)?;
        let count = self.count();
        let pair = self.variable.get_mut(..count)?.get_mut(pair)?;
        Some(if is_mask { Register::Mask(&mut pair.mask) } else { Register::Base(&mut pair.base) })
    }
}

fn fixed_index(msr: u32) -> Option<usize> {
    MTRR_FIX.iter().position(|known| *known == msr)
}

/// The pair an MSR belongs to, and whether it is the mask.
fn variable_index(msr: u32) -> Option<(usize, bool)> {
    let number = msr.checked_sub(MTRR_PHYSBASE0)?;
    Some((number.wrapping_shr(1) as usize, number & 1 != 0))
}
