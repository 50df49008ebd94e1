//! The registers that decide how the guest runs, written by the analyst one at a time.
//!
//! What the CPU would refuse at the next entry (APM 2, 15.5.1, "Canonicalization and Consistency Checks") is
//! refused here, and so is what the guest itself could not bring about with an instruction: bits that this CPU
//! does not have, long mode switched off or on under 64-bit code.
use super::segments;
use crate::instruction::load_pae_pointers;
use crate::{Host, debug::Hardware};
use stub::{Refused, Register, Regs};
use vcpu::{Seg, System, Vcpu};
use x86defs::{cr, dr, rflags, segment};

/// CR0's bits (APM 2, 3.1.1).
const CR0: u64 = 0x3f | cr::CR0_WP | 1 << 18 | cr::CR0_NW | cr::CR0_CD | cr::CR0_PG;
const CR4_LA57: u64 = 1 << 12;
const CR4_PCIDE: u64 = 1 << 17;
const CR4_CET: u64 = 1 << 23;

/// Leaf, register, bit, and what of CR4 there is with it (APM 2, 3.1.3).
const CR4: [(u32, usize, u32, u64); 16] = [
    (1, 3, 1, 0x3),
    (1, 3, 2, 1 << 3),
    (1, 3, 3, 1 << 4),
    (1, 3, 4, 1 << 2),
    (1, 3, 6, cr::CR4_PAE),
    (1, 3, 7, 1 << 6),
    (1, 3, 13, 1 << 7),
    (1, 3, 24, 1 << 9),
    (1, 3, 25, 1 << 10),
    (1, 2, 17, CR4_PCIDE),
    (1, 2, 26, cr::CR4_OSXSAVE),
    (7, 1, 0, 1 << 16),
    (7, 1, 7, 1 << 20),
    (7, 1, 20, 1 << 21),
    (7, 2, 2, 1 << 11),
    (7, 2, 3, cr::CR4_PKE),
];
/// The performance counters' bit needs no feature.
const CR4_PCE: u64 = 1 << 8;

/// The same of EFER (APM 2, 3.1.7).
const EFER: [(u32, usize, u32, u64); 5] = [
    (0x8000_0001, 3, 11, cr::EFER_SCE),
    (0x8000_0001, 3, 20, cr::EFER_NXE),
    (0x8000_0001, 3, 29, cr::EFER_LME),
    (0x8000_0001, 3, 25, cr::EFER_FFXSR),
    (0x8000_0001, 2, 17, cr::EFER_TCE),
];

/// The bits of `table` that this CPU has.
fn known<H: Host>(host: &H, table: &[(u32, usize, u32, u64)]) -> u64 {
    table.iter().fold(0, |bits, &(leaf, register, bit, there)| {
        let value = host.cpuid(leaf, 0).get(register).copied().unwrap_or(0);
        if value.wrapping_shr(bit) & 1 != 0 { bits | there } else { bits }
    })
}

fn require(holds: bool) -> Result<(), Refused> {
    if holds { Ok(()) } else { Err(Refused) }
}

/// Sets `register` to its value in `regs`, of which nothing else is looked at.
pub(super) fn set<H: Host>(
    host: &H,
    vcpu: &mut dyn Vcpu,
    hardware: &mut Hardware,
    register: Register,
    regs: &Regs,
) -> Result<(), Refused> {
    let value = register.get(regs);
    match register {
        Register::Cr0 => {
            require(value & !CR0 == 0)?;
            Mode { cr0: value | cr::CR0_ET, ..Mode::of(vcpu) }.apply(host, vcpu)
        }
        Register::Cr3 => cr3(host, vcpu, value),
        Register::Cr4 => {
            let mode = Mode::of(vcpu);
            require((value ^ mode.cr4) & !(known(host, &CR4) | CR4_PCE | CR4_LA57) == 0)?;
            let five_levels = host.cpuid(7, 0).get(2).is_some_and(|ecx| ecx & 1 << 16 != 0);
            // The depth of the tables does not change while they are in use (APM 2, 3.1.3).
            let depth = (value ^ mode.cr4) & CR4_LA57 != 0;
            require(!depth || five_levels && mode.efer & cr::EFER_LMA == 0)?;
            Mode { cr4: value, ..mode }.apply(host, vcpu)
        }
        Register::Efer => {
            let mode = Mode::of(vcpu);
            // LMA is the CPU's to set, SVME ours.
            let changed = (value ^ mode.efer) & !(cr::EFER_LMA | cr::EFER_SVME);
            require(value & cr::EFER_SVME == 0 && changed & !known(host, &EFER) == 0)?;
            require(changed & cr::EFER_LME == 0 || mode.cr0 & cr::CR0_PG == 0)?;
            Mode { efer: mode.efer ^ changed, ..mode }.apply(host, vcpu)
        }
        Register::Cr8 => {
            require(value <= 15)?;
            vcpu.set_system(System::Cr8, value);
            Ok(())
        }
        Register::KernelGsBase => {
            require(canonical(vcpu, value))?;
            vcpu.set_system(System::KernelGsBase, value);
            Ok(())
        }
        Register::Dr0 | Register::Dr1 | Register::Dr2 | Register::Dr3 => {
            let (_, dr7) = hardware.guest(vcpu);
            hardware.set_guest(vcpu, regs.dr, dr7);
            Ok(())
        }
        Register::Dr6 => {
            require(value >> 32 == 0)?;
            let writable = dr::DR6_B | dr::DR6_BD | dr::DR6_BS | 1 << 15;
            vcpu.set_system(System::Dr6, value & writable | dr::DR6_INIT);
            Ok(())
        }
        Register::Dr7 => {
            require(value >> 32 == 0)?;
            let (address, _) = hardware.guest(vcpu);
            hardware.set_guest(vcpu, address, value & 0xffff_23ff | dr::DR7_INIT);
            Ok(())
        }
        _ => segments::set(vcpu, register, regs),
    }
}

