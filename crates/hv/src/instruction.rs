//! Completing an instruction for the guest, or raising its fault.
use crate::{Cpu, Host, Machine, debug, step};
use emu::{CodeSize, Instruction, MAX_LEN, Opcode};
use vcpu::{Event, Gpr, Seg, System, Vcpu};
use x86defs::{cr, dr, msr, rflags, segment, vector};

/// The size of the code the guest executes.
pub(crate) fn code_size<V: Vcpu + ?Sized>(vcpu: &V) -> CodeSize {
    let attributes = vcpu.segment(Seg::Cs).attributes;
    if vcpu.system(System::Efer) & cr::EFER_LMA != 0 && attributes & segment::ATTR_L != 0 {
        CodeSize::Bits64
    } else if attributes & segment::ATTR_DB != 0 {
        CodeSize::Bits32
    } else {
        CodeSize::Bits16
    }
}

/// The linear address of `offset` in the code segment.
#[inline]
pub(crate) fn code_address<V: Vcpu + ?Sized>(vcpu: &V, offset: u64) -> u64 {
    let cs = vcpu.segment(Seg::Cs);
    if vcpu.system(System::Efer) & cr::EFER_LMA == 0 {
        cs.base.wrapping_add(offset) & 0xffff_ffff
    } else if cs.attributes & segment::ATTR_L != 0 {
        offset
    } else {
        cs.base.wrapping_add(offset) & 0xffff_ffff
    }
}

/// Fetch what can be read of the instruction at RIP: its bytes and how many there are.
pub(crate) fn fetch<H: Host>(machine: &Machine<H>, vcpu: &dyn Vcpu) -> ([u8; MAX_LEN], usize) {
    let mut bytes = [0; MAX_LEN];
    let start = code_address(vcpu, vcpu.system(System::Rip));
    let mut have = 0_usize;
    while let Some(rest) = bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
        let at = start.wrapping_add(have as u64);
        let Ok(found) = vcpu.paging().lookup(&machine.host, at) else { break };
        let in_page = 0x1000_usize.wrapping_sub((at & 0xfff) as usize).min(rest.len());
        let Some(part) = rest.get_mut(..in_page) else { break };
        if !machine.host.read_memory(found.gpa, part) {
            break;
        }
        have = have.wrapping_add(in_page);
    }
    (bytes, have)
}

/// Recognise the instruction at RIP.
pub(crate) fn decode<H: Host>(machine: &Machine<H>, vcpu: &dyn Vcpu) -> Option<Instruction> {
    let (bytes, have) = fetch(machine, vcpu);
    emu::decode(bytes.get(..have)?, code_size(vcpu))
}

/// CPUID at RIP was completed: go on behind it. The one hot case: without a saved next RIP its two bytes
/// are read and compared, prefixes go the long way.
#[inline]
pub(crate) fn skip_cpuid<H: Host, V: Vcpu>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut V) {
    const CPUID: u16 = 0xa20f;
    let rip = vcpu.system(System::Rip);
    let next = vcpu.next_rip().or_else(|| {
        let at = code_address(vcpu, rip);
        let gpa = vcpu.paging().lookup(&machine.host, at).ok()?.gpa;
        (gpa & 0xfff != 0xfff && machine.host.read_u16(gpa) == Some(CPUID))
            .then(|| rip.wrapping_add(2))
    });
    match next {
        Some(next) => retire(cpu, vcpu, next),
        None => skip(machine, cpu, vcpu, Opcode::Cpuid),
    }
}

/// The instruction at RIP, which is `opcode`, was completed: go on behind it. Had its bytes changed or
/// vanished since it exited, the guest executes what is there now.
pub(crate) fn skip<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
    opcode: Opcode,
) {
    match behind(machine, vcpu, opcode) {
        Some(next) => retire(cpu, vcpu, next),
        // In code that is not RAM it would exit again at once, and for ever: let the analyst in.
        None => drop(debug::poll(machine, cpu, vcpu)),
    }
}

/// Where the instruction at RIP ends, which is `opcode` if it is still there.
pub(crate) fn behind<H: Host>(
    machine: &Machine<H>,
    vcpu: &dyn Vcpu,
    opcode: Opcode,
) -> Option<u64> {
    vcpu.next_rip().or_else(|| {
        let found = decode(machine, vcpu).filter(|found| found.opcode == opcode)?;
        Some(vcpu.system(System::Rip).wrapping_add(u64::from(found.len)))
    })
}

/// An instruction was completed for the guest; the next one is at `next`. What the CPU does at an
/// instruction's end is done here: shadows end, RF clears, a set TF traps (APM 2, 13.1.4).
#[inline]
pub(crate) fn retire<V: Vcpu + ?Sized>(cpu: &mut Cpu, vcpu: &mut V, next: u64) {
    let flags = advance(cpu, vcpu, next);
    // A step by TF sees to the guest's own when it ends. No branch is completed here.
    if flags & rflags::TF != 0
        && vcpu.system(System::DebugCtl) & msr::DEBUGCTL_BTF == 0
        && !step::trapping(cpu)
    {
        let dr6 = vcpu.system(System::Dr6);
        vcpu.set_system(System::Dr6, dr6 | dr::DR6_BS);
        inject_db(vcpu);
    }
}

