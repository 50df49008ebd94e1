//! The debug registers, shared with the guest. While the analyst holds one, MOV DR is intercepted and the
//! guest reads and writes its own values; its enabled breakpoints stay armed at their numbers, the
//! analyst's take the rest (APM 2, 13.1).
use crate::instruction::{decode, inject_db, inject_gp, inject_ud, skip};
use crate::{Cpu, Host, Machine};
use emu::Opcode;
use stub::{Breakpoint, BreakpointError, Reason};
use vcpu::{Gpr, Intercept, System, Vcpu};
use x86defs::{cr, dr, rflags};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watch {
    kind: Breakpoint,
    addr: u64,
    len: u64,
}

/// What the analyst wants stopped at, on every CPU.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted([Option<Watch>; 4]);

/// The analyst's and the guest's debug registers on one CPU.
#[derive(Debug, Default)]
pub(crate) struct Hardware {
    /// As of the last time the guest went on.
    wanted: Wanted,
    /// What is armed at each number for the analyst.
    armed: [Option<Watch>; 4],
    /// What is in the memory watched for reads, as far as it is known.
    seen: [Option<u64>; 4],
    /// The guest's DR0-3 and DR7 while we hold the real ones.
    guest: Option<([u64; 4], u64)>,
}

impl Wanted {
    pub(super) fn add(
        &mut self,
        kind: Breakpoint,
        addr: u64,
        len: u64,
    ) -> Result<(), BreakpointError> {
        let watch = Watch { kind, addr, len: if kind == Breakpoint::Hardware { 1 } else { len } };
        let aligned = matches!(watch.len, 1 | 2 | 4 | 8) && addr & watch.len.wrapping_sub(1) == 0;
        if !aligned || kind == Breakpoint::Software {
            return Err(BreakpointError::Unsupported);
        }
        if self.0.contains(&Some(watch)) {
            return Ok(());
        }
        let free = self.0.iter_mut().find(|slot| slot.is_none());
        *free.ok_or(BreakpointError::Full)? = Some(watch);
        Ok(())
    }

    pub(super) fn remove(&mut self, kind: Breakpoint, addr: u64) -> Result<(), BreakpointError> {
        let is =
            |slot: &&mut Option<Watch>| slot.is_some_and(|it| it.kind == kind && it.addr == addr);
        *self.0.iter_mut().find(is).ok_or(BreakpointError::Unsupported)? = None;
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether an instruction at `addr` is to be stopped at.
    pub(super) fn executes_at(&self, addr: u64) -> bool {
        let mut wanted = self.0.iter().flatten();
        wanted.any(|it| it.kind == Breakpoint::Hardware && it.addr == addr)
    }
}

impl Hardware {
    /// DR0-3 and DR7 as the guest has them.
    pub(crate) fn guest(&self, vcpu: &dyn Vcpu) -> ([u64; 4], u64) {
        self.guest.unwrap_or_else(|| {
            let address = core::array::from_fn(|n| vcpu.debug_address(n));
            (address, vcpu.system(System::Dr7))
        })
    }

    /// Change what the guest has in them.
    pub(super) fn set_guest(&mut self, vcpu: &mut dyn Vcpu, address: [u64; 4], dr7: u64) {
        self.guest = Some((address, dr7));
        self.arm(vcpu);
    }

    /// Whether the analyst holds any.
    pub(crate) fn held(&self) -> bool {
        self.guest.is_some()
    }

    /// Put into the CPU what is wanted now.
    fn arm(&mut self, vcpu: &mut dyn Vcpu) {
        let hold = self.wanted.0.iter().any(Option::is_some);
        if !hold && self.guest.is_none() {
            return;
        }
        let (address, dr7) = self.guest(vcpu);
        self.guest = hold.then_some((address, dr7));
        self.armed = [None; 4];
        let mut wanted = self.wanted.0.iter().flatten();
        let mut real = if hold { dr7 & !dr::DR7_GD } else { dr7 };
        for (n, (slot, guest)) in self.armed.iter_mut().zip(address).enumerate() {
            let shift = (n as u32).wrapping_mul(2);
            let own = dr7.wrapping_shr(shift) & 3 != 0;
            *slot = if own { None } else { wanted.next().copied() };
            vcpu.set_debug_address(n, slot.map_or(guest, |it| it.addr));
            if let Some(it) = slot {
                let control = shift.wrapping_mul(2).wrapping_add(16);
                let clear = 3_u64.wrapping_shl(shift) | 15_u64.wrapping_shl(control);
                let enable = 2_u64.wrapping_shl(shift);
                real = real & !clear | enable | it.control().wrapping_shl(control);
            }
        }
        vcpu.set_system(System::Dr7, real);
        vcpu.intercept(Intercept::DebugRegisters, hold);
    }
}

impl Watch {
    /// R/W in bits 1:0, LEN in bits 3:2.
    fn control(self) -> u64 {
        let access = match self.kind {
            Breakpoint::Write => 1,
            // x86 has no breakpoint on reads alone: see `Hardware::hit`.
            Breakpoint::Read | Breakpoint::Access => 3,
            _ => 0,
        };
        let len = match self.len {
            2 => 1,
            8 => 2,
            4 => 3,
            _ => 0,
        };
        access | len << 2
    }

