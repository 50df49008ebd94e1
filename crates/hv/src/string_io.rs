//! INS and OUTS on a watched port, element by element (APM 3, INS and OUTS).
use crate::instruction::{decode, fault, retire};
use crate::{Cpu, Host, Machine, ports, string};
use paging::walk::{Translation, WalkError};
use vcpu::{Gpr, PortIo, Seg, System, Vcpu};
use x86defs::vector;

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
        None => string::override_of(found),
    };
    for _ in 0..BATCH {
        let count = vcpu.gpr(Gpr::Rcx) & string::mask(io.address_size);
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
        string::store(vcpu, Gpr::Rcx, io.address_size, count.wrapping_sub(1));
    }
    if !io.repeat || vcpu.gpr(Gpr::Rcx) & string::mask(io.address_size) == 0 {
        retire(cpu, vcpu, io.next_rip);
    }
}

/// One element; `None` if a fault was raised instead.
fn element<H: Host>(
    machine: &Machine<H>,
    vcpu: &mut dyn Vcpu,
    io: PortIo,
    segment: Seg,
) -> Option<()> {
    let index = if io.input { Gpr::Rdi } else { Gpr::Rsi };
    let offset = vcpu.gpr(index) & string::mask(io.address_size);
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
    let moved = string::moved(vcpu, offset, u64::from(io.size));
    string::store(vcpu, index, io.address_size, moved);
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

/// The linear address of an element, or the fault that its segment raises.
fn linear(vcpu: &mut dyn Vcpu, register: Seg, offset: u64, io: PortIo) -> Option<u64> {
    let found = string::linear(vcpu, register, offset, io.size, io.input);
    if found.is_none() {
        fault(vcpu, if register == Seg::Ss { 12 } else { vector::GP }, 0);
    }
    found
}

/// Translate one end of an element with the rights it needs, or raise the page fault.
fn place<H: Host>(
    machine: &Machine<H>,
    vcpu: &mut dyn Vcpu,
    linear: u64,
    io: PortIo,
    last: bool,
) -> Option<Translation> {
    let access = string::access(vcpu, io.input);
    let rights = u32::from(io.input) << 1 | u32::from(access.user) << 2;
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
