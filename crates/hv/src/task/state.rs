//! The registers in a task-state segment (SDM 3A, 7.2.1 and 7.6).
use super::memory::{Fault, Linear};
use crate::Host;
use vcpu::{Gpr, Seg, System, Vcpu};
use x86defs::rflags;

/// The order of the segment registers, LDTR last.
pub(super) const SEGMENTS: [Seg; 7] =
    [Seg::Es, Seg::Cs, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs, Seg::Ldtr];

/// A task's registers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// None in a 16-bit task.
    pub(super) cr3: Option<u32>,
    eip: u32,
    pub(super) eflags: u32,
    registers: [u32; 8],
    /// By [`SEGMENTS`]; FS and GS are 0 in a 16-bit task.
    pub(super) selectors: [u16; 7],
    /// T: #DB after the switch.
    pub(super) trap: bool,
}

/// Where EIP is; EFLAGS and the general registers follow, in encoding order.
const fn first(wide: bool) -> u64 {
    if wide { 0x20 } else { 0x0e }
}

/// Bytes of each register.
const fn size(wide: bool) -> u64 {
    if wide { 4 } else { 2 }
}

/// Where the segment register `n` is.
const fn selector(wide: bool, n: u64) -> Option<u64> {
    match (wide, n) {
        (true, _) => Some(0x48_u64.wrapping_add(n.wrapping_mul(4))),
        (false, 0..=3) => Some(0x22_u64.wrapping_add(n.wrapping_mul(2))),
        (false, 6) => Some(0x2a),
        _ => None,
    }
}

impl State {
    /// The first and the last byte that a switch saves.
    pub(super) const fn saved(wide: bool) -> (u64, u32) {
        if wide { (first(wide), 0x5d) } else { (first(wide), 0x29) }
    }

    /// The limit a segment must have at least.
    pub(super) const fn last(wide: bool) -> u32 {
        if wide { 0x67 } else { 0x2b }
    }

    /// The registers of the task that runs.
    pub(super) fn of(vcpu: &dyn Vcpu, rip: u64, flags: u64) -> Self {
        let mut this = Self { eip: rip as u32, eflags: flags as u32, ..Self::default() };
        for (to, from) in this.registers.iter_mut().zip(Gpr::ALL) {
            *to = vcpu.gpr(from) as u32;
        }
        for (to, from) in this.selectors.iter_mut().zip(SEGMENTS) {
            *to = vcpu.segment(from).selector;
        }
        this
    }

    /// Writes what a switch saves: neither CR3 nor LDTR.
    pub(super) fn write<H: Host>(
        &self,
        memory: &Linear<'_, H>,
        vcpu: &dyn Vcpu,
        base: u64,
        wide: bool,
    ) -> Result<(), Fault> {
        let words = [self.eip, self.eflags].into_iter().chain(self.registers);
        for (word, n) in words.zip(0..) {
            let at = first(wide).wrapping_add(size(wide).wrapping_mul(n));
            let bytes = word.to_le_bytes();
            let bytes = bytes.get(..size(wide) as usize).unwrap_or_default();
            memory.write(vcpu, base.wrapping_add(at), bytes)?;
        }
        for (value, n) in self.selectors.iter().take(6).zip(0..) {
            if let Some(at) = selector(wide, n) {
                memory.write(vcpu, base.wrapping_add(at), &value.to_le_bytes())?;
            }
        }
        Ok(())
    }

    /// Reads a task.
    pub(super) fn read<H: Host>(
        memory: &Linear<'_, H>,
        vcpu: &dyn Vcpu,
        base: u64,
        wide: bool,
    ) -> Result<Self, Fault> {
        let word = |at: u64, size: u64| {
            let mut bytes = [0; 4];
            memory.read(
                vcpu,
                base.wrapping_add(at),
                bytes.get_mut(..size as usize).unwrap_or_default(),
            )?;
            Ok(u32::from_le_bytes(bytes))
        };
        let mut words = [0; 10];
        for (to, n) in words.iter_mut().zip(0..) {
            *to = word(first(wide).wrapping_add(size(wide).wrapping_mul(n)), size(wide))?;
        }
        let [eip, eflags, registers @ ..] = words;
        let mut selectors = [0; 7];
        for (to, n) in selectors.iter_mut().zip(0..) {
            if let Some(at) = selector(wide, n) {
                *to = word(at, 2)? as u16;
            }
        }
        let cr3 = if wide { Some(word(0x1c, 4)?) } else { None };
        let trap = wide && word(0x64, 2)? & 1 != 0;
        Ok(Self { cr3, eip, eflags, registers, selectors, trap })
    }

    /// Loads EIP, EFLAGS with the bits of `link`, and the general registers.
    pub(super) fn load_registers(&self, vcpu: &mut dyn Vcpu, link: u64) {
        // RFLAGS bits that exist.
        const FLAGS: u64 = 0x3f_7fd5;
        vcpu.set_system(System::Rip, self.eip.into());
        let flags = u64::from(self.eflags) & FLAGS | rflags::RESERVED_ONE | link;
        vcpu.set_system(System::Rflags, flags);
        for (register, value) in Gpr::ALL.into_iter().zip(self.registers) {
            vcpu.set_gpr(register, value.into());
        }
    }
}
