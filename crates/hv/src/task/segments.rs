//! Descriptors, and the segment registers of a new task (SDM 3A, 7.3, table 7-1).
use super::memory::{Fault, Linear};
use super::state::{SEGMENTS, State};
use crate::Host;
use vcpu::{Seg, Segment, Vcpu};
use x86defs::{rflags, vector};

const ACCESSED: u16 = 1;
const BUSY: u8 = 2;
const CODE_OR_DATA: u16 = 1 << 4;
const CODE: u16 = 1 << 3;
const WRITABLE_OR_READABLE: u16 = 1 << 1;
const CONFORMING: u16 = 1 << 2;
const PRESENT: u16 = 1 << 7;

/// A descriptor and its linear address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    pub(super) segment: Segment,
    at: u64,
}

impl Descriptor {
    /// The descriptor a selector names, in the GDT or the LDT; `None` beyond the table.
    pub(super) fn find<H: Host>(
        memory: &Linear<'_, H>,
        vcpu: &dyn Vcpu,
        selector: u16,
    ) -> Result<Option<Self>, Fault> {
        let table = vcpu.segment(if selector & 4 != 0 { Seg::Ldtr } else { Seg::Gdtr });
        let there = selector & 4 == 0 || table.attributes & PRESENT != 0;
        let offset = u64::from(selector & 0xfff8);
        if !there || offset.wrapping_add(7) > u64::from(table.limit) {
            return Ok(None);
        }
        let at = table.base.wrapping_add(offset);
        let mut bytes = [0; 8];
        memory.read(vcpu, at, &mut bytes)?;
        let word = u64::from_le_bytes(bytes);
        let limit = (word & 0xffff | word >> 32 & 0xf_0000) as u32;
        let limit = if word >> 55 & 1 != 0 { limit << 12 | 0xfff } else { limit };
        let segment = Segment {
            selector,
            attributes: (word >> 40 & 0xff | word >> 44 & 0xf00) as u16,
            limit,
            base: word >> 16 & 0xff_ffff | word >> 32 & 0xff00_0000,
        };
        Ok(Some(Self { segment, at }))
    }

    pub(super) const fn present(self) -> bool {
        self.segment.attributes & PRESENT != 0
    }

    /// Whether it is a task, and then whether of 32 bits and busy.
    pub(super) const fn is_task(self) -> Option<(bool, bool)> {
        match self.segment.attributes & 0x1f {
            1 => Some((false, false)),
            3 => Some((false, true)),
            9 => Some((true, false)),
            11 => Some((true, true)),
            _ => None,
        }
    }

    /// Marks a task busy, or available.
    pub(super) fn set_busy<H: Host>(
        self,
        memory: &Linear<'_, H>,
        vcpu: &dyn Vcpu,
        busy: bool,
    ) -> Result<(), Fault> {
        let rights = self.segment.attributes as u8;
        let rights = if busy { rights | BUSY } else { rights & !BUSY };
        memory.write(vcpu, self.at.wrapping_add(5), &[rights])
    }

    /// Marks a segment accessed.
    fn access<H: Host>(
        mut self,
        memory: &Linear<'_, H>,
        vcpu: &dyn Vcpu,
    ) -> Result<Segment, Fault> {
        if self.segment.attributes & ACCESSED == 0 {
            self.segment.attributes |= ACCESSED;
            memory.write(vcpu, self.at.wrapping_add(5), &[self.segment.attributes as u8])?;
        }
        Ok(self.segment)
    }
}

/// Whether the task is one of virtual-8086 mode.
fn is_old_style(state: &State) -> bool {
    u64::from(state.eflags) & rflags::VM != 0
}

/// The privilege level of the new task.
fn level(state: &State) -> u16 {
    let [_, cs, ..] = state.selectors;
    if is_old_style(state) { 3 } else { cs & 3 }
}

/// Loads the selectors first, without segments: what goes wrong with one then is found with all of them loaded.
pub(super) fn prepare(vcpu: &mut dyn Vcpu, state: &State) {
    let level = level(state);
    for (register, selector) in SEGMENTS.into_iter().zip(state.selectors) {
        let empty = Segment { selector, attributes: 0, limit: 0, base: 0 };
        let value = match register {
            Seg::Ldtr => empty,
            _ if is_old_style(state) => Segment::real(selector, 0xf3),
            // They must be something while a fault is delivered.
            Seg::Cs => Segment { attributes: 0xc9b | level << 5, limit: u32::MAX, ..empty },
            Seg::Ss => Segment { attributes: 0xc93 | level << 5, limit: u32::MAX, ..empty },
            _ => empty,
        };
        vcpu.set_segment(register, value);
    }
}

/// Loads LDTR and the segments of `state`.
pub(super) fn load<H: Host>(
    memory: &Linear<'_, H>,
    vcpu: &mut dyn Vcpu,
    state: &State,
) -> Result<(), Fault> {
    let [es, cs, ss, ds, fs, gs, table] = state.selectors;
    if table & 4 != 0 {
        return Err(Fault::task(table));
    }
    if table & 0xfffc != 0 {
        let lawful = |it: &Descriptor| it.present() && it.segment.attributes & 0x1f == 2;
        let found = Descriptor::find(memory, vcpu, table)?.filter(lawful);
        vcpu.set_segment(Seg::Ldtr, found.ok_or(Fault::task(table))?.segment);
    }
    if is_old_style(state) {
        return Ok(());
    }
    // The manual names no order; that of Bochs, so that two faults at once are the same.
    for (register, selector) in
        [(Seg::Ss, ss), (Seg::Ds, ds), (Seg::Es, es), (Seg::Fs, fs), (Seg::Gs, gs), (Seg::Cs, cs)]
    {
        load_one(memory, vcpu, register, selector, level(state))?;
    }
    Ok(())
}

fn load_one<H: Host>(
    memory: &Linear<'_, H>,
    vcpu: &mut dyn Vcpu,
    register: Seg,
    selector: u16,
    level: u16,
) -> Result<(), Fault> {
    let refused = Fault::task(selector);
    if selector & 0xfffc == 0 {
        // Nothing, which code and stack cannot be.
        return if matches!(register, Seg::Cs | Seg::Ss) { Err(refused) } else { Ok(()) };
    }
    let found = Descriptor::find(memory, vcpu, selector)?.ok_or(refused)?;
    let attributes = found.segment.attributes;
    let has = |bit| attributes & bit != 0;
    let dpl = u16::from(found.segment.dpl());
    let code = has(CODE);
    let lawful = has(CODE_OR_DATA)
        && match register {
            Seg::Cs => code && if has(CONFORMING) { dpl <= level } else { dpl == level },
            Seg::Ss => !code && has(WRITABLE_OR_READABLE) && dpl == level && selector & 3 == level,
            _ => {
                let open = code && has(CONFORMING) || dpl >= level && dpl >= selector & 3;
                (!code || has(WRITABLE_OR_READABLE)) && open
            }
        };
    if !lawful {
        return Err(refused);
    }
    if !found.present() {
        let vector = if register == Seg::Ss { vector::SS } else { vector::NP };
        return Err(Fault::new(vector, u32::from(selector & 0xfffc)));
    }
    let segment = found.access(memory, vcpu)?;
    vcpu.set_segment(register, segment);
    Ok(())
}
