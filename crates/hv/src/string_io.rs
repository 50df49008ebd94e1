//! INS and OUTS on a watched port, element by element (APM 3, INS and OUTS).
use crate::instruction::{decode, fault, retire};
use crate::{Cpu, Host, Machine, ports};
use emu::Instruction;
use paging::walk::{Access, Translation, WalkError};
use vcpu::{Gpr, PortIo, Seg, System, Vcpu};
use x86defs::{cr, rflags, segment, vector};

/// Elements done at one exit; a longer REP goes on after the next entry, so interrupts get in.
const BATCH: usize = 64;

/// INS or OUTS that touches a watched port.
pub(crate) fn access<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
    mut io: PortIo,
) {
    let told = io.address_size != 0 && (io.input || io.segment.is_some());
    let found = if told { None } else { decode(machine, vcpu) };
    if io.address_size == 0 {
        // QEMU's TCG leaves the bits of EXITINFO1 clear.
        io.address_size = found.map_or(8, |found| found.address_size);
    }
    let segment = match io.segment {
        _ if io.input => Seg::Es,
        Some(segment) => segment,
        None => override_of(found),
    };
    for _ in 0..BATCH {
        let count = vcpu.gpr(Gpr::Rcx) & mask(io);
        if io.repeat && count == 0 {
            break;
        }
        if element(machine, vcpu, io, segment).is_none() {
            // The fault is queued; RIP and the registers show how far it got.
            return;
        }
        if !io.repeat {
            break;
        }
        store(vcpu, Gpr::Rcx, io, count.wrapping_sub(1));
    }
    if !io.repeat || vcpu.gpr(Gpr::Rcx) & mask(io) == 0 {
        retire(cpu, vcpu, io.next_rip);
    }
}

fn override_of(found: Option<Instruction>) -> Seg {
    match found.and_then(|found| found.segment) {
        Some(emu::Segment::Es) => Seg::Es,
        Some(emu::Segment::Cs) => Seg::Cs,
        Some(emu::Segment::Ss) => Seg::Ss,
        Some(emu::Segment::Fs) => Seg::Fs,
        Some(emu::Segment::Gs) => Seg::Gs,
        Some(emu::Segment::Ds) | None => Seg::Ds,
    }
}

