//! The machine behind the stub, which looks at what it is asked.

use std::fmt::Write;

use stub::{Breakpoint, BreakpointError, Changed, Output, Refused, Register, Regs, Target};

/// Where the memory begins: nothing below is mapped.
pub(super) const BASE: u64 = 0x1000;

/// Two CPUs and two pages.
pub(super) struct Machine {
    pub(super) regs: [Regs; 2],
    memory: Vec<u8>,
    pub(super) breakpoints: Vec<(Breakpoint, u64, u64)>,
    pub(super) running: bool,
    /// The range that the packet being answered may write.
    pub(super) writable: Option<(u64, u64)>,
}

impl Machine {
    pub(super) fn new() -> Self {
        let mut regs = [Regs::default(); 2];
        regs[0].rip_linear = BASE;
        regs[1].rip_linear = BASE + 0x100;
        Self {
            regs,
            memory: vec![0x90; 0x2000],
            breakpoints: Vec::new(),
            running: true,
            writable: None,
        }
    }

    fn stands_still(&self) {
        assert!(!self.running, "asked of a guest that runs");
    }

    fn store(&mut self, address: u64, data: &[u8]) -> bool {
        self.stands_still();
        let (start, len) = self.writable.expect("written without a packet that says so");
        let offset = address.wrapping_sub(start);
        let end = offset.checked_add(data.len() as u64);
        assert!(end.is_some_and(|end| end <= len), "{address:#x} is outside {start:#x}+{len:#x}");
        let to = address.checked_sub(BASE).and_then(|at| usize::try_from(at).ok());
        let to = to.and_then(|at| self.memory.get_mut(at..)?.get_mut(..data.len()));
        to.map(|to| to.copy_from_slice(data)).is_some()
    }

    fn load(&mut self, address: u64, out: &mut [u8]) -> usize {
        self.stands_still();
        let at = address.checked_sub(BASE).and_then(|at| usize::try_from(at).ok());
        let bytes = at.and_then(|at| self.memory.get(at..)).unwrap_or_default();
        out.iter_mut().zip(bytes).map(|(to, from)| *to = *from).count()
    }
}

impl Target for Machine {
    fn cpus(&self) -> usize {
        self.regs.len()
    }
    fn registers(&mut self, cpu: usize) -> Regs {
        self.stands_still();
        self.regs[cpu]
    }
    fn set_registers(&mut self, cpu: usize, regs: &Regs, changed: Changed) -> Result<(), Refused> {
        self.stands_still();
        if changed == Changed::One(Register::Cr0) {
            return Err(Refused);
        }
        self.regs[cpu] = *regs;
        Ok(())
    }
    fn read_memory(&mut self, cpu: usize, gva: u64, out: &mut [u8]) -> usize {
        assert!(cpu < self.cpus());
        self.load(gva, out)
    }
    fn write_memory(&mut self, cpu: usize, gva: u64, data: &[u8]) -> bool {
        assert!(cpu < self.cpus());
        self.store(gva, data)
    }
    fn breakpoint_at(&mut self, addr: u64) -> bool {
        self.stands_still();
        self.breakpoints.iter().any(|&(_, at, _)| at == addr)
    }
    fn add_breakpoint(
        &mut self,
        kind: Breakpoint,
        addr: u64,
        len: u64,
    ) -> Result<(), BreakpointError> {
        self.stands_still();
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
        self.stands_still();
        let place = self.breakpoints.iter().position(|&set| set == (kind, addr, len));
        self.breakpoints.remove(place.ok_or(BreakpointError::Unsupported)?);
        Ok(())
    }
    fn remove_all_breakpoints(&mut self) {
        self.stands_still();
        self.breakpoints.clear();
    }
    fn monitor(&mut self, _: wire::Request, out: &mut dyn Write) {
        self.stands_still();
        let written = (0..40).all(|n| writeln!(out, "line {n} #$}}*").is_ok());
        assert!(written);
    }
}

#[derive(Default)]
/// Keeps what was sent.
pub(super) struct Sent(pub(super) Vec<u8>);

impl Output for Sent {
    fn put(&mut self, byte: u8) {
        self.0.push(byte);
    }
}
