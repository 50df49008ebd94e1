//! The whole machine on the bench.
use super::std;
use super::{host::ModelHost, host::Tables, line::Line, vcpu::ModelVcpu};
use crate::{Buffers, Cpu, Host, Log, Machine, Nested, Roots, run};
use handover::{Options, Span, Uart};
use paging::table::{NX, PRESENT, PageSize, Root, TableMemory, USER, WRITE, leaf, map, map_typed};
use std::boxed::Box;
use std::string::String;
use std::vec::Vec;
use vcpu::{Event, Exit, PortIo, Seg, Segment, System, Vcpu};
use x86defs::{cr, rflags, segment};

/// Where the guest's code is.
pub(super) const CODE: u64 = 0x7c00;
/// First address that is not mapped at the start; a whole GiB.
pub(super) const END: u64 = 1 << 30;
pub(super) const HOLE: Span = Span { base: END - (2 << 20), len: 2 << 20 };
pub(super) const FF_PAGE: u64 = HOLE.base + 0x1000;
pub(super) const LINK: u16 = 0x3f8;
pub(super) const LOG: u16 = 0x2f8;

pub(super) struct Bench {
    pub(super) machine: Machine<ModelHost>,
    pub(super) cpu: Cpu,
    pub(super) vcpu: ModelVcpu,
    pub(super) line: Line,
    pub(super) tables: Tables,
}

/// The tables as setup makes them: root, one PDPT, one PD, two PTs; the VMM's
/// own root is empty. The core takes three more.
fn nested(mut tables: Tables) -> Nested<Tables> {
    let root = tables.alloc().unwrap();
    let flags = WRITE | USER;
    map(&mut tables, root, 0, 0, 2 << 20, flags, PageSize::Size4K).unwrap();
    let rest = HOLE.base - (2 << 20);
    map(&mut tables, root, 2 << 20, 2 << 20, rest, flags, PageSize::Size2M).unwrap();
    for page in (HOLE.base..HOLE.end()).step_by(0x1000) {
        map(&mut tables, root, page, FF_PAGE, 0x1000, USER, PageSize::Size4K).unwrap();
    }
    let own = tables.alloc().unwrap();
    let roots = Roots { guest: root.into(), own };
    Nested::new(tables, roots, paging::mtrr::Mtrrs::none(), HOLE, FF_PAGE, (END, 1 << 46)).unwrap()
}

/// The same in EPT's format, with these MTRRs: the fixed ranges, if in force, are all write-back.
fn typed(mut tables: Tables, def_type: u64, variable: &[(u64, u64)]) -> Nested<Tables> {
    let read = |register: u32| match register {
        0xfe => 0x508,
        0x2ff => def_type & !0x400,
        0x200..0x240 => {
            let pair = variable.get((register as usize - 0x200) / 2).copied().unwrap_or_default();
            if register & 1 == 0 { pair.0 } else { pair.1 }
        }
        _ => 0,
    };
    let types = paging::mtrr::Mtrrs::read_from(36, read);
    let root = Root::ept(tables.alloc().unwrap());
    let flags = root.format.nested(true, true, paging::mtrr::MemoryType::WriteBack);
    map_typed(&mut tables, root, &types, 0..2 << 20, flags, PageSize::Size4K).unwrap();
    map_typed(&mut tables, root, &types, 2 << 20..END, flags, PageSize::Size2M).unwrap();
    let own = tables.alloc().unwrap();
    map(&mut tables, own, 0, 0, 2 << 20, WRITE | USER, PageSize::Size4K).unwrap();
    let roots = Roots { guest: root, own };
    Nested::new(tables, roots, types, HOLE, FF_PAGE, (END, 1 << 46)).unwrap()
}

impl Bench {
    /// A 32-bit guest whose nested tables say memory types.
    pub(super) fn typed(def_type: u64, variable: &[(u64, u64)]) -> Self {
        let mut this = Self::bits32();
        let tables = Tables::new(24);
        this.machine.nested = spin::Mutex::new(typed(tables.clone(), def_type, variable));
        this.tables = tables;
        this
    }

    /// As [`Self::leaf`], of tables in EPT's format.
    pub(super) fn typed_leaf(&self, gpa: u64) -> Option<u64> {
        let root = Root::ept(self.machine.nested.lock().root());
        leaf(&self.tables, root, gpa).map(|(_, entry, _)| entry)
    }

    /// A guest in real mode at 0000:7C00; four tables to spare.
    pub(super) fn new() -> Self {
        Self::with_tables(4)
    }

    pub(super) fn with_tables(spare: usize) -> Self {
        Self::with(spare, 1)
    }

    pub(super) fn with(spare: usize, cpus: u32) -> Self {
        let line = Line::default();
        let uart = |port| Uart { port, baud: 115_200 };
        let options = Options { link: uart(LINK), log: uart(LOG), wait: false, tsc_freeze: false };
        let buffers = Buffers {
            frame: Box::leak(Box::new([0; stub::PACKET])),
            scratch: Box::leak(Box::new([0; stub::PACKET])),
            patch: Box::leak(Box::new([0; crate::MICROCODE])),
        };
        let log = Log::new(Box::leak(Box::new([0; 512])), None);
        let tables = Tables::new(6 + 3 + spare);
        let (host, nested) = (ModelHost::new(), nested(tables.clone()));
        let machine = Machine::new(host, options, cpus, Some(line.clone()), buffers, nested, log);
        let mut vcpu = ModelVcpu::default();
        vcpu.init();
        vcpu.root = machine.nested.lock().root();
        vcpu.set_segment(Seg::Cs, Segment::real(0, segment::CODE16));
        vcpu.set_system(System::Rip, CODE);
        vcpu.set_system(System::Rflags, rflags::RESERVED_ONE | rflags::IF);
        Self { machine, cpu: Cpu::new(), vcpu, line, tables }
    }

