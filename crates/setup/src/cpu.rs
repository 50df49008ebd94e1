//! Whether this CPU can run the VMM, and the few instructions setup itself needs.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, CpuidResult};
use core::fmt;

use paging::mtrr::Mtrrs;
use x86defs::cr::{CR0_WP, EFER_NXE};
use x86defs::vmx::control::{pin, primary, secondary};
use x86defs::vmx::{basic, ept_vpid, feature_control};
use x86defs::{addresses, msr};

/// Why the CPU cannot run the VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// No SVM (CPUID 8000_0001h ECX bit 2).
    NoSvm,
    /// The firmware has switched SVM off (VM_CR.SVMDIS; `AMD APM 2, 15.4`).
    SvmDisabled,
    /// No nested paging (CPUID 8000_000Ah EDX bit 0).
    NoNestedPaging,
    /// An Intel CPU without VMX (CPUID 1 ECX bit 5).
    NoVmx,
    /// The firmware has switched VMX off (IA32_FEATURE_CONTROL; `Intel SDM 3C, 23.7`).
    VmxDisabled,
    /// VMX without this.
    VmxLacks(&'static str),
    /// No no-execute pages (CPUID 8000_0001h EDX bit 20).
    NoNx,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unfit::NoSvm => {
                "this CPU has no SVM, or Ramooflax runs already and conceals it. Expected: an AMD \
                 CPU with SVM and nested paging. Use such a machine or, under an emulator, such a \
                 CPU model; if Ramooflax runs, add boot=next to its options."
            }
            Unfit::SvmDisabled => {
                "SVM is switched off by the firmware (VM_CR.SVMDIS = 1). Expected: SVM available. \
                 Switch on SVM (AMD-V) in the firmware's setup."
            }
            Unfit::NoNestedPaging => {
                "this CPU has SVM but no nested paging. Expected: both. Use a newer CPU; under \
                 an emulator, switch on the NPT feature."
            }
            Unfit::NoVmx => {
                "this CPU has no VMX, or Ramooflax runs already and conceals it. Expected: an Intel CPU \
                 with VMX, EPT and unrestricted guest. Use such a machine or, under an emulator, such a CPU \
                 model; if Ramooflax runs, add boot=next to its options."
            }
            Unfit::VmxDisabled => {
                "VMX is switched off and locked by the firmware (IA32_FEATURE_CONTROL). Expected: VMX \
                 available. Switch on VT-x (Intel Virtualization Technology) in the firmware's setup."
            }
            Unfit::VmxLacks(what) => {
                return write!(
                    f,
                    "this CPU has VMX but no {what}. Expected: both. Use a newer CPU, from 2010 or \
                     later."
                );
            }
            Unfit::NoNx => {
                "this CPU offers no no-execute pages. Expected: NX. Switch it on in the \
                 firmware's setup."
            }
        })
    }
}

/// What setup must know of a CPU that can run the VMM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    /// 1 GiB pages (CPUID 8000_0001h EDX bit 26).
    pub(crate) page_1gb: bool,
    /// Its initial local APIC id (CPUID 1 EBX bits 31:24).
    pub(crate) apic_id: u8,
    /// Threads of the processor it is part of (CPUID 8000_0008h ECX bits 7:0, plus 1).
    pub(crate) threads: u32,
    /// Where its physical addresses end, or those that nested tables may map.
    pub(crate) addresses: u64,
    /// Its MTRRs, where the nested tables must say what they say: under VMX.
    pub(crate) types: Option<Mtrrs>,
}

/// Checks a CPU by its CPUID leaves (`cpuid`) and its MSRs (`msr`, asked only for what it has).
///
/// # Errors
/// The first thing missing.
pub(crate) fn check(
    cpuid: impl Fn(u32) -> CpuidResult,
    msr: impl Fn(u32) -> u64,
) -> Result<Features, Unfit> {
    let last = cpuid(0x8000_0000).eax;
    let svm = last >= 0x8000_0001 && cpuid(0x8000_0001).ecx & 1 << 2 != 0;
    let vmx = !svm && is_intel(&cpuid(0));
    if vmx {
        check_vmx(&cpuid, &msr)?;
    } else if !svm {
        return Err(Unfit::NoSvm);
    } else if msr(msr::VM_CR) & msr::VM_CR_SVMDIS != 0 {
        return Err(Unfit::SvmDisabled);
    } else if last < 0x8000_000a || cpuid(0x8000_000a).edx & 1 == 0 {
        return Err(Unfit::NoNestedPaging);
    }
    let extended = cpuid(0x8000_0001).edx;
    if extended & 1 << 20 == 0 {
        return Err(Unfit::NoNx);
    }
    let first = cpuid(1);
    let [.., logical, apic_id] = first.ebx.to_le_bytes();
    // The leaf exists where nested paging does (AMD) or 64-bit code does (Intel, which says nothing of threads here).
    let sizes = cpuid(0x8000_0008);
    let threads = if !vmx {
        (sizes.ecx & 0xff) + 1
    } else if first.edx & 1 << 28 != 0 {
        u32::from(logical).max(1)
    } else {
        1
    };
    let addresses = addresses::end(&cpuid, &msr);
    let large = extended & 1 << 26 != 0;
    let page_1gb = large && (!vmx || msr(msr::VMX_EPT_VPID) & ept_vpid::PAGE_1G != 0);
    let mtrrs = vmx && first.edx & 1 << 12 != 0;
    let types = mtrrs.then(|| Mtrrs::read_from(sizes.eax as u8, &msr));
    let types = vmx.then(|| types.unwrap_or(Mtrrs::none()));
    Ok(Features { page_1gb, apic_id, threads, addresses, types })
}