/// The same but for the trap, for what raises an exception of its own as it ends. Gives RFLAGS as it was.
#[inline]
pub(crate) fn advance<V: Vcpu + ?Sized>(cpu: &mut Cpu, vcpu: &mut V, next: u64) -> u64 {
    // EIP wraps in compatibility mode too. That far above 4 GiB no other instruction ends, but one of 64 bits.
    let wraps = next >> 32 == 1 && code_size(vcpu) != CodeSize::Bits64;
    vcpu.set_system(System::Rip, if wraps { next & 0xffff_ffff } else { next });
    vcpu.clear_interrupt_shadow();
    let flags = vcpu.system(System::Rflags);
    if flags & (rflags::RF | rflags::TF) != 0 {
        vcpu.set_system(System::Rflags, flags & !rflags::RF);
        cpu.retired = cpu.step.is_some();
    }
    flags
}

/// Raise an exception; its error code is pushed outside real mode only.
pub(crate) fn fault(vcpu: &mut dyn Vcpu, vector: u8, error: u32) {
    if vector != vector::DB {
        // A fault's image of RFLAGS has RF set (APM 2, 3.1.6): the instruction is tried again.
        let flags = vcpu.system(System::Rflags);
        vcpu.set_system(System::Rflags, flags | rflags::RF);
    }
    let protected = vcpu.system(System::Cr0) & cr::CR0_PE != 0;
    let error = (protected && vector::has_error_code(vector)).then_some(error);
    vcpu.inject(Event::Exception(vector, error));
}

/// Deliver #DB, whose bits are in DR6 already. Its handler finds general detect off (APM 2, 13.1.1.4), branch records and
/// branch steps too (APM 2, 13.1.1.5; SDM 3B, 17.4.1); an exception that was intercepted did not get so far. (While the
/// analyst holds the debug registers general detect is off in the real one, and `debug::hardware` keeps the guest's.)
pub(crate) fn inject_db<V: Vcpu + ?Sized>(vcpu: &mut V) {
    const OFF: u64 = msr::DEBUGCTL_LBR | msr::DEBUGCTL_BTF;
    let control = vcpu.system(System::DebugCtl);
    if control & OFF != 0 {
        vcpu.set_system(System::DebugCtl, control & !OFF);
    }
    let dr7 = vcpu.system(System::Dr7);
    if dr7 & dr::DR7_GD != 0 {
        vcpu.set_system(System::Dr7, dr7 & !dr::DR7_GD);
    }
    vcpu.inject(Event::Exception(vector::DB, None));
}

/// Raise #GP(0).
pub(crate) fn inject_gp(vcpu: &mut dyn Vcpu) {
    fault(vcpu, vector::GP, 0);
}

/// Raise #UD.
pub(crate) fn inject_ud(vcpu: &mut dyn Vcpu) {
    fault(vcpu, vector::UD, 0);
}

/// Set CR3 and what the CPU would take from memory with it: in PAE paging the four pointers, which some CPUs keep beside
/// (SDM 3A, 4.4.1). Also after a change of CR0, CR4 or EFER.
pub(crate) fn load_cr3<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu, value: u64) {
    vcpu.set_system(System::Cr3, value);
    load_pae_pointers(&machine.host, vcpu);
    vcpu.flush();
}

/// See [`load_cr3`].
pub(crate) fn load_pae_pointers<H: Host>(host: &H, vcpu: &mut dyn Vcpu) {
    let paging = vcpu.paging();
    let pae = paging.cr0 & cr::CR0_PG != 0
        && paging.cr4 & cr::CR4_PAE != 0
        && paging.efer & cr::EFER_LMA == 0;
    if pae {
        let at = |n: u64| (paging.cr3 & 0xffff_ffe0).wrapping_add(n.wrapping_mul(8));
        let pointer = |n| host.read_u64(at(n)).filter(|entry| entry & 1 != 0).unwrap_or(0);
        vcpu.set_pae_pointers([pointer(0), pointer(1), pointer(2), pointer(3)]);
    }
}

/// RDX:RAX as RDMSR and WRMSR use them.
pub(crate) fn edx_eax(vcpu: &dyn Vcpu) -> u64 {
    vcpu.gpr(Gpr::Rdx) << 32 | vcpu.gpr(Gpr::Rax) & 0xffff_ffff
}

/// Set EDX:EAX; the upper halves become 0.
pub(crate) fn set_edx_eax(vcpu: &mut dyn Vcpu, value: u64) {
    vcpu.set_gpr(Gpr::Rax, value & 0xffff_ffff);
    vcpu.set_gpr(Gpr::Rdx, value >> 32);
}
