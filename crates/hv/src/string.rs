//! What string instructions have in common: their registers, their direction, the rights they need.
use emu::Instruction;
use paging::walk::Access;
use vcpu::{Gpr, Seg, System, Vcpu};
use x86defs::{cr, rflags, segment};

/// The segment of RSI.
pub(crate) fn override_of(found: Option<Instruction>) -> Seg {
    match found.and_then(|found| found.segment) {
        Some(emu::Segment::Es) => Seg::Es,
        Some(emu::Segment::Cs) => Seg::Cs,
        Some(emu::Segment::Ss) => Seg::Ss,
        Some(emu::Segment::Fs) => Seg::Fs,
        Some(emu::Segment::Gs) => Seg::Gs,
        Some(emu::Segment::Ds) | None => Seg::Ds,
    }
}

/// The bits that count of an address-size register.
pub(crate) fn mask(address_size: u8) -> u64 {
    match address_size {
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

/// Write an address-size register: 16 bits keep the rest, 32 bits clear it.
pub(crate) fn store(vcpu: &mut dyn Vcpu, register: Gpr, address_size: u8, value: u64) {
    let kept = if address_size == 2 { vcpu.gpr(register) & !0xffff } else { 0 };
    vcpu.set_gpr(register, kept | value & mask(address_size));
}

/// `from`, by so many bytes in the direction of DF.
pub(crate) fn moved(vcpu: &dyn Vcpu, from: u64, bytes: u64) -> u64 {
    let down = vcpu.system(System::Rflags) & rflags::DF != 0;
    if down { from.wrapping_sub(bytes) } else { from.wrapping_add(bytes) }
}

/// What the guest may do to its pages now.
pub(crate) fn access(vcpu: &dyn Vcpu, write: bool) -> Access {
    let ac = vcpu.system(System::Rflags) & 1 << 18 != 0;
    Access { write, user: vcpu.cpl() == 3, fetch: false, ac }
}

/// The linear address of an element, if the segment allows it (APM 2, 4.8 and 4.12).
pub(crate) fn linear(
    vcpu: &dyn Vcpu,
    register: Seg,
    offset: u64,
    size: u8,
    write: bool,
) -> Option<u64> {
    let cache = vcpu.segment(register);
    let long = vcpu.system(System::Efer) & cr::EFER_LMA != 0;
    if long && vcpu.segment(Seg::Cs).attributes & segment::ATTR_L != 0 {
        let base = if matches!(register, Seg::Fs | Seg::Gs) { cache.base } else { 0 };
        return Some(base.wrapping_add(offset));
    }
    let expand_down = cache.attributes & 0b1100 == 0b0100;
    let top = if cache.attributes & segment::ATTR_DB != 0 { 0xffff_ffff } else { 0xffff };
    let limit = u64::from(cache.limit);
    let last = offset.wrapping_add(u64::from(size)).wrapping_sub(1);
    // Present; for a write writable data, for a read not execute-only code (APM 2, 4.5.1 and 4.7).
    let real = vcpu.system(System::Cr0) & cr::CR0_PE == 0;
    let readable = cache.attributes & 0b1010 != 0b1000;
    let right = if write { cache.attributes & 0b1010 == 0b0010 } else { readable };
    let usable = real || cache.attributes & 1 << 7 != 0 && right;
    let inside =
        if expand_down { offset > limit && last <= top } else { offset <= last && last <= limit };
    (usable && inside).then(|| cache.base.wrapping_add(offset) & 0xffff_ffff)
}
