//! One instruction, or the delivery of one event, and then a stop: the way over a write to the hole,
//! over an IRET that ends an NMI, over a breakpoint, and the analyst's own step.
//!
//! A CPU with a monitor trap flag ends both by itself (Intel SDM 3C, 25.5.2), and the guest's own TF is left alone.
//! Elsewhere an instruction is stepped with TF, interrupts held, every exception and INT n intercepted, so that
//! no TF of ours is ever pushed where the guest could see it. The delivery of an event is
//! followed by running on nested tables in which nothing may be executed: the first fetch of the handler ends it.
use crate::instruction::{code_size, decode, fetch, inject_db};
use crate::{Cpu, Host, Machine, apic, debug, nmi, task};
use emu::{CodeSize, Instruction, Opcode, disassemble};
use vcpu::{Event, Gpr, Intercept, Seg, System, Vcpu};
use x86defs::{cr, dr, msr, rflags, segment, vector};

/// What the step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The hole is open for one access.
    Hole,
    /// The IRET that ends an NMI handler.
    Iret,
    /// The analyst asked for it.
    Analyst,
    /// Off an instruction that a software breakpoint replaces.
    OverBreakpoint,
}

/// A step under way.
#[derive(Debug)]
pub(crate) struct Step {
    why: Why,
    how: How,
}

#[derive(Debug)]
enum How {
    /// One instruction, by TF.
    Trap {
        /// The guest's own TF.
        tf: u64,
        /// The guest's DebugCtl, if TF would trap on branches only.
        btf: Option<u64>,
        /// DR6 as it was: while stepping it shows only what is new.
        dr6: u64,
        instruction: Option<Instruction>,
        /// With `btf`: where the next one is, unless it branches.
        next: u64,
    },
    /// The delivery of an event, by tables that forbid execution.
    Delivery,
    /// One instruction or delivery, by the monitor trap flag, which the guest does not see. Where it began.
    Monitor { rip: u64 },
}

/// Step from the next entry on. A step already under way goes on instead.
pub(crate) fn begin<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu, why: Why) {
    if cpu.step.is_some() {
        return;
    }
    cpu.halted = false;
    cpu.retired = false;
    vcpu.hold_interrupts(true);
    if vcpu.capabilities().monitor_trap {
        vcpu.intercept(Intercept::Step, true);
        cpu.step = Some(Step { why, how: How::Monitor { rip: vcpu.system(System::Rip) } });
        return;
    }
    vcpu.intercept(Intercept::Everything, true);
    if vcpu.queued().is_some() {
        deliver(machine, cpu, vcpu, why);
        return;
    }
    let instruction = decode(machine, vcpu);
    let flags = vcpu.system(System::Rflags);
    let control = vcpu.system(System::DebugCtl);
    let btf = Some(control).filter(|value| value & msr::DEBUGCTL_BTF != 0);
    if btf.is_some() {
        vcpu.set_system(System::DebugCtl, control & !msr::DEBUGCTL_BTF);
    }
    let next = if btf.is_some() { behind(machine, vcpu) } else { 0 };
    let (mut tf, mut dr6) = (flags & rflags::TF, vcpu.system(System::Dr6));
    let switched = switches(machine, cpu, vcpu, instruction);
    if switched {
        // It stays what the switch has made it.
        dr6 = vcpu.system(System::Dr6);
        cpu.retired = vcpu.queued().is_none();
        if !cpu.retired {
            tf = vcpu.system(System::Rflags) & rflags::TF;
        }
    }
    cpu.step = Some(Step { why, how: How::Trap { tf, btf, dr6, instruction, next } });
    if switched {
        return;
    }
    if instruction.is_some_and(|found| found.opcode == Opcode::Syscall) && syscall(vcpu) {
        cpu.retired = true;
        return;
    }
    vcpu.set_system(System::Rflags, flags | rflags::TF);
    if moves_dr(instruction) {
        // The instruction itself must see the guest's DR6: it is completed for it.
        vcpu.intercept(Intercept::DebugRegisters, true);
    } else {
        vcpu.set_system(System::Dr6, dr::DR6_INIT);
    }
}