/// Whether leaf 0 says GenuineIntel.
fn is_intel(leaf: &CpuidResult) -> bool {
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

/// How it is named that nested tables are missing; without secondary controls there are none.
const EPT: &str = "extended page tables (EPT)";

/// What the resident cannot do without (SDM 3D, appendix A). It looks closer, and says so itself if it must refuse.
fn check_vmx(cpuid: impl Fn(u32) -> CpuidResult, msr: impl Fn(u32) -> u64) -> Result<(), Unfit> {
    if cpuid(1).ecx & 1 << 5 == 0 {
        return Err(Unfit::NoVmx);
    }
    let allowed = msr(msr::FEATURE_CONTROL);
    if allowed & feature_control::LOCK != 0 && allowed & feature_control::VMX == 0 {
        return Err(Unfit::VmxDisabled);
    }
    // What a CPU is known by first. An MSR behind another exists only where that allows what it is about.
    for (capability, bit, name) in [
        (msr::VMX_PRIMARY, primary::SECONDARY, EPT),
        (msr::VMX_SECONDARY, secondary::EPT, EPT),
        (msr::VMX_SECONDARY, secondary::UNRESTRICTED, "unrestricted guest"),
        (msr::VMX_SECONDARY, secondary::VPID, "VPID"),
        (msr::VMX_PIN, pin::TIMER, "preemption timer"),
        (msr::VMX_PIN, pin::VIRTUAL_NMIS, "virtual NMIs"),
    ] {
        if (msr(capability) >> 32) as u32 & bit == 0 {
            return Err(Unfit::VmxLacks(name));
        }
    }
    if msr(msr::VMX_BASIC) & basic::TRUE_CONTROLS == 0 {
        return Err(Unfit::VmxLacks("flexible controls"));
    }
    Ok(())
}

/// [`check`] for the CPU that executes this.
///
/// # Errors
/// The first thing missing.
pub(crate) fn check_this() -> Result<Features, Unfit> {
    // SAFETY: `check` asks only for MSRs that exist where CPUID reports what it looked at before.
    check(__cpuid, |register| unsafe { rdmsr(register) })
}

/// Leaves setup for good: no-execute and write protection on, the tables at `cr3`, the stack that
/// ends at `stack_top`, `entry(handover)`.
///
/// # Safety
/// `cr3` maps the running code where it runs, `stack_top` (a multiple of 16), `entry` and
/// `handover`; `entry` is an `extern "C" fn(&'static HandOver) -> !`; interrupts are off; the CPU
/// has NX.
pub(crate) unsafe fn enter(cr3: u64, stack_top: u64, entry: u64, handover: u64) -> ! {
    // SAFETY: EFER exists in long mode and NX in this CPU; both bits only restrict what pages
    // allow, and the code that runs now is executable in both sets of tables.
    unsafe {
        wrmsr(msr::EFER, rdmsr(msr::EFER) | EFER_NXE);
        asm!("mov {0}, cr0", "or {0}, {wp}", "mov cr0, {0}", out(reg) _, wp = const CR0_WP);
    }
    // SAFETY: the caller vouches for the tables, the stack and the entry. The word pushed stands
    // where a caller's return address would, which also gives the stack the alignment the ABI has
    // at a function's entry (System V ABI, AMD64 supplement, 3.2.2).
    unsafe {
        asm!(
            "mov cr3, {cr3}",
            "mov rsp, {stack}",
            "push 0",
            "xor ebp, ebp",
            "cld",
            "jmp {entry}",
            cr3 = in(reg) cr3,
            stack = in(reg) stack_top,
            entry = in(reg) entry,
            in("rdi") handover,
            options(noreturn)
        )
    }
}

/// Stops this CPU for good.
pub fn halt() -> ! {
    loop {
        // SAFETY: nothing depends on this CPU any more.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// # Safety
/// The MSR exists.
unsafe fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading an MSR that exists changes nothing.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nomem, nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// # Safety
/// The MSR exists and takes `value`, and the running code stays correct under it.
unsafe fn wrmsr(msr: u32, value: u64) {
    let (low, high) = (value & 0xffff_ffff, value >> 32);
    // SAFETY: the caller's.
    unsafe { asm!("wrmsr", in("ecx") msr, in("rax") low, in("rdx") high, options(nostack)) };
}

/// Reads an I/O port.
///
/// # Safety
/// Reading the port has no effect on memory.
pub(crate) unsafe fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: the caller's.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) };
    value
}

/// Writes an I/O port.
///
/// # Safety
/// Writing the port has no effect on memory.
pub(crate) unsafe fn outb(port: u16, value: u8) {
    // SAFETY: the caller's.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(svm: bool, npt: bool, edx: u32) -> impl Fn(u32) -> CpuidResult {
        move |leaf| {
            let (mut eax, mut ebx, mut ecx, mut out) = (0, 0, 0, 0);
            match leaf {
                1 => ebx = 0x0700_0800,
                0x8000_0000 => eax = 0x8000_000a,
                0x8000_0001 => (ecx, out) = (u32::from(svm) << 2, edx),
                0x8000_0008 => (eax, ecx) = (0x3028, 0x300f),
                0x8000_000a => out = u32::from(npt),
                _ => {}
            }
            CpuidResult { eax, ebx, ecx, edx: out }
        }
    }

    const NX: u32 = 1 << 20;

    #[test]
    fn a_fit_cpu_is_described() {
        let features = check(cpu(true, true, NX | 1 << 26), |_| 0);
        let expected =
            Features { page_1gb: true, apic_id: 7, threads: 16, addresses: 1 << 40, types: None };
        assert_eq!(features, Ok(expected));
        assert!(!check(cpu(true, true, NX), |_| 0).unwrap().page_1gb);
    }

    #[test]
    fn each_lack_is_named() {
        let no_msr = |_| unreachable!("VM_CR read without SVM");
        assert_eq!(check(cpu(false, true, NX), no_msr), Err(Unfit::NoSvm));
        assert_eq!(check(cpu(true, true, NX), |_| 1 << 4), Err(Unfit::SvmDisabled));
        assert_eq!(check(cpu(true, false, NX), |_| 0), Err(Unfit::NoNestedPaging));
        assert_eq!(check(cpu(true, true, 0), |_| 0), Err(Unfit::NoNx));
    }

    fn intel(ecx: u32) -> impl Fn(u32) -> CpuidResult {
        move |leaf| {
            let plain = cpu(false, false, NX | 1 << 26)(leaf);
            match leaf {
                0 => CpuidResult { eax: 13, ebx: 0x756e_6547, ecx: 0x6c65_746e, edx: 0x4965_6e69 },
                1 => CpuidResult { ebx: 0x0304_0800, ecx, edx: 1 << 28 | 1 << 12, ..plain },
                0x8000_0000 => CpuidResult { eax: 0x8000_0008, ..plain },
                0x8000_0008 => CpuidResult { eax: 0x3027, ecx: 0, ..plain },
                _ => plain,
            }
        }
    }

    #[test]
    fn an_intel_cpu_is_described() {
        let all = |register| match register {
            msr::FEATURE_CONTROL | msr::MTRR_CAP => 0,
            _ => u64::MAX,
        };
        let found = check(intel(1 << 5), all).unwrap();
        assert_eq!((found.apic_id, found.threads, found.addresses), (3, 4, 1 << 39));
        assert!(found.page_1gb && found.types.is_some());
    }

    #[test]
    fn each_lack_of_vmx_is_named() {
        let with = |changed: u32, value: u64| {
            move |register| match register {
                _ if register == changed => value,
                msr::FEATURE_CONTROL | msr::MTRR_CAP => 0,
                _ => u64::MAX,
            }
        };
        let lack = |register, value| check(intel(1 << 5), with(register, value)).unwrap_err();
        assert_eq!(check(intel(0), |_| 0), Err(Unfit::NoVmx));
        assert_eq!(lack(msr::FEATURE_CONTROL, 1), Unfit::VmxDisabled);
        assert!(check(intel(1 << 5), with(msr::FEATURE_CONTROL, 5)).is_ok());
        assert_eq!(lack(msr::VMX_BASIC, 0), Unfit::VmxLacks("flexible controls"));
        assert_eq!(lack(msr::VMX_SECONDARY, 0x2a << 32), Unfit::VmxLacks("unrestricted guest"));
        assert_eq!(lack(msr::VMX_PIN, 0), Unfit::VmxLacks("preemption timer"));
        // A Core 2: its MSR of secondary controls exists, those of flexible controls do not.
        let old = |register| match register {
            msr::VMX_TRUE_PIN.. => unreachable!("MSR {register:#x} where there is none"),
            msr::FEATURE_CONTROL | msr::VMX_BASIC => 0,
            msr::VMX_SECONDARY => 1 << 32,
            _ => u64::from(u32::MAX) << 32,
        };
        assert_eq!(check(intel(1 << 5), old), Err(Unfit::VmxLacks(EPT)));
    }
}
