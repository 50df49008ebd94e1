//! The machine under the VMM ([`hv::Host`]).
use crate::memory::{Ram, Tables};
use core::arch::asm;
use core::arch::x86_64::__cpuid_count;
use handover::{MAX_MAP, Note, Range, Reset, Span};
use link::{CpuPorts, Ports, uart::Uart};
use paging::walk::PhysRead;
use x86defs::{cr, msr};

unsafe extern "C" {
    fn msr_read(msr: u32, value: *mut u64) -> u32;
    fn msr_write(msr: u32, value: u64) -> u32;
    fn xcr_write(register: u32, value: u64) -> u32;
    fn reset_last() -> !;
    fn memory_read(to: *mut u8, from: u64, len: usize) -> u32;
}

/// This machine.
pub(crate) struct Pc {
    pub(crate) ram: Ram,
    pub(crate) reset: Reset,
    pub(crate) hole: Span,
    /// The firmware's map, and how many ranges it has.
    pub(crate) map: ([Range; MAX_MAP], usize),
    /// Where a note is left for the next life. Setup wipes it.
    pub(crate) notes: *mut Notes,
    /// There is a global interrupt flag, 0 while the VMM runs (APM 2, 15.17): AMD's.
    pub(crate) gif: bool,
}

/// Room for many copies of a note: the firmware and the boot loader may write on some before setup looks.
pub(crate) type Notes = [[u64; 4]; 2048];

fn ports() -> CpuPorts {
    // SAFETY: the VMM runs at CPL 0; it forwards the guest's own accesses and resets the machine.
    unsafe { CpuPorts::new() }
}

/// The ports of a line.
pub(crate) struct LinePorts {
    ports: CpuPorts,
    /// GIF is 1 whenever somebody waits.
    open: bool,
}

impl Ports for LinePorts {
    fn read(&mut self, port: u16) -> u8 {
        self.ports.read(port)
    }

    fn write(&mut self, port: u16, value: u8) {
        self.ports.write(port, value);
    }

    fn breathe(&mut self) {
        // Without SVM there is no GIF (APM 2, 15.17), and nothing is held.
        if !self.open && try_msr(msr::EFER) & cr::EFER_SVME != 0 {
            // SAFETY: as in `port_in`: SMIs are served, an NMI or INIT sets its flag.
            unsafe { asm!("stgi", "nop", "clgi", options(nostack)) };
        }
    }
}

/// A line.
pub(crate) type Line = Uart<LinePorts>;

/// A UART as the command line gives it, set up; `None` if it gives none.
pub(crate) fn uart(options: handover::Uart) -> Option<Line> {
    let ports = LinePorts { ports: ports(), open: false };
    (options.port != 0).then(|| Uart::new(ports, options.port, options.baud))
}

/// The UART at this port as it is, for one that leaves GIF at 1.
pub(crate) fn adopt(port: u16) -> Line {
    Uart::adopt(LinePorts { ports: ports(), open: true }, port)
}

/// Read memory by the VMM's own address; false if some of it is not mapped.
pub(crate) fn read_own(address: u64, out: &mut [u8]) -> bool {
    // SAFETY: only `out` is written; a read that faults is refused.
    unsafe { memory_read(out.as_mut_ptr(), address, out.len()) != 0 }
}

pub(crate) fn try_msr(register: u32) -> u64 {
    let mut value = 0;
    // SAFETY: reading an MSR changes no memory; #GP is caught.
    unsafe { msr_read(register, &mut value) };
    value
}

/// What the CPU says of a machine check: MCG_STATUS, the first bank with a valid error and its status.
pub(crate) fn machine_check() -> (u64, u32, u64) {
    const VALID: u64 = 1 << 63;
    let banks = try_msr(msr::MCG_CAP) as u32 & 0xff;
    let status = |bank: u32| try_msr(msr::MC0_STATUS + bank * 4);
    let bank = (0..banks).find(|bank| status(*bank) & VALID != 0).unwrap_or(banks);
    (try_msr(msr::MCG_STATUS), bank, if bank < banks { status(bank) } else { 0 })
}

/// A register of the local APIC, where `hv` maps it.
fn apic(register: u16) -> *mut u32 {
    (hv::APIC_WINDOW + u64::from(register & 0xff0)) as *mut u32
}

impl PhysRead for Pc {
    #[inline(always)]
    fn read_u32(&self, gpa: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.ram.read(gpa, &mut bytes).then(|| u32::from_le_bytes(bytes))
    }

    #[inline(always)]
    fn read_u64(&self, gpa: u64) -> Option<u64> {
        self.ram.read_u64(gpa)
    }
}