/// An IRET from a nested task has been done: it is complete, or what it raised is queued. NMIs come again.
#[cold]
fn switches<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
    instruction: Option<Instruction>,
) -> bool {
    let Some(found) = instruction.filter(|found| found.opcode == Opcode::Iret) else {
        return false;
    };
    let next = vcpu.system(System::Rip).wrapping_add(found.len.into());
    let switched = task::iret(machine, vcpu, next);
    if switched {
        nmi::returned(machine, cpu, vcpu);
    }
    switched
}

/// The address behind the instruction at RIP.
#[cold]
fn behind<H: Host>(machine: &Machine<H>, vcpu: &dyn Vcpu) -> u64 {
    let rip = vcpu.system(System::Rip);
    let (bytes, have) = fetch(machine, vcpu);
    let line = disassemble(code_size(vcpu), rip, bytes.get(..have).unwrap_or(&[]));
    rip.wrapping_add(line.len() as u64)
}

fn moves_dr(instruction: Option<Instruction>) -> bool {
    instruction.is_some_and(|found| matches!(found.opcode, Opcode::MovDr { .. }))
}

fn deliver<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu, why: Why) {
    let root = machine.nested.lock().no_execute();
    vcpu.set_nested_root(root);
    cpu.step = Some(Step { why, how: How::Delivery });
}

/// The hole was opened: let the access happen, then close it.
pub(crate) fn open_hole<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    begin(machine, cpu, vcpu, Why::Hole);
}

/// A fetch that the tables forbid: whether it ended the delivery of an event.
pub(crate) fn fetched<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) -> bool {
    let ends = matches!(cpu.step, Some(Step { how: How::Delivery, .. }));
    if ends {
        finish(machine, cpu, vcpu);
    }
    ends
}

/// Whether one instruction is being stepped.
pub(crate) fn trapping(cpu: &Cpu) -> bool {
    matches!(cpu.step, Some(Step { how: How::Trap { .. }, .. }))
}

/// After an exit that is not the end of a step by the monitor trap flag: whether the VMM has completed the instruction,
/// so that the flag would let another one run. (What it raised is still to be delivered, and then the flag ends it.)
pub(crate) fn completed<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    if let Some(Step { how: How::Monitor { rip }, .. }) = cpu.step
        && vcpu.queued().is_none()
        && vcpu.system(System::Rip) != rip
    {
        finish(machine, cpu, vcpu);
    }
}

/// Whether a #DB with `new` in DR6 is the end of a stepped instruction. DR6.BS says so; Bochs 2.7 exits
/// before it is written, and then nothing but ICEBP comes without any reason.
pub(crate) fn ends(cpu: &Cpu, new: u64) -> bool {
    let Some(Step { how: How::Trap { instruction, .. }, .. }) = &cpu.step else { return false };
    let icebp = instruction.is_some_and(|found| found.opcode == Opcode::Icebp);
    new & dr::DR6_BS != 0 || new & (dr::DR6_B | dr::DR6_BD) == 0 && !icebp
}

/// The stepped instruction is done.
pub(crate) fn trapped<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    finish(machine, cpu, vcpu);
}

/// A breakpoint of the analyst's stops the guest: a step of theirs ends there, and is not told of besides. What is
/// stepped for the guest's own sake goes on when the guest does.
pub(crate) fn ends_at_breakpoint<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
) {
    let Some(step) = &mut cpu.step else { return };
    if !matches!(step.why, Why::Analyst | Why::OverBreakpoint) {
        return;
    }
    step.why = Why::OverBreakpoint;
    if trapping(cpu) {
        raised(machine, cpu, vcpu);
    } else {
        finish(machine, cpu, vcpu);
    }
}

