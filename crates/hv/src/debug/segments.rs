//! Segment and table registers written by the analyst: each part alone, no descriptor is loaded for it.
use super::write::{Mode, canonical};
use stub::{Refused, Register, Regs};
use vcpu::{Seg, Segment, System, Vcpu};
use x86defs::{cr, rflags};

/// A descriptor's attributes, joined to 12 bits (APM 2, 15.5.1).
const CODE: u16 = 1 << 3;
const USER: u16 = 1 << 4;
const PRESENT: u16 = 1 << 7;
const GRANULARITY: u16 = 1 << 11;

/// The register that `register` is a part of, with its value in `regs`.
fn part(register: Register, regs: &Regs) -> Option<(Seg, stub::Segment)> {
    use Register as R;
    Some(match register {
        R::Cs | R::CsBase | R::CsLimit | R::CsAttributes => (Seg::Cs, regs.cs),
        R::Ss | R::SsBase | R::SsLimit | R::SsAttributes => (Seg::Ss, regs.ss),
        R::Ds | R::DsBase | R::DsLimit | R::DsAttributes => (Seg::Ds, regs.ds),
        R::Es | R::EsBase | R::EsLimit | R::EsAttributes => (Seg::Es, regs.es),
        R::Fs | R::FsBase | R::FsLimit | R::FsAttributes => (Seg::Fs, regs.fs),
        R::Gs | R::GsBase | R::GsLimit | R::GsAttributes => (Seg::Gs, regs.gs),
        R::Ldtr | R::LdtrBase | R::LdtrLimit | R::LdtrAttributes => (Seg::Ldtr, regs.ldtr),
        R::Tr | R::TrBase | R::TrLimit | R::TrAttributes => (Seg::Tr, regs.tr),
        _ => return None,
    })
}

/// See [`super::write::set`].
pub(super) fn set(vcpu: &mut dyn Vcpu, register: Register, regs: &Regs) -> Result<(), Refused> {
    if let Some((seg, value)) = part(register, regs) {
        let stub::Segment { selector, base, limit, attributes: given } = value;
        let old = vcpu.segment(seg);
        // Only what is written is looked at: the guest may have come to the rest by ways of its own.
        let mut attributes = given;
        if limit != old.limit {
            attributes = granular(given, limit).ok_or(Refused)?;
        }
        let changed = given != old.attributes;
        let whole = granular(given, limit) == Some(given) && fits(vcpu, seg, given);
        if changed && !whole || base != old.base && !reaches(vcpu, seg, base) {
            return Err(Refused);
        }
        vcpu.set_segment(seg, Segment { selector, attributes, limit, base });
        return Ok(());
    }
    let (seg, table) = match register {
        Register::GdtrBase | Register::GdtrLimit => (Seg::Gdtr, regs.gdtr),
        Register::IdtrBase | Register::IdtrLimit => (Seg::Idtr, regs.idtr),
        _ => return Err(Refused),
    };
    if !canonical(vcpu, table.base) {
        return Err(Refused);
    }
    let old = vcpu.segment(seg);
    vcpu.set_segment(seg, Segment { base: table.base, limit: table.limit.into(), ..old });
    Ok(())
}

/// The attributes with the G (units of 4 KiB) that `limit` needs; `None` if no descriptor has such a limit.
fn granular(attributes: u16, limit: u32) -> Option<u16> {
    match (limit >> 20, limit & 0xfff) {
        _ if attributes >> 12 != 0 => None,
        (0, 0xfff) => Some(attributes),
        (0, _) => Some(attributes & !GRANULARITY),
        (_, 0xfff) => Some(attributes | GRANULARITY),
        _ => None,
    }
}

/// Whether `seg` can be a segment of this kind.
fn fits(vcpu: &dyn Vcpu, seg: Seg, attributes: u16) -> bool {
    let real = vcpu.system(System::Cr0) & cr::CR0_PE == 0;
    let has = |bits| attributes & bits == bits;
    match seg {
        Seg::Cs => has(PRESENT | USER) && (real || has(CODE)) && Mode::of(vcpu).allows(attributes),
        // Its DPL is the CPU's privilege level: 0 in real mode, 3 in virtual-8086 mode.
        Seg::Ss => match attributes >> 5 & 3 {
            level if real => level == 0,
            level => level == 3 || vcpu.system(System::Rflags) & rflags::VM == 0,
        },
        Seg::Ldtr => !has(USER),
        // A task: 16-bit or 32-bit, busy (APM 2, table 4-6).
        Seg::Tr => has(PRESENT) && !has(USER) && attributes & 7 == 3,
        _ => true,
    }
}

/// Whether `seg` can begin there: 32 bits, but for those that have 64 in long mode (APM 2, 4.5.3).
fn reaches(vcpu: &dyn Vcpu, seg: Seg, base: u64) -> bool {
    match seg {
        Seg::Cs | Seg::Ss | Seg::Ds | Seg::Es => base >> 32 == 0,
        _ => canonical(vcpu, base),
    }
}