impl hv::Host for Pc {
    type Tables = Tables;
    type Link = Line;

    #[inline]
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let found = __cpuid_count(leaf, subleaf);
        [found.eax, found.ebx, found.ecx, found.edx]
    }

    fn tsc(&self) -> u64 {
        // SAFETY: every 64-bit CPU has the instruction, and it changes nothing.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    fn read_msr(&self, msr: u32) -> Option<u64> {
        let mut value = 0;
        // SAFETY: reading an MSR changes no memory; #GP is caught.
        let done = unsafe { msr_read(msr, &mut value) };
        (done != 0).then_some(value)
    }

    fn write_msr(&self, msr: u32, value: u64) -> bool {
        // SAFETY: the callers are the guest's own MSRs, which the machine is free to have, and EFER
        // with the VMM's bits kept; #GP is caught.
        unsafe { msr_write(msr, value) != 0 }
    }

    fn write_xcr(&self, register: u32, value: u64) -> bool {
        // SAFETY: what extended state the guest has on is nothing to the VMM, which uses none; #GP is caught, and CR4
        // is as before afterwards.
        unsafe { xcr_write(register, value) != 0 }
    }

    fn load_microcode(&self, patch: &[u8; hv::MICROCODE]) -> bool {
        // SAFETY: the CPU reads the patch and checks its signature; #GP is caught.
        unsafe { msr_write(msr::PATCH_LOADER, patch.as_ptr() as u64) != 0 }
    }

    fn port_in(&self, port: u16) -> u8 {
        if !self.gif {
            return ports().read(port);
        }
        let value: u8;
        // SAFETY: the port is the guest's. GIF is 1 for this one instruction, for a board that emulates it
        // by an SMI answers with the instruction (APM 2, 15.17); interrupts are off, an NMI sets its flag.
        unsafe {
            asm!("stgi", "in al, dx", "clgi", in("dx") port, out("al") value, options(nostack))
        };
        value
    }

    fn port_out(&self, port: u16, value: u8) {
        if !self.gif {
            ports().write(port, value);
            return;
        }
        // SAFETY: as above.
        unsafe {
            asm!("stgi", "out dx, al", "clgi", in("dx") port, in("al") value, options(nostack))
        };
    }

    fn apic_read(&self, register: u16) -> u32 {
        // SAFETY: `hv` asks only while its window maps the APIC's page; registers are aligned words.
        unsafe { apic(register).read_volatile() }
    }

    fn apic_write(&self, register: u16, value: u32) {
        // SAFETY: as above; the value is the guest's own, filtered.
        unsafe { apic(register).write_volatile(value) };
    }

    fn write_back_caches(&self) {
        // SAFETY: only writes caches back.
        unsafe { asm!("wbinvd", options(nostack)) };
    }

    fn leave_note(&self, note: Note) {
        for n in 0..size_of::<Notes>() / size_of::<[u64; 4]>() {
            // SAFETY: carved for this, and written here alone. Volatile, for it is another program that reads it.
            unsafe { self.notes.cast::<[u64; 4]>().add(n).write_volatile(note.words()) };
        }
        // A reset may drop what the caches hold.
        self.write_back_caches();
    }

    fn map(&self) -> &[Range] {
        self.map.0.get(..self.map.1).unwrap_or_default()
    }

    fn extent(&self, gpa: u64) -> (u64, u64, bool) {
        self.ram.extent(gpa)
    }

    fn hole(&self) -> Span {
        self.hole
    }

    fn reset(&self) {
        let mut ports = ports();
        if self.reset.port != 0 {
            ports.write(self.reset.port, self.reset.value);
        }
        // PIIX/ICH reset control: a hard reset, which may take a moment (each read of port 61h about 1 microsecond).
        ports.write(0xcf9, 0x02);
        ports.write(0xcf9, 0x06);
        for _ in 0..0x1_0000 {
            ports.read(0x61);
        }
        // SAFETY: the guest does not run again, and nothing of the VMM is needed.
        unsafe { reset_last() }
    }

    #[inline(always)]
    fn read_u16(&self, gpa: u64) -> Option<u16> {
        self.ram.read_u16(gpa)
    }

    fn read_memory(&self, gpa: u64, out: &mut [u8]) -> bool {
        self.ram.read(gpa, out)
    }

    fn read_own(&self, address: u64, out: &mut [u8]) -> bool {
        read_own(address, out)
    }

    fn write_memory(&self, gpa: u64, data: &[u8]) -> bool {
        self.ram.write(gpa, data)
    }
}