/// The bits of CR3 that switch linear-address masking on (SDM 3A, 4.5.2, Intel's CPUs of 2023 and later).
fn lam<H: Host>(host: &H, mode: Mode) -> u64 {
    let [subleaves, ..] = host.cpuid(7, 0);
    let has = mode.efer & cr::EFER_LMA != 0 && subleaves >= 1 && host.cpuid(7, 1)[0] & 1 << 26 != 0;
    if has { 3 << 61 } else { 0 }
}

/// CR3 has as many bits as a physical address, 32 outside long mode (APM 2, 5.3.2 and 5.2.1).
fn cr3<H: Host>(host: &H, vcpu: &mut dyn Vcpu, value: u64) -> Result<(), Refused> {
    let mode = Mode::of(vcpu);
    let bits = if mode.efer & cr::EFER_LMA == 0 {
        32
    } else {
        let [eax, ..] = host.cpuid(0x8000_0008, 0);
        require(mode.cr4 & CR4_PCIDE != 0 || value & 0xfe7 == 0)?;
        (eax & 0xff).clamp(32, 52)
    };
    require((value & !lam(host, mode)).wrapping_shr(bits) == 0)?;
    vcpu.set_system(System::Cr3, value);
    load_pae_pointers(host, vcpu);
    vcpu.flush();
    Ok(())
}

/// Whether bits 63 down to the highest of a linear address are the same.
pub(super) fn canonical(vcpu: &dyn Vcpu, address: u64) -> bool {
    let unused = if vcpu.system(System::Cr4) & CR4_LA57 == 0 { 16_u32 } else { 7 };
    (address.wrapping_shl(unused) as i64).wrapping_shr(unused) as u64 == address
}

/// What must fit together. EFER is as the CPU has it, SVME included.
#[derive(Clone, Copy)]
pub(super) struct Mode {
    cr0: u64,
    cr4: u64,
    efer: u64,
    /// Attributes of CS.
    code: u16,
}

impl Mode {
    pub(super) fn of(vcpu: &dyn Vcpu) -> Self {
        Mode {
            cr0: vcpu.system(System::Cr0),
            cr4: vcpu.system(System::Cr4),
            efer: vcpu.system(System::Efer),
            code: vcpu.segment(Seg::Cs).attributes,
        }
    }

    /// Whether CS may have these attributes: none is 64-bit and 32-bit code at once.
    pub(super) fn allows(self, code: u16) -> bool {
        const BOTH: u16 = segment::ATTR_L | segment::ATTR_DB;
        self.efer & cr::EFER_LMA == 0 || code & BOTH != BOTH
    }

    fn apply<H: Host>(mut self, host: &H, vcpu: &mut dyn Vcpu) -> Result<(), Refused> {
        let old = self.efer;
        let cr0 = |bit| self.cr0 & bit != 0;
        let long = self.efer & cr::EFER_LME != 0 && cr0(cr::CR0_PG);
        self.efer = self.efer & !cr::EFER_LMA | if long { cr::EFER_LMA } else { 0 };
        require(cr0(cr::CR0_CD) || !cr0(cr::CR0_NW))?;
        require(cr0(cr::CR0_PE) || !cr0(cr::CR0_PG))?;
        // Real mode has privilege level 0 alone, and no virtual-8086 mode.
        let virtual_8086 = vcpu.system(System::Rflags) & rflags::VM != 0;
        require(cr0(cr::CR0_PE) || !virtual_8086 && vcpu.cpl() == 0)?;
        require(!long || self.cr4 & cr::CR4_PAE != 0 && !virtual_8086)?;
        require(long || self.cr4 & CR4_PCIDE == 0)?;
        require(cr0(cr::CR0_WP) || self.cr4 & CR4_CET == 0)?;
        require((old ^ self.efer) & cr::EFER_LMA == 0 || self.code & segment::ATTR_L == 0)?;
        require(self.allows(self.code))?;
        vcpu.set_system(System::Cr0, self.cr0);
        vcpu.set_system(System::Cr4, self.cr4);
        vcpu.set_system(System::Efer, self.efer);
        load_pae_pointers(host, vcpu);
        vcpu.flush();
        Ok(())
    }
}