/// A step of the analyst's that is over ends at a breakpoint as well, which is what is told.
pub(crate) fn untold(cpu: &mut Cpu) {
    if let Some(Step { why: why @ Why::Analyst, .. }) = &mut cpu.step {
        *why = Why::OverBreakpoint;
    }
}

/// The stepped instruction raised an event, now queued: the guest sees it without our TF.
pub(crate) fn raised<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    let Some(Step { why, how: How::Trap { tf, btf, dr6, .. } }) = &cpu.step else { return };
    let (why, tf, btf, dr6) = (*why, *tf, *btf, *dr6);
    restore_btf(vcpu, btf);
    restore_flags(vcpu, tf);
    restore_dr6(vcpu, dr6);
    vcpu.intercept(Intercept::DebugRegisters, cpu.hardware.held());
    if why == Why::Analyst {
        deliver(machine, cpu, vcpu, why);
    } else {
        cpu.step = Some(Step { why, how: How::Delivery });
        finish(machine, cpu, vcpu);
    }
}

/// INT n, INT3 or INTO while stepping: deliver it with the guest's own TF.
pub(crate) fn software_interrupt<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
) {
    let found = decode(machine, vcpu);
    let event = match found.map(|found| found.opcode) {
        Some(Opcode::Int(n)) => Event::Software(n),
        Some(Opcode::Int3) => Event::Exception(vector::BP, None),
        Some(Opcode::Into) => Event::Exception(4, None),
        // Rewritten since, or not RAM: execute what is there now, and let the analyst in.
        _ => {
            debug::poll(machine, cpu, vcpu);
            return;
        }
    };
    let len = found.map_or(0, |found| u64::from(found.len));
    let rip = vcpu.system(System::Rip).wrapping_add(len);
    vcpu.set_system(System::Rip, rip);
    vcpu.inject(event);
    raised(machine, cpu, vcpu);
}

/// The step is over: undo what it changed, then do what it was for.
pub(crate) fn finish<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    let Some(step) = cpu.step.take() else { return };
    cpu.retired = false;
    vcpu.intercept(Intercept::Everything, false);
    vcpu.hold_interrupts(false);
    match step.how {
        How::Monitor { .. } => {
            vcpu.intercept(Intercept::Step, false);
            write_apic(machine);
        }
        How::Delivery => vcpu.set_nested_root(machine.nested.lock().root()),
        How::Trap { tf, btf, dr6, instruction, next } => {
            restore_btf(vcpu, btf);
            complete(machine, vcpu, tf, dr6, instruction);
            let branched = vcpu.system(System::Rip) != next;
            if tf != 0 && (btf.is_none() || branched) {
                let dr6 = vcpu.system(System::Dr6);
                vcpu.set_system(System::Dr6, dr6 | dr::DR6_BS);
                inject_db(vcpu);
            }
            vcpu.intercept(Intercept::DebugRegisters, cpu.hardware.held());
            write_apic(machine);
        }
    }
    if machine.nested.lock().close() {
        vcpu.flush();
    }
    match step.why {
        Why::Hole => {}
        Why::Iret => cpu.nmi.unblock(),
        Why::Analyst => debug::stop(machine, cpu, vcpu, debug::Stop::Stepped),
        Why::OverBreakpoint => debug::insert(machine),
    }
}

/// What the step wrote to the local APIC's page goes to the register.
fn write_apic<H: Host>(machine: &Machine<H>) {
    let written = machine.nested.lock().apic_written();
    if let Some((gpa, value)) = written {
        apic::write(machine, gpa, value);
    }
}

/// INIT: nothing of the step may outlast it. An analyst who stepped waits on, as for any running guest.
pub(crate) fn abandon<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    if let Some(step) = &mut cpu.step {
        if step.why == Why::Analyst {
            step.why = Why::OverBreakpoint;
        }
        finish(machine, cpu, vcpu);
    }
}

