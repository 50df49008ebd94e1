//! The world switch as host tests have it: a VMCS that is a map, and a CPU that checks the guest as VM entries do and then
//! does what the test says. A write that changes nothing is a failure: the VMCS is written only where it changes.
extern crate std;
use crate::capability::Controls;
use crate::check;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::vec::Vec;
use x86defs::cr;
use x86defs::vmx::{event, exit, field};

/// What the CPU does at the next VMRESUME.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// Enter, and exit with this reason; these fields are other than at the entry.
    Exit(u32, Vec<(u32, u64)>),
    /// VM-instruction error.
    Error(u32),
    /// An NMI comes before the entry.
    Nmi,
}

/// A VM entry: the event's word, error code and instruction length, and RIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entered {
    pub(crate) word: u32,
    pub(crate) error: u32,
    pub(crate) length: u64,
    pub(crate) rip: u64,
}

#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) fields: HashMap<u32, u64>,
    /// Fields in the order they were written since the last exit.
    pub(crate) written: Vec<u32>,
    pub(crate) next: VecDeque<Next>,
    pub(crate) entered: Vec<Entered>,
    pub(crate) controls: Controls,
    pub(crate) dr: [u64; 4],
    pub(crate) dr6: u64,
    pub(crate) cr0: u64,
    /// Times the VMM's own handler of NMIs ran.
    pub(crate) nmis: usize,
    tsc: u64,
}

std::thread_local! {
    static MACHINE: RefCell<Machine> = RefCell::default();
}

/// Look at the machine, or change it.
pub(crate) fn machine<R>(with: impl FnOnce(&mut Machine) -> R) -> R {
    MACHINE.with(|machine| with(&mut machine.borrow_mut()))
}

pub(crate) unsafe fn vmx_switch(gprs: *mut [u64; 16], nmi: *const u8) -> u32 {
    assert!(!gprs.is_null() && !nmi.is_null());
    machine(|machine| match machine.next.pop_front().expect("one entry more than the test has") {
        Next::Nmi => 2,
        Next::Error(error) => {
            machine.fields.insert(field::INSTRUCTION_ERROR, error.into());
            1
        }
        Next::Exit(reason, fields) => {
            machine.exit(reason, fields);
            0
        }
    })
}

impl Machine {
    fn get(&self, field: u32) -> u64 {
        self.fields.get(&field).copied().unwrap_or(0)
    }

    fn exit(&mut self, reason: u32, fields: Vec<(u32, u64)>) {
        let word = self.get(field::ENTRY_EVENT) as u32;
        if reason & exit::ENTRY_FAILED == 0 {
            assert_eq!(check::guest_state(&self.controls, &|field| self.get(field)), Ok(()));
            let (error, length) =
                (self.get(field::ENTRY_ERROR) as u32, self.get(field::ENTRY_LENGTH));
            let rip = self.get(field::GUEST_RIP);
            self.entered.push(Entered { word, error, length, rip });
            // SDM 3C, 27.2: the valid bit is cleared. What was not delivered is in the vectoring fields.
            self.fields.insert(field::ENTRY_EVENT, u64::from(word & !event::VALID));
            self.fields.insert(field::VECTORING_EVENT, 0);
            let timer = self.get(field::TIMER_VALUE);
            self.fields.insert(field::TIMER_VALUE, timer.saturating_sub(1));
        }
        self.fields.extend(fields);
        self.fields.insert(field::EXIT_REASON, reason.into());
        self.written.clear();
        self.tsc += 100;
    }
}

pub(crate) fn vmx_switch_exit() {}

pub(crate) fn vmread(field: u32) -> u64 {
    machine(|machine| machine.get(field))
}

pub(crate) fn vmwrite(field: u32, value: u64) {
    machine(|machine| {
        let before = machine.fields.insert(field, value);
        assert_ne!(before, Some(value), "field {field:#x} is written without a change");
        machine.written.push(field);
    });
}

pub(crate) fn rdmsr(_msr: u32) -> u64 {
    // What each byte of PAT may be.
    0x0007_0406_0007_0406
}

pub(crate) unsafe fn wrmsr(_msr: u32, _value: u64) {}

pub(crate) unsafe fn vmxon(_region: u64) -> bool {
    true
}

pub(crate) unsafe fn vmptrld_cleared(_region: u64) -> bool {
    true
}

pub(crate) fn invept(_eptp: Option<u64>) {}

pub(crate) fn flush_host() {}

pub(crate) fn take_nmi() {
    machine(|machine| machine.nmis += 1);
}

pub(crate) fn read_cr0() -> u64 {
    machine(|machine| machine.cr0) | cr::CR0_PE | cr::CR0_PG
}

pub(crate) unsafe fn write_cr0(value: u64) {
    machine(|machine| machine.cr0 = value);
}

pub(crate) fn read_cr2() -> u64 {
    0
}

pub(crate) unsafe fn write_cr2(_value: u64) {}

pub(crate) fn read_cr3() -> u64 {
    0
}

pub(crate) fn read_cr4() -> u64 {
    cr::CR4_PAE
}

pub(crate) unsafe fn write_cr4(_value: u64) {}

pub(crate) fn read_cr8() -> u64 {
    0
}

pub(crate) unsafe fn write_cr8(_value: u64) {}

pub(crate) fn read_dr6() -> u64 {
    machine(|machine| machine.dr6)
}

pub(crate) unsafe fn write_dr6(value: u64) {
    machine(|machine| machine.dr6 = value);
}

pub(crate) fn read_dr(n: usize) -> u64 {
    machine(|machine| machine.dr[n])
}

pub(crate) fn write_dr(n: usize, value: u64) {
    machine(|machine| machine.dr[n] = value);
}

pub(crate) fn table_bases() -> (u64, u64) {
    (0, 0)
}

pub(crate) fn tsc() -> u64 {
    machine(|machine| machine.tsc)
}
