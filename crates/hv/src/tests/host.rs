//! A machine with a little RAM, some MSRs and ports that remember.
use super::line::Line;
use super::std;
use crate::Host;
use handover::{Note, Range, Span};
use paging::table::TableMemory;
use paging::walk::PhysRead;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

/// Bytes of RAM, from 0 on.
pub(super) const RAM: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct ModelHost {
    pub(super) ram: RefCell<Vec<u8>>,
    pub(super) msrs: RefCell<BTreeMap<u32, u64>>,
    /// Bits EFER lets be written.
    pub(super) efer_bits: u64,
    pub(super) written_msrs: RefCell<Vec<(u32, u64)>>,
    pub(super) cpuid: RefCell<BTreeMap<u32, [u32; 4]>>,
    /// Values that ports read as, FFh if absent.
    pub(super) inputs: RefCell<BTreeMap<u16, u8>>,
    pub(super) read_ports: RefCell<Vec<u16>>,
    pub(super) outputs: RefCell<Vec<(u16, u8)>>,
    pub(super) apic: RefCell<BTreeMap<u16, u32>>,
    pub(super) written_apic: RefCell<Vec<(u16, u32)>>,
    pub(super) patches: RefCell<Vec<Vec<u8>>>,
    pub(super) tsc: Cell<u64>,
    pub(super) resets: Cell<u32>,
    pub(super) notes: RefCell<Vec<Note>>,
    pub(super) write_backs: Cell<u32>,
}

impl ModelHost {
    pub(super) fn new() -> Self {
        Self {
            ram: RefCell::new(std::vec![0; RAM]),
            msrs: RefCell::default(),
            efer_bits: 0x5d01,
            written_msrs: RefCell::default(),
            cpuid: RefCell::default(),
            inputs: RefCell::default(),
            read_ports: RefCell::default(),
            outputs: RefCell::default(),
            apic: RefCell::default(),
            written_apic: RefCell::default(),
            patches: RefCell::default(),
            tsc: Cell::default(),
            resets: Cell::default(),
            notes: RefCell::default(),
            write_backs: Cell::default(),
        }
    }

    fn bytes<const N: usize>(&self, gpa: u64) -> Option<[u8; N]> {
        let mut out = [0; N];
        self.read_memory(gpa, &mut out).then_some(out)
    }
}

impl PhysRead for ModelHost {
    fn read_u32(&self, gpa: u64) -> Option<u32> {
        self.bytes(gpa).map(u32::from_le_bytes)
    }
    fn read_u64(&self, gpa: u64) -> Option<u64> {
        self.bytes(gpa).map(u64::from_le_bytes)
    }
}

fn range(gpa: u64, len: usize) -> Option<core::ops::Range<usize>> {
    let at = usize::try_from(gpa).ok()?;
    Some(at..at.checked_add(len)?)
}

impl Host for ModelHost {
    type Tables = Tables;
    type Link = Line;