    /// What is in the memory watched.
    fn value<H: Host>(self, host: &H, vcpu: &dyn Vcpu) -> Option<u64> {
        // It is aligned, so within a page.
        let gpa = vcpu.paging().find(host, self.addr).ok()?.gpa;
        let mut bytes = [0; 8];
        let part = bytes.get_mut(..usize::try_from(self.len).ok()?)?;
        host.read_memory(gpa, part).then(|| u64::from_le_bytes(bytes))
    }

    fn reason(self) -> Reason {
        match self.kind {
            Breakpoint::Hardware => Reason::HardwareBreakpoint { cpu: 0 },
            kind => Reason::Watch { cpu: 0, kind, addr: self.addr },
        }
    }
}

impl Hardware {
    /// The guest goes on with these.
    pub(super) fn take<H: Host>(&mut self, wanted: Wanted, host: &H, vcpu: &mut dyn Vcpu) {
        self.wanted = wanted;
        self.arm(vcpu);
        let Self { armed, seen, .. } = self;
        for (seen, slot) in seen.iter_mut().zip(armed) {
            let read = slot.filter(|it| it.kind == Breakpoint::Read);
            *seen = read.and_then(|it| it.value(host, vcpu));
        }
    }

    /// Which of DR6's bits are breakpoints of the analyst, if any, and what to tell.
    ///
    /// A watchpoint on reads is one on accesses for the CPU. An access that changed what is there was a write
    /// and is not told of; one that wrote what was there already cannot be told from a read.
    pub(super) fn hit<H: Host>(
        &mut self,
        host: &H,
        vcpu: &dyn Vcpu,
        dr6: u64,
    ) -> Option<(u64, Option<Reason>)> {
        let mut bits = 0;
        let mut reason = None;
        let Self { armed, seen, .. } = self;
        for (n, (slot, seen)) in armed.iter().zip(seen).enumerate() {
            let bit = 1_u64.wrapping_shl(n as u32);
            if let (Some(it), true) = (slot, dr6 & bit != 0) {
                bits |= bit;
                if it.kind == Breakpoint::Read {
                    let now = it.value(host, vcpu);
                    if now.is_some()
                        && core::mem::replace(seen, now).is_some_and(|was| now != Some(was))
                    {
                        continue;
                    }
                }
                reason = reason.or(Some(it.reason()));
            }
        }
        (bits != 0).then_some((bits, reason))
    }

    /// An instruction breakpoint at `here` was shown already: RF lets this one instruction pass.
    pub(super) fn pass_instruction_breakpoint(&self, vcpu: &mut dyn Vcpu, here: u64) {
        let mut armed = self.armed.iter().flatten();
        if armed.any(|it| it.kind == Breakpoint::Hardware && it.addr == here) {
            let flags = vcpu.system(System::Rflags);
            vcpu.set_system(System::Rflags, flags | rflags::RF);
        }
    }
}

/// An INIT has cleared the guest's debug registers: while the analyst holds the real ones, the guest's own are elsewhere.
pub(crate) fn registers_cleared(cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    if cpu.hardware.held() {
        cpu.hardware.set_guest(vcpu, [0; 4], dr::DR7_INIT);
    }
}

/// MOV from or to a debug register while the analyst holds some.
pub(crate) fn mov_dr<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
    register: u8,
    write: bool,
    gpr: Option<u8>,
) {
    let Some(found) = decode(machine, vcpu) else { return };
    let Opcode::MovDr { gpr: named, .. } = found.opcode else { return };
    let gpr =
        Gpr::from_encoding(gpr.filter(|_| vcpu.capabilities().decode_assists).unwrap_or(named));
    const CR4_DE: u64 = 1 << 3;
    if matches!(register, 4 | 5) && vcpu.system(System::Cr4) & CR4_DE != 0 || register > 7 {
        inject_ud(vcpu);
        return;
    }
    if vcpu.cpl() != 0 || write && register >= 4 && vcpu.gpr(gpr) >> 32 != 0 {
        inject_gp(vcpu);
        return;
    }
    let hardware = &mut cpu.hardware;
    let (mut address, mut dr7) = hardware.guest(vcpu);
    if dr7 & dr::DR7_GD != 0 {
        hardware.guest = Some((address, dr7 & !dr::DR7_GD));
        hardware.arm(vcpu);
        let dr6 = vcpu.system(System::Dr6);
        vcpu.set_system(System::Dr6, dr6 | dr::DR6_BD);
        inject_db(vcpu);
        return;
    }
    let long = vcpu.system(System::Efer) & cr::EFER_LMA != 0;
    let value = if long { vcpu.gpr(gpr) } else { vcpu.gpr(gpr) & 0xffff_ffff };
    match (register, write) {
        (0..=3, false) => {
            vcpu.set_gpr(gpr, address.get(usize::from(register)).copied().unwrap_or(0));
        }
        (0..=3, true) => {
            if let Some(place) = address.get_mut(usize::from(register)) {
                *place = value;
            }
        }
        (4 | 6, false) => vcpu.set_gpr(gpr, vcpu.system(System::Dr6)),
        (4 | 6, true) => {
            let writable = dr::DR6_B | dr::DR6_BD | dr::DR6_BS | 1 << 15;
            vcpu.set_system(System::Dr6, value & writable | dr::DR6_INIT);
        }
        (_, false) => vcpu.set_gpr(gpr, dr7),
        (_, true) => dr7 = value & 0xffff_23ff | dr::DR7_INIT,
    }
    if write {
        hardware.guest = Some((address, dr7));
        hardware.arm(vcpu);
    }
    let opcode = Opcode::MovDr { register, gpr: named };
    skip(machine, cpu, vcpu, opcode);
}
