//! Hardware task switches, where they exit whatever the VMM asks (SDM 3C, 25.4.2): done here as SDM 3A, 7.3 has them.
//! Long mode has none, so addresses have 32 bits.
mod segments;
mod state;

use crate::instruction::{fault, inject_db};
use crate::{Cpu, Host, Machine, debug};
use segments::Descriptor;
use state::State;
use vcpu::{Seg, Segment, System, TaskSource, TaskSwitch, Vcpu};
use x86defs::{cr, rflags, vector};

/// NT: the task returns to the one it is linked to.
const NT: u64 = 1 << 14;
/// DR7's local enables, which end with the task.
const LOCAL: u64 = 0x155;
/// DR6.BT: the task's T flag.
const BT: u64 = 1 << 15;

/// Why a switch is not made: the exception, and its error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault(u8, u32);

impl Fault {
    /// #TS for a selector.
    const fn task(selector: u16) -> Self {
        Self(vector::TS, (selector & 0xfffc) as u32)
    }
}

/// The guest's memory by linear address.
pub(crate) struct Linear<'a, H: Host> {
    machine: &'a Machine<H>,
}

impl<H: Host> Linear<'_, H> {
    fn at(&self, vcpu: &dyn Vcpu, linear: u64) -> Option<u64> {
        vcpu.paging().lookup(&self.machine.host, linear & 0xffff_ffff).ok().map(|found| found.gpa)
    }

    /// Read or write byte by byte: a task's segment may lie across a page's end.
    fn read(&self, vcpu: &dyn Vcpu, linear: u64, out: &mut [u8]) -> Option<()> {
        for (byte, n) in out.chunks_mut(1).zip(0..) {
            let gpa = self.at(vcpu, linear.wrapping_add(n))?;
            self.machine.host.read_memory(gpa, byte).then_some(())?;
        }
        Some(())
    }

    fn write(&self, vcpu: &dyn Vcpu, linear: u64, data: &[u8]) -> Option<()> {
        for (byte, n) in data.chunks(1).zip(0..) {
            let gpa = self.at(vcpu, linear.wrapping_add(n))?;
            self.machine.host.write_memory(gpa, byte).then_some(())?;
        }
        Some(())
    }
}

/// A task switch. One that cannot be made raises what the CPU would; where memory that it needs is missing, #TS.
pub(crate) fn switch<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
    switch: TaskSwitch,
) {
    let memory = Linear { machine };
    if let Err(Fault(vector, error)) = attempt(&memory, vcpu, switch) {
        fault(vcpu, vector, error);
        // A handler that is such a task itself would come here for ever.
        debug::poll(machine, cpu, vcpu);
    }
}

fn attempt<H: Host>(
    memory: &Linear<'_, H>,
    vcpu: &mut dyn Vcpu,
    switch: TaskSwitch,
) -> Result<(), Fault> {
    let refused = Fault::task(switch.selector);
    let new = Descriptor::find(memory, vcpu, switch.selector).ok_or(refused)?;
    let wide = new.is_wide_task().ok_or(refused)?;
    if !new.present() {
        return Err(Fault(vector::NP, u32::from(switch.selector & 0xfffc)));
    }
    if new.segment.limit < State::last(wide) {
        return Err(refused);
    }
    let old = vcpu.segment(Seg::Tr);
    leave(memory, vcpu, switch, old).ok_or(refused)?;
    let nested = matches!(switch.source, TaskSource::Call | TaskSource::Gate);
    if nested {
        memory.write(vcpu, new.segment.base, &old.selector.to_le_bytes()).ok_or(refused)?;
    }
    let state = State::read(memory, vcpu, new.segment.base, wide).ok_or(refused)?;
    if switch.source != TaskSource::Iret {
        new.set_busy(memory, vcpu, true).ok_or(refused)?;
    }
    let busy = Segment { attributes: new.segment.attributes | 2, ..new.segment };
    vcpu.set_segment(Seg::Tr, busy);
    let cr0 = vcpu.system(System::Cr0);
    vcpu.set_system(System::Cr0, cr0 | cr::CR0_TS);
    if wide && cr0 & cr::CR0_PG != 0 {
        crate::instruction::load_cr3(memory.machine, vcpu, state.cr3.into());
    }
    // From here on what goes wrong is the new task's.
    let link = if nested { NT } else { 0 };
    state.load_registers(vcpu, link);
    let dr7 = vcpu.system(System::Dr7);
    if dr7 & LOCAL != 0 {
        vcpu.set_system(System::Dr7, dr7 & !LOCAL);
    }
    segments::load(memory, vcpu, &state)?;
    if let Some(error) = switch.error {
        push(memory, vcpu, error, wide).ok_or(Fault(vector::SS, 0))?;
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
    switch: TaskSwitch,
    old: Segment,
) -> Option<()> {
    let rip = vcpu.system(System::Rip);
    let behind = switch.source != TaskSource::Gate || switch.software;
    let next = if behind { vcpu.next_rip().unwrap_or(rip) } else { rip };
    let flags = vcpu.system(System::Rflags);
    let flags = match switch.source {
        TaskSource::Iret => flags & !NT,
        // A fault's image has RF set (SDM 3B, 17.3.1.1).
        TaskSource::Gate if !switch.software => flags | rflags::RF,
        _ => flags & !rflags::RF,
    };
    let wide = old.attributes & 8 != 0;
    State::of(vcpu, next, flags).write(memory, vcpu, old.base, wide)?;
    if matches!(switch.source, TaskSource::Jump | TaskSource::Iret) {
        Descriptor::find(memory, vcpu, old.selector)?.set_busy(memory, vcpu, false)?;
    }
    vcpu.clear_interrupt_shadow();
    Some(())
}

/// Pushes an exception's error code onto the new task's stack.
fn push<H: Host>(
    memory: &Linear<'_, H>,
    vcpu: &mut dyn Vcpu,
    error: u32,
    wide: bool,
) -> Option<()> {
    let stack = vcpu.segment(Seg::Ss);
    let size = if wide { 4_u64 } else { 2 };
    let mask = if stack.attributes & x86defs::segment::ATTR_DB != 0 { 0xffff_ffff } else { 0xffff };
    let old = vcpu.gpr(vcpu::Gpr::Rsp);
    let top = old.wrapping_sub(size) & mask;
    let bytes = error.to_le_bytes();
    memory.write(vcpu, stack.base.wrapping_add(top), bytes.get(..size as usize)?)?;
    vcpu.set_gpr(vcpu::Gpr::Rsp, old & !mask | top);
    Some(())
}
