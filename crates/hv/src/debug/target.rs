//! The stopped guest as the stub sees it.
// A directory `target` would be cargo's to every tool, `.gitignore` included.
#[path = "mode.rs"]
mod mode;
#[path = "monitor.rs"]
mod monitor;
#[path = "region.rs"]
mod region;
#[path = "segments.rs"]
mod segments;
#[path = "write.rs"]
mod write;

use super::Debugger;
use crate::{Cpu, Host, Machine, instruction::code_address};
use core::fmt;
use stub::{Breakpoint, BreakpointError, Changed, Refused, Region, Register, Regs, Target};
use vcpu::{Gpr, Seg, System, Vcpu};
use x86defs::{cr, rflags};

/// One stopped CPU and what it shares.
pub(super) struct View<'a, H: Host> {
    pub(super) machine: &'a Machine<H>,
    pub(super) cpu: &'a mut Cpu,
    pub(super) vcpu: &'a mut dyn Vcpu,
    pub(super) debugger: &'a mut Debugger,
}

impl<H: Host> View<'_, H> {
    /// [`parts`] with the guest-physical address of each.
    fn pages(
        &self,
        gva: u64,
        len: usize,
        mut visit: impl FnMut(u64, usize, usize) -> bool,
    ) -> usize {
        let paging = self.vcpu.paging();
        parts(gva, len, |gva, at, end| {
            let found = paging.find(&self.machine.host, gva);
            found.is_ok_and(|found| visit(found.gpa, at, end))
        })
    }
}

/// The guest's registers, `dr` and `dr7` being its own.
pub(crate) fn guest_registers(v: &dyn Vcpu, (dr, dr7): ([u64; 4], u64)) -> Regs {
    let ip = v.system(System::Rip);
    Regs {
        rax: v.gpr(Gpr::Rax),
        rbx: v.gpr(Gpr::Rbx),
        rcx: v.gpr(Gpr::Rcx),
        rdx: v.gpr(Gpr::Rdx),
        rsi: v.gpr(Gpr::Rsi),
        rdi: v.gpr(Gpr::Rdi),
        rbp: v.gpr(Gpr::Rbp),
        rsp: v.gpr(Gpr::Rsp),
        r8: v.gpr(Gpr::R8),
        r9: v.gpr(Gpr::R9),
        r10: v.gpr(Gpr::R10),
        r11: v.gpr(Gpr::R11),
        r12: v.gpr(Gpr::R12),
        r13: v.gpr(Gpr::R13),
        r14: v.gpr(Gpr::R14),
        r15: v.gpr(Gpr::R15),
        rip_linear: code_address(v, ip),
        ip,
        eflags: v.system(System::Rflags),
        cs: segment(v, Seg::Cs),
        ss: segment(v, Seg::Ss),
        ds: segment(v, Seg::Ds),
        es: segment(v, Seg::Es),
        fs: segment(v, Seg::Fs),
        gs: segment(v, Seg::Gs),
        ldtr: segment(v, Seg::Ldtr),
        tr: segment(v, Seg::Tr),
        gdtr: table(v, Seg::Gdtr),
        idtr: table(v, Seg::Idtr),
        kernel_gs_base: v.system(System::KernelGsBase),
        cr0: v.system(System::Cr0),
        cr2: v.system(System::Cr2),
        cr3: v.system(System::Cr3),
        cr4: v.system(System::Cr4),
        cr8: v.system(System::Cr8),
        efer: v.system(System::Efer) & !cr::EFER_SVME,
        dr,
        dr6: v.system(System::Dr6),
        dr7,
    }
}

fn segment(v: &dyn Vcpu, register: Seg) -> stub::Segment {
    let vcpu::Segment { selector, attributes, limit, base } = v.segment(register);
    stub::Segment { selector, base, limit, attributes }
}

fn table(v: &dyn Vcpu, register: Seg) -> stub::Table {
    let vcpu::Segment { limit, base, .. } = v.segment(register);
    stub::Table { base, limit: limit as u16 }
}

/// Visit `len` bytes from `addr` on, page by page, until one is refused: its address, and where its bytes
/// begin and end among them. Gives the bytes visited.
pub(crate) fn parts(
    addr: u64,
    len: usize,
    mut visit: impl FnMut(u64, usize, usize) -> bool,
) -> usize {
    let mut done = 0_usize;
    while done < len {
        let at = addr.wrapping_add(done as u64);
        let in_page = 0x1000_usize.wrapping_sub((at & 0xfff) as usize);
        let end = done.saturating_add(in_page).min(len);
        if !visit(at, done, end) {
            break;
        }
        done = end;
    }
    done
}

const GENERAL: [(Register, Gpr); 16] = [
    (Register::Rax, Gpr::Rax),
    (Register::Rbx, Gpr::Rbx),
    (Register::Rcx, Gpr::Rcx),
    (Register::Rdx, Gpr::Rdx),
    (Register::Rsi, Gpr::Rsi),
    (Register::Rdi, Gpr::Rdi),
    (Register::Rbp, Gpr::Rbp),
    (Register::Rsp, Gpr::Rsp),
    (Register::R8, Gpr::R8),
    (Register::R9, Gpr::R9),
    (Register::R10, Gpr::R10),
    (Register::R11, Gpr::R11),
    (Register::R12, Gpr::R12),
    (Register::R13, Gpr::R13),
    (Register::R14, Gpr::R14),
    (Register::R15, Gpr::R15),
];

