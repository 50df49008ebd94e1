//! Keeping the other CPUs where they are. They wait in the VMM, and until the guest runs on them the firmware's tables list
//! only one; a guest that does not believe them must not start another by INIT and SIPI: one that the VMM could not take, or
//! that an INIT gets out of it (QEMU's TCG), would run without a VMM. With one CPU in the machine nothing here is active.
//!
//! The xAPIC's page is read-only in the nested tables. The usual stores are completed by the VMM; any other write goes to the
//! scratch page for one step, then its value, filtered, to the register. In x2APIC mode the command register is an MSR.
use crate::instruction::{code_size, fetch, retire};
use crate::{Cpu, Host, Machine};
use emu::Source;
use vcpu::{Gpr, System, Vcpu};
use x86defs::{dr, msr};

const ID: u16 = 0x20;
const ICR_LOW: u16 = 0x300;
const ICR_HIGH: u16 = 0x310;
const PAGE: u64 = 0xfff;
/// IA32_APIC_BASE: address bits.
pub(crate) const BASE: u64 = 0x000f_ffff_ffff_f000;
/// IA32_APIC_BASE: what is not the address.
const FLAGS: u64 = 0xfff;

/// ICR delivery modes that a halted CPU with interrupts off does not notice: fixed and lowest priority.
const HARMLESS: u32 = 1;
const NMI: u32 = 4;

/// Ask for what this module needs.
pub(crate) fn watch<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu) {
    if machine.cpus < 2 {
        return;
    }
    vcpu.watch_msr(msr::X2APIC_ICR, false, true);
    let base = machine.host.read_msr(msr::APIC_BASE).unwrap_or(0);
    if let Err(error) = machine.nested.lock().protect_apic(base & BASE) {
        machine.log(format_args!("the local APIC at {base:#x} cannot be watched: {error:?}"));
    }
    vcpu.flush();
}

/// WRMSR to one of the two MSRs. `None`: it is another.
pub(crate) fn write_msr<H: Host>(machine: &Machine<H>, register: u32, value: u64) -> Option<bool> {
    match register {
        msr::APIC_BASE => {
            // With other CPUs the page stays where it is watched; over the VMM it never comes.
            let old = machine.host.read_msr(register).unwrap_or(0);
            let moved = (value ^ old) & !FLAGS != 0;
            let taken = machine.cpus > 1 || machine.nested.lock().in_hole(value & BASE);
            Some(!(moved && taken) && machine.host.write_msr(register, value))
        }
        msr::X2APIC_ICR if machine.cpus > 1 => {
            // x2APIC: the whole register at once, the destination in the upper half.
            let own = machine.host.read_msr(msr::X2APIC_ID).unwrap_or(0) as u32;
            Some(match filter(value as u32, (value >> 32) as u32 == own) {
                Command::Send(low) => {
                    machine.host.write_msr(register, value & !0xffff_ffff | u64::from(low))
                }
                Command::SendSelf(low) => {
                    machine.host.write_msr(register, u64::from(own) << 32 | u64::from(low))
                }
                Command::Drop => true,
            })
        }
        _ => None,
    }
}

/// A write to the page at `gpa` is to be made by the instruction at RIP: if it is one of the usual, it is completed, for a
/// step takes an exit more. Who wants to see the write sees it by the step.
pub(crate) fn store<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
    gpa: u64,
) -> Option<()> {
    let watched = vcpu.system(System::Dr7) & dr::DR7_ENABLES != 0;
    if watched || cpu.step.is_some() || vcpu.queued().is_some() || gpa & 3 != 0 {
        return None;
    }
    machine.nested.lock().is_apic(gpa).then_some(())?;
    let (bytes, have) = fetch(machine, vcpu);
    let found = emu::store(bytes.get(..have)?, code_size(vcpu))?;
    let value = match found.source {
        Source::Register(gpr) => vcpu.gpr(Gpr::from_encoding(gpr)) as u32,
        Source::Immediate(value) => value,
    };
    write(machine, gpa, value);
    let next = vcpu.system(System::Rip).wrapping_add(u64::from(found.len));
    retire(cpu, vcpu, next);
    Some(())
}

/// The guest wrote `value` at `gpa`, in the APIC's page.
pub(crate) fn write<H: Host>(machine: &Machine<H>, gpa: u64, value: u32) {
    let register = (gpa & PAGE) as u16 & !0xf;
    let host = &machine.host;
    if register != ICR_LOW {
        host.apic_write(register, value);
        return;
    }
    let own = host.apic_read(ID) >> 24;
    let high = host.apic_read(ICR_HIGH);
    match filter(value, high >> 24 == own) {
        Command::Send(low) => host.apic_write(register, low),
        Command::SendSelf(low) => {
            host.apic_write(ICR_HIGH, own << 24);
            host.apic_write(register, low);
            host.apic_write(ICR_HIGH, high);
        }
        Command::Drop => {}
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Send(u32),
    /// With the own ID as destination.
    SendSelf(u32),
    Drop,
}

/// What of a command may go out (APM 2, 16.5). `to_own`: the destination field is this CPU's ID.
fn filter(low: u32, to_own: bool) -> Command {
    let mode = low >> 8 & 7;
    let logical = low & 1 << 11 != 0;
    let shorthand = low >> 18 & 3;
    if mode <= HARMLESS {
        return Command::Send(low);
    }
    match shorthand {
        0 if to_own && !logical => Command::Send(low),
        // A logical destination may be this CPU or another: an NMI comes here alone.
        0 if logical && mode == NMI => Command::SendSelf(low & !(1 << 11)),
        1 => Command::Send(low),
        2 if mode == NMI => Command::SendSelf(low & !(3 << 18)),
        _ => Command::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_cpu_is_started() {
        for shorthand in [0, 2, 3] {
            for mode in [5, 6] {
                let low = shorthand << 18 | mode << 8 | 0x9f;
                assert_eq!(filter(low, false), Command::Drop, "{low:x}");
            }
        }
        assert_eq!(filter(0xc_4500, true), Command::Drop);
    }

    #[test]
    fn what_the_guest_sends_itself_goes_out() {
        for low in [0x4_00ef, 0xef, 0xc_00fc, 0x4_0400] {
            assert_eq!(filter(low, false), Command::Send(low));
        }
        assert_eq!(filter(0x400, true), Command::Send(0x400));
        assert_eq!(filter(0x8_0400, false), Command::SendSelf(0x400));
    }
}
