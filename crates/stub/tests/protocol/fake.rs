//! A machine of two CPUs and two pages of memory, and a client that speaks in bytes.

use std::fmt::Write;
use stub::{
    Breakpoint, BreakpointError, Changed, Output, PACKET, Refused, Region, Register, Regs, Rights,
    Stub, Target,
};

/// Where the memory begins: nothing below is mapped.
pub(crate) const BASE: u64 = 0x1000;

/// The machine behind the stub.
pub(crate) struct Machine {
    pub(crate) regs: [Regs; 2],
    pub(crate) memory: Vec<u8>,
    /// By physical address, from 0 on.
    pub(crate) physical: Vec<u8>,
    pub(crate) breakpoints: Vec<(Breakpoint, u64, u64)>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let mut regs = [Regs::default(); 2];
        for (regs, rip) in regs.iter_mut().zip([0x1000, 0x1100]) {
            regs.rip_linear = rip;
            regs.ip = rip;
            regs.eflags = 2;
            regs.cr3 = 0x1234_5000;
            regs.dr7 = 0x400;
        }
        Machine {
            regs,
            memory: vec![0x90; 0x2000],
            physical: vec![0x11; 0x100],
            breakpoints: Vec::new(),
        }
    }
}

impl Target for Machine {
    fn cpus(&self) -> usize {
        self.regs.len()
    }

    fn registers(&mut self, cpu: usize) -> Regs {
        self.regs[cpu]
    }

    fn set_registers(&mut self, cpu: usize, regs: &Regs, changed: Changed) -> Result<(), Refused> {
        if changed == Changed::One(Register::Cr0) {
            return Err(Refused);
        }
        self.regs[cpu] = *regs;
        Ok(())
    }

    fn read_memory(&mut self, _: usize, gva: u64, out: &mut [u8]) -> usize {
        let from = gva.checked_sub(BASE).and_then(|offset| self.memory.get(offset as usize..));
        let bytes = from.unwrap_or_default();
        out.iter_mut().zip(bytes).map(|(to, from)| *to = *from).count()
    }

    fn write_memory(&mut self, _: usize, gva: u64, data: &[u8]) -> bool {
        let to = gva
            .checked_sub(BASE)
            .and_then(|offset| self.memory.get_mut(offset as usize..)?.get_mut(..data.len()));
        to.map(|to| to.copy_from_slice(data)).is_some()
    }

    fn read_physical(&mut self, gpa: u64, out: &mut [u8]) -> usize {
        let bytes = self.physical.get(gpa as usize..).unwrap_or_default();
        out.iter_mut().zip(bytes).map(|(to, from)| *to = *from).count()
    }

    fn write_physical(&mut self, gpa: u64, data: &[u8]) -> bool {
        let to = self.physical.get_mut(gpa as usize..).and_then(|to| to.get_mut(..data.len()));
        to.map(|to| to.copy_from_slice(data)).is_some()
    }

    fn region(&mut self, _: usize, gva: u64) -> Region {
        let end = BASE + self.memory.len() as u64;
        match gva {
            ..BASE => Region { start: 0, last: BASE - 1, rights: None },
            _ if gva >= end => Region { start: end, last: u64::MAX, rights: None },
            _ => Region {
                start: BASE,
                last: end - 1,
                rights: Some(Rights { write: false, execute: true }),
            },
        }
    }

    fn describe(&mut self, cpu: usize, out: &mut dyn Write) -> std::fmt::Result {
        write!(out, "CPU {cpu} (halted)")
    }

    fn breakpoint_at(&mut self, addr: u64) -> bool {
        self.breakpoints.iter().any(|&(_, at, _)| at == addr)
    }

    fn add_breakpoint(
        &mut self,
        kind: Breakpoint,
        addr: u64,
        len: u64,
    ) -> Result<(), BreakpointError> {
        match (addr, self.breakpoints.len()) {
            (..BASE, _) => Err(BreakpointError::Memory),
            (_, 4..) => Err(BreakpointError::Full),
            _ => {
                self.breakpoints.push((kind, addr, len));
                Ok(())
            }
        }
    }

    fn remove_breakpoint(
        &mut self,
        kind: Breakpoint,
        addr: u64,
        len: u64,
    ) -> Result<(), BreakpointError> {
        let place = self.breakpoints.iter().position(|&set| set == (kind, addr, len));
        self.breakpoints.remove(place.ok_or(BreakpointError::Unsupported)?);
        Ok(())
    }

    fn remove_all_breakpoints(&mut self) {
        self.breakpoints.clear();
    }

    fn monitor(&mut self, request: wire::Request, out: &mut dyn Write) {
        match request {
            wire::Request::Help => wire::write_help(out).unwrap(),
            wire::Request::Version => writeln!(out, "{}", wire::VERSION).unwrap(),
            wire::Request::Log => (0..30).for_each(|n| writeln!(out, "line {n}").unwrap()),
            _ => {}
        }
    }
}

/// Keeps what was sent.
#[derive(Default)]
pub(crate) struct Sent(pub(crate) Vec<u8>);

impl Output for Sent {
    fn put(&mut self, byte: u8) {
        self.0.push(byte);
    }
}

/// A stub with buffers that live for ever.
pub(crate) fn stub<O: Output>(out: O) -> Stub<O> {
    let buffer = || Box::leak(Box::new([0; PACKET]));
    Stub::new(buffer(), buffer(), out)
}

/// Frames a body.
pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", body, format!("#{sum:02x}").as_bytes()].concat()
}
