//! Hardware task switches, where they exit whatever the VMM asks (SDM 3C, 25.4.2), and those of an IRET that would be
//! stepped by TF: done here as SDM 3A, 7.3 has them. Long mode has none, so addresses have 32 bits. Where there was an
//! exit the CPU has checked the gate, the new task's selector and its descriptor before; they are checked again, for
//! memory may have changed since.
mod memory;
mod segments;
mod state;

use crate::instruction::{fault, inject_db, load_cr3};
use crate::{Cpu, Host, Machine, debug, run};
use memory::{Fault, Linear};
use segments::Descriptor;
use state::State;
use vcpu::{Gpr, Meeting, Seg, Segment, System, TaskSource, TaskSwitch, Vcpu, meet};
use x86defs::{cr, rflags, segment, vector};

/// NT: the task returns to the one it is linked to.
const NT: u64 = 1 << 14;
/// DR7's local enables, which end with the task.
const LOCAL: u64 = 0x155;
/// DR6.BT: the task's T flag.
const BT: u64 = 1 << 15;

/// A task switch. One that cannot be made raises what the CPU would.
pub(crate) fn switch<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
    switch: TaskSwitch,
) {
    let rip = vcpu.system(System::Rip);
    let behind = switch.source != TaskSource::Gate || switch.software;
    let next = if behind { vcpu.next_rip().unwrap_or(rip) } else { rip };
    if !make(machine, vcpu, switch, next) {
        // A handler that is such a task itself would come here for ever.
        debug::poll(machine, cpu, vcpu);
    }
}

/// The IRET at RIP, whose next instruction is at `next`, if it returns to the task that this one is linked to: done, and
/// true. Not so where the link cannot be read; then the CPU raises the page fault.
///
/// TF would be saved with the task that is left, and be there when it is next entered. Nor does each CPU trap behind a
/// task switch.
pub(crate) fn iret<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu, next: u64) -> bool {
    let protected =
        vcpu.system(System::Cr0) & cr::CR0_PE != 0 && vcpu.system(System::Efer) & cr::EFER_LMA == 0;
    if !protected || vcpu.system(System::Rflags) & (NT | rflags::VM) != NT {
        return false;
    }
    let mut link = [0; 2];
    let linear = Linear { machine };
    if linear.read(vcpu, vcpu.segment(Seg::Tr).base, &mut link).is_err() {
        return false;
    }
    let selector = u16::from_le_bytes(link);
    let source = TaskSource::Iret;
    make(
        machine,
        vcpu,
        TaskSwitch { selector, source, software: false, exception: None, error: None },
        next,
    );
    true
}

/// Switches and gives true, or raises what the CPU would. `next` is where the old task goes on.
fn make<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu, switch: TaskSwitch, next: u64) -> bool {
    let memory = Linear { machine };
    let Err(found) = attempt(&memory, vcpu, switch, next) else { return true };
    let Fault { vector, error, address } = found;
    match switch.exception.map_or(Meeting::Second, |first| meet(first, vector)) {
        Meeting::Second => {
            if let Some(address) = address {
                vcpu.set_system(System::Cr2, address);
            }
            // EXT: no instruction asked for the event (SDM 3A, 6.13). A page fault's code has no such bit.
            let external = switch.source == TaskSource::Gate && !switch.software;
            let external = external && vector != vector::PF;
            fault(vcpu, vector, error | u32::from(external));
        }
        Meeting::Double => fault(vcpu, vector::DF, 0),
        Meeting::Triple => run::triple_fault(machine),
    }
    false
}