    /// A guest in 32-bit flat mode without paging.
    pub(super) fn bits32() -> Self {
        let mut this = Self::new();
        this.vcpu.change(System::Cr0, cr::CR0_PE, true);
        this.flat(0xc9b);
        this
    }

    /// A guest in 64-bit mode: 4 MiB of RAM mapped to themselves at 0, for the supervisor alone.
    pub(super) fn long() -> Self {
        let mut this = Self::new();
        for (at, entry) in [
            (0x10_0000, 0x10_1000 | 3),
            (0x10_1000, 0x10_2000 | 3),
            (0x10_2000, 0x83),
            (0x10_2008, 0x20_0000 | 0x83),
        ] {
            this.write(at, &u64::to_le_bytes(entry));
        }
        this.vcpu.change(System::Cr0, cr::CR0_PE | cr::CR0_PG, true);
        this.vcpu.set_system(System::Cr3, 0x10_0000);
        this.vcpu.set_system(System::Cr4, cr::CR4_PAE);
        this.vcpu.change(System::Efer, cr::EFER_LME | cr::EFER_LMA | cr::EFER_SCE, true);
        this.flat(0xa9b);
        this
    }

    fn flat(&mut self, code: u16) {
        let flat = |attributes| Segment { selector: 8, attributes, limit: u32::MAX, base: 0 };
        for register in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
            self.vcpu.set_segment(register, flat(0xc93));
        }
        self.vcpu.set_segment(Seg::Cs, flat(code));
    }

    /// One exit, with `code` at RIP.
    pub(super) fn exit_at(&mut self, code: &[u8], exit: Exit) {
        let at = self.vcpu.segment(Seg::Cs).base + self.rip();
        self.write(at, code);
        self.exit(exit);
    }

    pub(super) fn exit(&mut self, exit: Exit) {
        self.vcpu.script.push_back(exit);
        self.once();
        assert!(self.vcpu.script.is_empty(), "the guest was not entered");
    }

    pub(super) fn once(&mut self) {
        self.line.patient_again();
        run::once(&self.machine, &mut self.cpu, &mut self.vcpu);
    }

    /// The CPU ends the stepped instruction at `rip`.
    pub(super) fn trap(&mut self, rip: u64) {
        self.vcpu.set_system(System::Rip, rip);
        self.debug_exception(x86defs::dr::DR6_BS);
    }

    /// #DB with more bits of DR6 set.
    pub(super) fn debug_exception(&mut self, dr6: u64) {
        self.vcpu.change(System::Dr6, dr6, true);
        self.exception(1, 0, 0);
    }

    pub(super) fn exception(&mut self, vector: u8, error: u32, address: u64) {
        self.exit(Exit::Exception { vector, error, address });
    }

    /// An interrupt's exit in which the analyst sends packets; his answers.
    pub(super) fn analyst(&mut self, packets: &[&str]) -> std::string::String {
        self.line.packets(packets);
        self.exit(Exit::Interrupt);
        self.line.replies()
    }

    pub(super) fn out(&mut self, port: u16, value: u8) {
        self.vcpu.gprs[0] = u64::from(value);
        self.exit(Exit::PortIo(PortIo { port, size: 1, next_rip: CODE, ..PortIo::default() }));
    }

    pub(super) fn input(&mut self, port: u16, size: u8) -> u64 {
        let io = PortIo { port, size, input: true, next_rip: CODE, ..PortIo::default() };
        self.exit(Exit::PortIo(io));
        self.vcpu.gprs[0]
    }

    pub(super) fn rip(&self) -> u64 {
        self.vcpu.system(System::Rip)
    }

    pub(super) fn flags(&self) -> u64 {
        self.vcpu.system(System::Rflags)
    }

    pub(super) fn dr6(&self) -> u64 {
        self.vcpu.system(System::Dr6)
    }

    pub(super) fn write(&self, at: u64, data: &[u8]) {
        assert!(self.machine.host.write_memory(at, data));
    }

    pub(super) fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut out = std::vec![0; len];
        assert!(self.machine.host.read_memory(at, &mut out));
        out
    }

    /// What the nested tables make of a guest-physical address: the leaf's entry.
    pub(super) fn leaf(&self, gpa: u64) -> Option<u64> {
        self.leaf_in(self.machine.nested.lock().root(), gpa)
    }

    pub(super) fn leaf_in(&self, root: u64, gpa: u64) -> Option<u64> {
        leaf(&self.tables, root, gpa).map(|(_, entry, _)| entry)
    }

    /// Whether an entry shows the hole as it is to be seen.
    pub(super) fn shows_ff(entry: Option<u64>) -> bool {
        entry.is_some_and(|it| it & !NX == FF_PAGE | PRESENT | USER)
    }

    /// What is in the log.
    pub(super) fn log(&self) -> String {
        let mut log = String::new();
        self.machine.log.lock().dump(&mut log).unwrap();
        log
    }

    pub(super) fn queued(&self) -> Option<Event> {
        self.vcpu.queued
    }
}
