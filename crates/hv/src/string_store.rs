//! REP MOVS and REP STOS that write to the hole: of the elements in a page all but one are passed over, for what they
//! write vanishes and what they read has no effects. The last is stepped like any other write, so that the CPU itself raises
//! what is to be raised, takes what is pending, and finds the end. The guest's protection keys are not asked: the first
//! element was read from the same page before its store met the hole. Without this a guest that copies over whatever lies
//! below the end of memory, and on behind it, as memtest86 4.3.7 does, pays two exits for each element.
use crate::instruction::decode;
use crate::{Cpu, Host, Machine, string};
use emu::Opcode;
use vcpu::{Gpr, Seg, System, Vcpu};
use x86defs::{dr, rflags};

/// Elements side by side in one page.
struct Run {
    register: Gpr,
    segment: Seg,
    /// Where the first is: its offset, linear and guest-physical.
    offset: u64,
    linear: u64,
    gpa: u64,
}

/// What is the same for both ends of an element.
#[derive(Clone, Copy)]
struct Form {
    size: u8,
    address_size: u8,
    down: bool,
}

impl Run {
    /// The element that `register` stands at.
    // One copy for both registers: it walks the guest's tables.
    #[inline(never)]
    fn at<H: Host>(
        machine: &Machine<H>,
        vcpu: &dyn Vcpu,
        form: Form,
        (register, segment): (Gpr, Seg),
    ) -> Option<Self> {
        let write = register == Gpr::Rdi;
        let offset = vcpu.gpr(register) & string::mask(form.address_size);
        let linear = string::linear(vcpu, segment, offset, form.size, write)?;
        let access = string::access(vcpu, write);
        let gpa = vcpu.paging().translate(&machine.host, linear, access).ok()?.gpa;
        Some(Self { register, segment, offset, linear, gpa })
    }

    /// How many elements lie wholly in the page of the first.
    fn room(&self, form: Form) -> u64 {
        let elements = |bytes: u64| bytes.wrapping_shr(form.size.trailing_zeros());
        let from = self.linear & 0xfff;
        match elements(0x1000_u64.wrapping_sub(from)) {
            0 => 0,
            _ if form.down => elements(from).wrapping_add(1),
            up => up,
        }
    }

    /// The offset of the element that is `passed` further on, if the segment reaches so far without a wrap.
    fn last(&self, vcpu: &dyn Vcpu, form: Form, passed: u64) -> Option<u64> {
        let bytes = passed.wrapping_mul(u64::from(form.size));
        let last = string::moved(vcpu, self.offset, bytes) & string::mask(form.address_size);
        string::linear(vcpu, self.segment, last, form.size, self.register == Gpr::Rdi)?;
        ((last < self.offset) == form.down).then_some(last)
    }
}

/// A write to the hole at `gpa` is about to be stepped: pass over what may be.
pub(crate) fn pass_over<H: Host>(
    machine: &Machine<H>,
    cpu: &Cpu,
    vcpu: &mut dyn Vcpu,
    gpa: u64,
) -> Option<()> {
    let flags = vcpu.system(System::Rflags);
    // Who wants to see each element sees it: the analyst or the guest by a step or a breakpoint. And an event on its way
    // may be what writes.
    let seen = flags & rflags::TF != 0 || vcpu.system(System::Dr7) & dr::DR7_ENABLES != 0;
    if seen || cpu.step.is_some() || vcpu.queued().is_some() {
        return None;
    }
    let found = decode(machine, vcpu)?;
    let form = Form {
        size: found.operand_size,
        address_size: found.address_size,
        down: flags & rflags::DF != 0,
    };
    let reads = match found.opcode {
        Opcode::RepMovs => true,
        Opcode::RepStos => false,
        _ => return None,
    };
    let to = Run::at(machine, vcpu, form, (Gpr::Rdi, Seg::Es))?;
    let count = vcpu.gpr(Gpr::Rcx) & string::mask(form.address_size);
    let mut room = to.room(form).min(count);
    let mut from = None;
    if reads {
        let it = Run::at(machine, vcpu, form, (Gpr::Rsi, string::override_of(Some(found))))?;
        // A device may mind how often it is read.
        let quiet = machine.nested.lock().in_hole(it.gpa & !0xfff)
            || machine.host.read_memory(it.gpa, &mut [0]);
        room = if quiet { room.min(it.room(form)) } else { 0 };
        from = Some(it);
    }
    let passed = room.checked_sub(1).filter(|n| *n != 0 && (to.gpa ^ gpa) & !0xfff == 0)?;
    let to_last = to.last(vcpu, form, passed)?;
    if let Some(from) = from {
        let last = from.last(vcpu, form, passed)?;
        string::store(vcpu, Gpr::Rsi, form.address_size, last);
    }
    string::store(vcpu, Gpr::Rdi, form.address_size, to_last);
    string::store(vcpu, Gpr::Rcx, form.address_size, count.wrapping_sub(passed));
    Some(())
}