/// What a completed instruction leaves: flags, the image PUSHF wrote, DR6.
fn complete<H: Host>(
    machine: &Machine<H>,
    vcpu: &mut dyn Vcpu,
    tf: u64,
    dr6: u64,
    instruction: Option<Instruction>,
) {
    match instruction.map(|found| found.opcode) {
        // They loaded the guest's TF themselves, and so did `syscall`.
        Some(Opcode::Popf | Opcode::Iret | Opcode::Sysret | Opcode::Syscall) => {}
        Some(Opcode::Pushf) => {
            restore_flags(vcpu, tf);
            if tf == 0 {
                clear_pushed_tf(machine, vcpu);
            }
        }
        _ => restore_flags(vcpu, tf),
    }
    if !moves_dr(instruction) {
        restore_dr6(vcpu, dr6);
    }
}

/// #DB clears BTF (APM 2, 13.1.1.5); the step was none of the guest's.
fn restore_btf(vcpu: &mut dyn Vcpu, btf: Option<u64>) {
    if let Some(value) = btf {
        vcpu.set_system(System::DebugCtl, value);
    }
}

fn restore_flags(vcpu: &mut dyn Vcpu, tf: u64) {
    let flags = vcpu.system(System::Rflags);
    vcpu.set_system(System::Rflags, flags & !rflags::TF | tf);
}

/// What the guest had in DR6, and what came while it was stepped but for our own single step.
fn restore_dr6(vcpu: &mut dyn Vcpu, before: u64) {
    let new = vcpu.system(System::Dr6) & (dr::DR6_B | dr::DR6_BD);
    vcpu.set_system(System::Dr6, before | new);
}

/// TF is bit 0 of the second byte of what PUSHF wrote, whatever its size.
fn clear_pushed_tf<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu) {
    let ss = vcpu.segment(Seg::Ss);
    let rsp = vcpu.gpr(Gpr::Rsp);
    let at = if code_size(vcpu) == CodeSize::Bits64 {
        rsp.wrapping_add(1)
    } else {
        let mask = if ss.attributes & segment::ATTR_DB != 0 { 0xffff_ffff } else { 0xffff };
        ss.base.wrapping_add(rsp.wrapping_add(1) & mask) & 0xffff_ffff
    };
    if let Ok(found) = vcpu.paging().lookup(&machine.host, at) {
        let mut byte = [0];
        if machine.host.read_memory(found.gpa, &mut byte) {
            let [flags] = byte;
            machine.host.write_memory(found.gpa, &[flags & !1]);
        }
    }
}

/// SYSCALL in long mode, done here: SFMASK usually clears TF, so no trap would follow (APM 3, SYSCALL).
fn syscall(vcpu: &mut dyn Vcpu) -> bool {
    let efer = vcpu.system(System::Efer);
    if efer & cr::EFER_LMA == 0 || efer & cr::EFER_SCE == 0 {
        return false;
    }
    let flags = vcpu.system(System::Rflags);
    let next = vcpu.system(System::Rip).wrapping_add(2);
    let target = match code_size(vcpu) {
        CodeSize::Bits64 => System::Lstar,
        _ => System::Cstar,
    };
    let selector = (vcpu.system(System::Star) >> 32) as u16;
    vcpu.set_gpr(Gpr::Rcx, next);
    vcpu.set_gpr(Gpr::R11, flags & !rflags::RF);
    vcpu.set_system(System::Rip, vcpu.system(target));
    let cleared = vcpu.system(System::Sfmask) | rflags::RF;
    vcpu.set_system(System::Rflags, flags & !cleared | rflags::RESERVED_ONE);
    let flat =
        |selector, attributes| vcpu::Segment { selector, attributes, limit: u32::MAX, base: 0 };
    vcpu.set_segment(Seg::Cs, flat(selector & !3, 0xa9b));
    vcpu.set_segment(Seg::Ss, flat((selector & !3).wrapping_add(8), 0xc93));
    true
}