impl<H: Host> Target for View<'_, H> {
    fn cpus(&self) -> usize {
        1
    }

    fn registers(&mut self, _cpu: usize) -> Regs {
        let held = self.cpu.hardware.guest(&*self.vcpu);
        guest_registers(&*self.vcpu, held)
    }

    fn set_registers(&mut self, _: usize, regs: &Regs, changed: Changed) -> Result<(), Refused> {
        let wanted = |register| changed == Changed::All || changed == Changed::One(register);
        let mut done = changed == Changed::All;
        for (register, gpr) in GENERAL {
            if wanted(register) {
                self.vcpu.set_gpr(gpr, register.get(regs));
                done = true;
            }
        }
        if wanted(Register::Rip) || wanted(Register::Ip) {
            self.cpu.halted &= regs.ip == self.vcpu.system(System::Rip);
            self.vcpu.set_system(System::Rip, regs.ip);
            done = true;
        }
        if wanted(Register::Eflags) {
            // VM cannot be had by a write, and the reserved bits are what they are (APM 2, 3.1.6).
            const WRITABLE: u64 = 0x003d_7fd5;
            let old = self.vcpu.system(System::Rflags);
            let new = regs.eflags & WRITABLE | old & !WRITABLE;
            if (new ^ old) & (rflags::IF | rflags::TF) != 0 {
                // The shadow of the instruction before goes with the flags it left: together they may be a state that
                // the CPU refuses (Intel SDM 3C, 26.3.1.5).
                self.vcpu.clear_interrupt_shadow();
            }
            self.vcpu.set_system(System::Rflags, new);
            done = true;
        }
        if wanted(Register::Cr2) {
            self.vcpu.set_system(System::Cr2, regs.cr2);
            done = true;
        }
        match changed {
            Changed::One(register) if !done => {
                let Self { machine, cpu, vcpu, .. } = self;
                write::set(&machine.host, *vcpu, &mut cpu.hardware, register, regs)
            }
            // A whole register file is somebody's who saved it and puts it back: the CPU's mode is not in it.
            _ => Ok(()),
        }
    }

    fn read_memory(&mut self, _cpu: usize, gva: u64, out: &mut [u8]) -> usize {
        let len = out.len();
        self.pages(gva, len, |gpa, at, end| {
            out.get_mut(at..end).is_some_and(|to| self.machine.host.read_memory(gpa, to))
        })
    }

    fn write_memory(&mut self, _cpu: usize, gva: u64, data: &[u8]) -> bool {
        // All of it is there, or nothing is written.
        let mut probe = [0; 1];
        let there =
            self.pages(gva, data.len(), |gpa, _, _| self.machine.host.read_memory(gpa, &mut probe));
        there == data.len()
            && self.pages(gva, data.len(), |gpa, at, end| {
                data.get(at..end).is_some_and(|from| self.machine.host.write_memory(gpa, from))
            }) == data.len()
    }

    fn read_physical(&mut self, gpa: u64, out: &mut [u8]) -> usize {
        let len = out.len();
        parts(gpa, len, |gpa, at, end| {
            out.get_mut(at..end).is_some_and(|to| self.machine.host.read_memory(gpa, to))
        })
    }

    fn write_physical(&mut self, gpa: u64, data: &[u8]) -> bool {
        let host = &self.machine.host;
        // All of it is there, or nothing is written.
        let there = parts(gpa, data.len(), |gpa, _, _| host.read_memory(gpa, &mut [0]));
        there == data.len()
            && parts(gpa, data.len(), |gpa, at, end| {
                data.get(at..end).is_some_and(|from| host.write_memory(gpa, from))
            }) == data.len()
    }

    fn region(&mut self, _cpu: usize, gva: u64) -> Region {
        region::around(&self.machine.host, &self.vcpu.paging(), gva)
    }

    fn describe(&mut self, cpu: usize, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "CPU {cpu}: ")?;
        mode::write(self.vcpu, out)?;
        write!(out, ", ring {}", self.vcpu.cpl())?;
        if self.cpu.halted { out.write_str(", halted") } else { Ok(()) }
    }

    fn breakpoint_at(&mut self, addr: u64) -> bool {
        self.debugger.software_at(addr) || self.debugger.hardware.executes_at(addr)
    }

    fn add_breakpoint(
        &mut self,
        kind: Breakpoint,
        addr: u64,
        len: u64,
    ) -> Result<(), BreakpointError> {
        if kind != Breakpoint::Software {
            return self.debugger.hardware.add(kind, addr, len);
        }
        let found = self.vcpu.paging().find(&self.machine.host, addr);
        let gpa = found.map_err(|_| BreakpointError::Memory)?.gpa;
        self.debugger.add_software(&self.machine.host, addr, gpa)
    }

    fn remove_breakpoint(
        &mut self,
        kind: Breakpoint,
        addr: u64,
        _len: u64,
    ) -> Result<(), BreakpointError> {
        match kind {
            Breakpoint::Software => self.debugger.remove_one_software(addr),
            _ => self.debugger.hardware.remove(kind, addr),
        }
    }

    fn remove_all_breakpoints(&mut self) {
        self.debugger.clear();
    }

    fn monitor(&mut self, request: wire::Request, out: &mut dyn fmt::Write) {
        // A client that hangs up in the middle of the answer loses the rest of it.
        let _ = self.answer(request, out);
    }
}