    fn cpuid(&self, leaf: u32, _subleaf: u32) -> [u32; 4] {
        self.cpuid.borrow().get(&leaf).copied().unwrap_or([u32::MAX; 4])
    }
    /// A thousand ticks pass between any two looks.
    fn tsc(&self) -> u64 {
        self.tsc.set(self.tsc.get() + 1_000);
        self.tsc.get()
    }
    fn read_msr(&self, msr: u32) -> Option<u64> {
        self.msrs.borrow().get(&msr).copied()
    }
    fn write_msr(&self, msr: u32, value: u64) -> bool {
        self.written_msrs.borrow_mut().push((msr, value));
        if msr == x86defs::msr::EFER && value & !self.efer_bits != 0 {
            return false;
        }
        match self.msrs.borrow_mut().get_mut(&msr) {
            Some(place) => *place = value,
            None => return false,
        }
        true
    }
    fn write_xcr(&self, register: u32, value: u64) -> bool {
        register == 0 && value & 1 != 0
    }
    fn load_microcode(&self, patch: &[u8; crate::MICROCODE]) -> bool {
        self.patches.borrow_mut().push(patch.to_vec());
        true
    }
    fn port_in(&self, port: u16) -> u8 {
        self.read_ports.borrow_mut().push(port);
        self.inputs.borrow().get(&port).copied().unwrap_or(0xff)
    }
    fn port_out(&self, port: u16, value: u8) {
        self.outputs.borrow_mut().push((port, value));
    }
    fn apic_read(&self, register: u16) -> u32 {
        self.apic.borrow().get(&register).copied().unwrap_or(0)
    }
    fn apic_write(&self, register: u16, value: u32) {
        self.apic.borrow_mut().insert(register, value);
        self.written_apic.borrow_mut().push((register, value));
    }
    fn write_back_caches(&self) {
        self.write_backs.set(self.write_backs.get() + 1);
    }
    fn leave_note(&self, note: Note) {
        self.notes.borrow_mut().push(note);
    }
    fn map(&self) -> &[Range] {
        const MAP: &[Range] = &[
            Range { span: Span { base: 0, len: 0x9_f000 }, kind: 1 },
            Range { span: Span { base: 0x9_f000, len: 0x6_1000 }, kind: 2 },
            Range { span: Span { base: 0x10_0000, len: 0x30_0000 }, kind: 1 },
            Range { span: Span { base: 0xfffc_0000, len: 0x4_0000 }, kind: 9 },
        ];
        MAP
    }
    fn hole(&self) -> Span {
        Span { base: 0x60_0000, len: 0x1_0000 }
    }
    fn extent(&self, gpa: u64) -> (u64, u64, bool) {
        let end = RAM as u64;
        if gpa < end { (0, end - 1, true) } else { (end, u64::MAX, false) }
    }
    fn reset(&self) {
        self.resets.set(self.resets.get() + 1);
    }
    fn read_u16(&self, gpa: u64) -> Option<u16> {
        assert!(gpa & 0xfff != 0xfff, "two bytes within a page");
        self.bytes(gpa).map(u16::from_le_bytes)
    }
    fn read_memory(&self, gpa: u64, out: &mut [u8]) -> bool {
        let ram = self.ram.borrow();
        let from = range(gpa, out.len()).and_then(|range| ram.get(range));
        from.map(|from| out.copy_from_slice(from)).is_some()
    }
    fn read_own(&self, address: u64, out: &mut [u8]) -> bool {
        assert!(address >= handover::VMM_BASE, "there may be a device at {address:#x}");
        out.fill(0xab);
        true
    }
    fn write_memory(&self, gpa: u64, data: &[u8]) -> bool {
        let mut ram = self.ram.borrow_mut();
        let to = range(gpa, data.len()).and_then(|range| ram.get_mut(range));
        to.map(|to| to.copy_from_slice(data)).is_some()
    }
}

/// Pages for tables, from an address where nothing else is. Copies are the same pages.
#[derive(Clone, Debug)]
pub(super) struct Tables(Rc<RefCell<Pages>>);

#[derive(Debug)]
struct Pages {
    pages: Vec<[u64; 512]>,
    free: Vec<u64>,
    most: usize,
}

const FIRST: u64 = 0x5000_0000;

impl Tables {
    pub(super) fn new(most: usize) -> Self {
        Self(Rc::new(RefCell::new(Pages { pages: Vec::new(), free: Vec::new(), most })))
    }
}

fn place(hpa: u64) -> (usize, usize) {
    let at = usize::try_from(hpa.checked_sub(FIRST).expect("a table page")).unwrap();
    assert_eq!(at & 7, 0);
    (at >> 12, at >> 3 & 511)
}

impl TableMemory for Tables {
    fn alloc(&mut self) -> Option<u64> {
        let mut this = self.0.borrow_mut();
        if let Some(hpa) = this.free.pop() {
            this.pages[place(hpa).0] = [0; 512];
            return Some(hpa);
        }
        (this.pages.len() < this.most).then(|| {
            this.pages.push([0; 512]);
            FIRST + (this.pages.len() as u64 - 1) * 0x1000
        })
    }
    fn free(&mut self, hpa: u64) {
        let mut this = self.0.borrow_mut();
        assert!(place(hpa).0 < this.pages.len());
        assert!(!this.free.contains(&hpa), "freed twice");
        this.free.push(hpa);
    }
    fn read(&self, hpa: u64) -> u64 {
        let this = self.0.borrow();
        assert!(!this.free.contains(&(hpa & !0xfff)), "read after it was freed");
        let (page, entry) = place(hpa);
        this.pages[page][entry]
    }
    fn write(&mut self, hpa: u64, entry: u64) {
        let (page, slot) = place(hpa);
        self.0.borrow_mut().pages[page][slot] = entry;
    }
}
