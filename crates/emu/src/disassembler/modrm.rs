//! ModRM, SIB and displacement (APM 3, 1.4).

use super::{Bad, Walk};

/// The byte taken apart, REX in it, and the memory it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ModRm {
    mode: u8,
    pub(super) reg: u8,
    pub(super) rm: u8,
    pub(super) base: Option<u8>,
    pub(super) index: Option<u8>,
    /// 0 to 3: times 1 to 8.
    pub(super) scale: u32,
    pub(super) displacement: i64,
    /// The base is the next instruction's address.
    pub(super) relative: bool,
}

impl ModRm {
    pub(super) fn memory(&self) -> bool {
        self.mode != 3
    }

    /// The byte taken for one that names a register.
    pub(super) fn of_register(walk: &mut Walk<'_>) -> Result<Self, Bad> {
        let byte = walk.byte()?;
        Ok(Self::register(byte, walk.prefixes.rex))
    }

    fn register(byte: u8, rex: u8) -> Self {
        ModRm {
            mode: 3,
            reg: byte >> 3 & 7 | (rex & 4) << 1,
            rm: byte & 7 | (rex & 1) << 3,
            base: None,
            index: None,
            scale: 0,
            displacement: 0,
            relative: false,
        }
    }

    pub(super) fn take(walk: &mut Walk<'_>) -> Result<Self, Bad> {
        let byte = walk.byte()?;
        let rex = walk.prefixes.rex;
        let mode = byte >> 6;
        let low = byte & 7;
        let mut this = ModRm { mode, ..Self::register(byte, rex) };
        if mode == 3 {
            return Ok(this);
        }
        let mut bytes = mode;
        if walk.prefixes.address(walk.size) == 2 {
            // BX, BP, SI, DI.
            let (base, index) = match low {
                0 => (Some(3), Some(6)),
                1 => (Some(3), Some(7)),
                2 => (Some(5), Some(6)),
                3 => (Some(5), Some(7)),
                4 => (Some(6), None),
                5 => (Some(7), None),
                6 if mode == 0 => (None, None),
                6 => (Some(5), None),
                _ => (Some(3), None),
            };
            (this.base, this.index) = (base, index);
            bytes = match mode {
                0 if base.is_none() => 2,
                0 => 0,
                1 => 1,
                _ => 2,
            };
        } else {
            if mode == 2 {
                bytes = 4;
            }
            this.base = Some(this.rm);
            if low == 4 {
                let sib = walk.byte()?;
                let index = sib >> 3 & 7 | (rex & 2) << 2;
                this.scale = u32::from(sib >> 6);
                this.index = Some(index).filter(|index| *index != 4);
                this.base = Some(sib & 7 | (rex & 1) << 3);
            }
            if mode == 0 && this.base.is_some_and(|base| base & 7 == 5) {
                this.base = None;
                this.relative = low == 5 && walk.long();
                bytes = 4;
            }
        }
        this.displacement = if bytes == 0 { 0 } else { walk.number(bytes)? };
        Ok(this)
    }
}
