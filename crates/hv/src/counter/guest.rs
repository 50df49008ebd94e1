//! The guest's own values of the counter that is ours meanwhile.
use super::{Counter, ENABLE, MASK};
use crate::{Cpu, Host, Machine};
use x86defs::msr;

/// RDMSR. `None`: it is no register of the counter's.
pub(crate) fn read<H: Host>(machine: &Machine<H>, cpu: &Cpu, register: u32) -> Option<u64> {
    let counter = cpu.counter.as_ref().filter(|counter| counter.ours)?;
    let host = &machine.host;
    match register {
        _ if register == counter.last.control => Some(counter.guest.control),
        _ if register == counter.last.count => Some(counter.guest.count),
        msr::PERF_GLOBAL_CTL if counter.global != 0 => {
            Some(host.read_msr(register)? & !counter.global | counter.guest_global)
        }
        msr::PERF_GLOBAL_STATUS if counter.global != 0 => {
            Some(host.read_msr(register)? & !counter.global)
        }
        _ => None,
    }
}

/// WRMSR: whether the CPU takes it. `None`: it is no register of the counter's, or the guest uses that itself.
pub(crate) fn write<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    register: u32,
    value: u64,
) -> Option<bool> {
    let counter = cpu.counter.as_mut()?;
    let host = &machine.host;
    if register == counter.last.control {
        return Some(counter.control(host, value));
    }
    if register == msr::PERF_GLOBAL_CTL && counter.global != 0 {
        let ours = if counter.ours { counter.global } else { 0 };
        let done = host.write_msr(register, value | ours);
        if done {
            counter.guest_global = value & counter.global;
        }
        return Some(done);
    }
    if register == counter.last.count && counter.ours {
        counter.guest.count = value & MASK;
        return Some(true);
    }
    None
}

impl Counter {
    /// The guest writes the counter's control: to use it, or not.
    fn control<H: Host>(&mut self, host: &H, value: u64) -> bool {
        if value & ENABLE == 0 {
            if !self.ours {
                self.guest.count = host.read_msr(self.last.count).unwrap_or(0);
            }
            // Whether a bit is reserved is for the CPU to say.
            let done = host.write_msr(self.last.control, value);
            if done {
                self.guest.control = host.read_msr(self.last.control).unwrap_or(value);
                self.ours = true;
            }
            if self.ours {
                self.arm(host);
            }
            return done;
        }
        if self.ours {
            host.write_msr(self.last.control, 0);
            host.write_msr(self.last.count, self.guest.count);
            self.share(host, self.guest_global);
        }
        let done = host.write_msr(self.last.control, value);
        if done {
            self.ours = false;
        } else if self.ours {
            self.arm(host);
        }
        done
    }

    /// Set the counter's bit in the global control.
    fn share<H: Host>(&self, host: &H, bit: u64) {
        if self.global != 0 {
            let others = host.read_msr(msr::PERF_GLOBAL_CTL).unwrap_or(0) & !self.global;
            host.write_msr(msr::PERF_GLOBAL_CTL, others | bit);
        }
    }
}