fn attempt<H: Host>(
    memory: &Linear<'_, H>,
    vcpu: &mut dyn Vcpu,
    switch: TaskSwitch,
    next: u64,
) -> Result<(), Fault> {
    let refused = Fault::task(switch.selector);
    let new = Descriptor::find(memory, vcpu, switch.selector)?
        .filter(|_| switch.selector & 4 == 0)
        .ok_or(refused)?;
    let (wide, busy) = new.is_task().ok_or(refused)?;
    if busy != (switch.source == TaskSource::Iret) {
        return Err(refused);
    }
    if !new.present() {
        return Err(Fault::new(vector::NP, u32::from(switch.selector & 0xfffc)));
    }
    if new.segment.limit < State::last(wide) {
        return Err(refused);
    }
    let old = vcpu.segment(Seg::Tr);
    let nested = matches!(switch.source, TaskSource::Call | TaskSource::Gate);
    // What can fail, fails before anything is written.
    memory.probe(vcpu, new.segment.base, u64::from(State::last(wide)), false)?;
    if nested {
        memory.probe(vcpu, new.segment.base, 1, true)?;
    }
    leave(memory, vcpu, switch.source, old, next)?;
    if nested {
        memory.write(vcpu, new.segment.base, &old.selector.to_le_bytes())?;
    }
    let state = State::read(memory, vcpu, new.segment.base, wide)?;
    if switch.source != TaskSource::Iret {
        new.set_busy(memory, vcpu, true)?;
    }
    enter(memory, vcpu, new.segment, &state, nested)?;
    if let Some(error) = switch.error {
        push(memory, vcpu, error, wide)?;
    }
    if state.trap {
        let dr6 = vcpu.system(System::Dr6);
        vcpu.set_system(System::Dr6, dr6 | BT);
        inject_db(vcpu);
    }
    Ok(())
}

/// Saves the old task and, unless it waits for the new one, makes it available.
fn leave<H: Host>(
    memory: &Linear<'_, H>,
    vcpu: &mut dyn Vcpu,
    source: TaskSource,
    old: Segment,
    next: u64,
) -> Result<(), Fault> {
    let wide = old.attributes & 8 != 0;
    let (first, last) = State::saved(wide);
    if old.limit < last {
        return Err(Fault::task(old.selector));
    }
    let bytes = u64::from(last).wrapping_sub(first);
    memory.probe(vcpu, old.base.wrapping_add(first), bytes, true)?;
    if matches!(source, TaskSource::Jump | TaskSource::Iret)
        && let Some(found) = Descriptor::find(memory, vcpu, old.selector)?
    {
        found.set_busy(memory, vcpu, false)?;
    }
    // RF is as it is to be saved (SDM 3C, 27.3.3).
    let flags = vcpu.system(System::Rflags);
    let flags = if source == TaskSource::Iret { flags & !NT } else { flags };
    State::of(vcpu, next, flags).write(memory, vcpu, old.base, wide)?;
    vcpu.clear_interrupt_shadow();
    Ok(())
}

/// Loads the new task. What goes wrong from here on is its own.
fn enter<H: Host>(
    memory: &Linear<'_, H>,
    vcpu: &mut dyn Vcpu,
    task: Segment,
    state: &State,
    nested: bool,
) -> Result<(), Fault> {
    vcpu.set_segment(Seg::Tr, Segment { attributes: task.attributes | 2, ..task });
    let cr0 = vcpu.system(System::Cr0);
    vcpu.set_system(System::Cr0, cr0 | cr::CR0_TS);
    let dr7 = vcpu.system(System::Dr7);
    if dr7 & LOCAL != 0 {
        vcpu.set_system(System::Dr7, dr7 & !LOCAL);
    }
    state.load_registers(vcpu, if nested { NT } else { 0 });
    segments::prepare(vcpu, state);
    if let Some(cr3) = state.cr3.filter(|_| cr0 & cr::CR0_PG != 0) {
        load_cr3(memory.machine, vcpu, cr3.into());
        if !memory.lawful_pointers(vcpu) {
            return Err(Fault::task(0));
        }
    }
    segments::load(memory, vcpu, state)
}

/// Pushes an exception's error code onto the new task's stack, in words of the task's size.
fn push<H: Host>(
    memory: &Linear<'_, H>,
    vcpu: &mut dyn Vcpu,
    error: u32,
    wide: bool,
) -> Result<(), Fault> {
    let stack = vcpu.segment(Seg::Ss);
    let size = if wide { 4_u64 } else { 2 };
    let top = if stack.attributes & segment::ATTR_DB != 0 { 0xffff_ffff } else { 0xffff };
    let old = vcpu.gpr(Gpr::Rsp);
    let first = old.wrapping_sub(size) & top;
    let last = first.wrapping_add(size).wrapping_sub(1);
    let limit = u64::from(stack.limit);
    let expand_down = stack.attributes & 0b1100 == 0b0100;
    if if expand_down { first <= limit || last > top } else { last > limit } {
        return Err(Fault::new(vector::SS, 0));
    }
    let bytes = error.to_le_bytes();
    let bytes = bytes.get(..size as usize).unwrap_or_default();
    memory.write(vcpu, stack.base.wrapping_add(first), bytes)?;
    vcpu.set_gpr(Gpr::Rsp, old & !top | first);
    Ok(())
}