fn mask(io: PortIo) -> u64 {
    match io.address_size {
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

/// Write an address-size register: 16 bits keep the rest, 32 bits clear it.
fn store(vcpu: &mut dyn Vcpu, register: Gpr, io: PortIo, value: u64) {
    let kept = if io.address_size == 2 { vcpu.gpr(register) & !0xffff } else { 0 };
    vcpu.set_gpr(register, kept | value & mask(io));
}

/// One element; `None` if a fault was raised instead.
fn element<H: Host>(
    machine: &Machine<H>,
    vcpu: &mut dyn Vcpu,
    io: PortIo,
    segment: Seg,
) -> Option<()> {
    let index = if io.input { Gpr::Rdi } else { Gpr::Rsi };
    let offset = vcpu.gpr(index) & mask(io);
    let linear = linear(vcpu, segment, offset, io)?;
    // Both ends first: an element that straddles pages is done whole or not at all.
    let places = [
        place(machine, vcpu, linear, io, false)?,
        place(machine, vcpu, end(linear, io), io, true)?,
    ];
    if io.input {
        let bytes = ports::input(machine, io.port, io.size).to_le_bytes();
        each(io, linear, places, |n, gpa| {
            // What is not RAM, or ours, swallows the write.
            bytes.get(n).is_some_and(|byte| machine.host.write_memory(gpa, &[*byte]))
        });
    } else {
        let mut bytes = [0; 4];
        each(io, linear, places, |n, gpa| {
            let mut byte = [0xff];
            let there = machine.host.read_memory(gpa, &mut byte);
            if let (Some(to), [from]) = (bytes.get_mut(n), byte) {
                *to = if there { from } else { 0xff };
            }
            there
        });
        ports::output(machine, vcpu, io.port, io.size, u32::from_le_bytes(bytes));
    }
    let size = u64::from(io.size);
    let down = vcpu.system(System::Rflags) & rflags::DF != 0;
    let moved = if down { offset.wrapping_sub(size) } else { offset.wrapping_add(size) };
    store(vcpu, index, io, moved);
    Some(())
}

fn end(linear: u64, io: PortIo) -> u64 {
    linear.wrapping_add(u64::from(io.size)).wrapping_sub(1)
}

/// Visit the guest-physical address of each byte of an element.
fn each(
    io: PortIo,
    linear: u64,
    places: [Translation; 2],
    mut visit: impl FnMut(usize, u64) -> bool,
) {
    let [first, last] = places;
    for n in 0..usize::from(io.size) {
        let at = linear.wrapping_add(n as u64);
        let page = if (at ^ linear) & !0xfff == 0 { first.gpa } else { last.gpa };
        visit(n, page & !0xfff | at & 0xfff);
    }
}

/// The linear address of an element, if the segment allows it (APM 2, 4.8 and 4.12).
fn linear(vcpu: &mut dyn Vcpu, register: Seg, offset: u64, io: PortIo) -> Option<u64> {
    let cache = vcpu.segment(register);
    let long = vcpu.system(System::Efer) & cr::EFER_LMA != 0;
    if long && vcpu.segment(Seg::Cs).attributes & segment::ATTR_L != 0 {
        let base = if matches!(register, Seg::Fs | Seg::Gs) { cache.base } else { 0 };
        return Some(base.wrapping_add(offset));
    }
    let expand_down = cache.attributes & 0b1100 == 0b0100;
    let top = if cache.attributes & segment::ATTR_DB != 0 { 0xffff_ffff } else { 0xffff };
    let limit = u64::from(cache.limit);
    let last = offset.wrapping_add(u64::from(io.size)).wrapping_sub(1);
    // Present; for INS writable data, for OUTS not execute-only code (APM 2, 4.5.1 and 4.7).
    let real = vcpu.system(System::Cr0) & cr::CR0_PE == 0;
    let readable = cache.attributes & 0b1010 != 0b1000;
    let right = if io.input { cache.attributes & 0b1010 == 0b0010 } else { readable };
    let usable = real || cache.attributes & 1 << 7 != 0 && right;
    let inside =
        if expand_down { offset > limit && last <= top } else { offset <= last && last <= limit };
    if usable && inside {
        return Some(cache.base.wrapping_add(offset) & 0xffff_ffff);
    }
    fault(vcpu, if register == Seg::Ss { 12 } else { vector::GP }, 0);
    None
}

/// Translate one end of an element with the rights it needs, or raise the page fault.
fn place<H: Host>(
    machine: &Machine<H>,
    vcpu: &mut dyn Vcpu,
    linear: u64,
    io: PortIo,
    last: bool,
) -> Option<Translation> {
    let user = vcpu.cpl() == 3;
    let ac = vcpu.system(System::Rflags) & 1 << 18 != 0;
    let access = Access { write: io.input, user, fetch: false, ac };
    let rights = u32::from(io.input) << 1 | u32::from(user) << 2;
    let error = match vcpu.paging().translate(&machine.host, linear, access) {
        Ok(found) => return Some(found),
        Err(WalkError::NonCanonical) => {
            fault(vcpu, vector::GP, 0);
            return None;
        }
        Err(WalkError::NotPresent { .. } | WalkError::NotRam { .. }) => rights,
        Err(WalkError::Protection) => rights | 1,
        Err(WalkError::Reserved { .. }) => rights | 1 | 1 << 3,
    };
    let at = if linear & 0xfff < u64::from(io.size).wrapping_sub(1) && last {
        linear & !0xfff
    } else {
        linear
    };
    vcpu.set_system(System::Cr2, at);
    fault(vcpu, vector::PF, error);
    None
}
