//! The MSRs the VMM shadows or conceals; all others are the CPU's own.
use crate::instruction::{edx_eax, inject_gp, set_edx_eax, skip};
use crate::{Cpu, Host, Machine, apic, counter, microcode, probe, tsc};
use emu::Opcode;
use paging::mtrr::{MAX_VARIABLE, MTRR_DEF_TYPE, MTRR_FIX, MTRR_PHYSBASE0};
use vcpu::{Gpr, System, Vcpu};
use x86defs::vmx::feature_control;
use x86defs::{cr, msr};

/// MSRs that do not exist for the guest, whose CPUID reports no SVM and no SEV.
const CONCEALED: [u32; 9] = [
    msr::VM_CR,
    msr::SMM_CTL,
    msr::VM_HSAVE_PA,
    msr::SVM_KEY,
    msr::TSC_RATIO,
    msr::AVIC_DOORBELL,
    msr::VMPAGE_FLUSH,
    msr::SEV_ES_GHCB,
    msr::SEV_STATUS,
];

/// MSRs that decide where memory is, or with which key. The firmware has set them, no OS changes them, and a change could lay
/// something else over the VMM: only the value they have can be written.
const FIXED: [u32; 13] = [
    msr::TME_ACTIVATE,
    msr::IORR_BASE0,
    msr::IORR_BASE0 + 1,
    msr::IORR_BASE0 + 2,
    msr::IORR_BASE0 + 3,
    msr::TOP_MEM,
    msr::TOP_MEM2,
    msr::MMIO_CFG_BASE,
    msr::SMM_BASE,
    msr::SMM_ADDR,
    msr::SMM_MASK,
    msr::RMP_BASE,
    msr::RMP_END,
];

/// SYSCFG bits a guest may change: how the MTRRs of the first MiB are read and written, and the type of
/// memory above 4 GiB (APM 2, 3.2.2). The others move memory or encrypt it.
const SYSCFG_FREE: u64 = 1 << 18 | 1 << 19 | 1 << 22;

/// Intel's: the firmware's choice of features, in which VMX shows as switched off and locked.
const LOCKED: u64 = feature_control::LOCK;
/// Bits of it that are the VMM's.
const VMX_BITS: u64 = feature_control::VMX | feature_control::VMX_IN_SMX;

/// Intel's MSRs that do not exist for the guest: VMX's capabilities, and those of the debug store, which CPUID denies.
const fn is_intels(register: u32) -> bool {
    matches!(
        register,
        msr::VMX_BASIC
            ..=msr::VMX_LAST
                | msr::PEBS_ENABLE
                | msr::PEBS_DATA_CFG
                | msr::PEBS_BASE
                | msr::PEBS_INDEX
                | msr::DS_AREA
    )
}

/// Of the processor trace and of architectural last branch records: where the CPU cannot keep them to the guest they
/// exit, and there are none.
const fn is_record(register: u32) -> bool {
    matches!(register, msr::TRACE_FIRST..=msr::TRACE_LAST | msr::LBR_CTL | msr::LBR_DEPTH)
}

/// Components of XSS that the guest cannot have, for XRSTORS would load their MSRs past the permission map.
fn hidden_components(vcpu: &dyn Vcpu) -> u64 {
    let absent = vcpu.capabilities().absent;
    let trace = if absent.trace { msr::XSS_TRACE } else { 0 };
    let records = if absent.branch_records { msr::XSS_BRANCH_RECORDS } else { 0 };
    trace | records
}

/// Ask for the exits this module handles. On Intel EFER is exchanged by entries and exits and has no bit of the VMM's.
/// One copy serves both vendors.
#[inline(never)]
pub(crate) fn watch<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu) {
    if vcpu.capabilities().vmx {
        let ours = (0..0x1000).filter(|register| is_intels(*register));
        for register in ours.chain([msr::FEATURE_CONTROL, msr::MISC_ENABLE]) {
            vcpu.watch_msr(register, true, true);
        }
        if vcpu.capabilities().absent.trace {
            for register in msr::TRACE_FIRST..=msr::TRACE_LAST {
                vcpu.watch_msr(register, true, true);
            }
        }
        if vcpu.capabilities().absent.branch_records {
            for register in [msr::LBR_CTL, msr::LBR_DEPTH] {
                vcpu.watch_msr(register, true, true);
            }
        }
        if hidden_components(vcpu) != 0 {
            vcpu.watch_msr(msr::XSS, false, true);
        }
        for register in [msr::APIC_BASE, msr::BIOS_UPDT_TRIG, msr::TME_ACTIVATE] {
            vcpu.watch_msr(register, false, true);
        }
        if machine.nested.lock().is_typed() {
            mtrrs().for_each(|register| vcpu.watch_msr(register, false, true));
        }
        return;
    }
    for register in CONCEALED.into_iter().chain([msr::EFER, msr::MCG_STATUS]) {
        vcpu.watch_msr(register, true, true);
    }
    for register in FIXED.into_iter().chain([msr::SYSCFG, msr::APIC_BASE, msr::PATCH_LOADER]) {
        vcpu.watch_msr(register, false, true);
    }
}

/// The MTRRs' MSRs, as far as there can be any.
fn mtrrs() -> impl Iterator<Item = u32> {
    let variable =
        MTRR_PHYSBASE0..MTRR_PHYSBASE0.wrapping_add((MAX_VARIABLE as u32).wrapping_mul(2));
    variable.chain(MTRR_FIX).chain([MTRR_DEF_TYPE])
}

/// WRMSR of an MTRR: whether it can be written is for the CPU to say; then the nested tables follow, for under them the
/// CPU's own say nothing (SDM 3C, 28.3.7.2).
fn write_mtrr<H: Host>(
    machine: &Machine<H>,
    vcpu: &mut dyn Vcpu,
    register: u32,
    value: u64,
) -> bool {
    if !machine.host.write_msr(register, value) {
        return false;
    }
    if let Err(error) = machine.nested.lock().set_mtrr(register, value) {
        machine.log(format_args!("MTRR {register:#x} = {value:#x}: not followed: {error:?}"));
    }
    vcpu.flush();
    true
}

/// RDMSR.
pub(crate) fn read<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    probe::watch(machine, vcpu);
    let register = vcpu.gpr(Gpr::Rcx) as u32;
    let value = match register {
        msr::EFER => Some(vcpu.system(System::Efer) & !cr::EFER_SVME),
        msr::TSC => tsc::read(machine, vcpu),
        msr::MCG_STATUS => {
            let theirs = if cpu.mcip { msr::MCG_STATUS_MCIP } else { 0 };
            machine.host.read_msr(register).map(|value| value | theirs)
        }
        msr::FEATURE_CONTROL => {
            machine.host.read_msr(register).map(|value| value & !VMX_BITS | LOCKED)
        }
        msr::MISC_ENABLE => {
            machine.host.read_msr(register).map(|value| value | msr::MISC_ENABLE_NO_STORE)
        }
        msr::TSC_DEADLINE => tsc::read_deadline(machine, vcpu),
        _ if CONCEALED.contains(&register) || is_intels(register) || is_record(register) => None,
        // Outside the permission map's ranges: the CPU knows whether it exists.
        _ => counter::read(machine, cpu, register).or_else(|| machine.host.read_msr(register)),
    };
    match value {
        Some(value) => {
            set_edx_eax(vcpu, value);
            skip(machine, cpu, vcpu, Opcode::Rdmsr);
        }
        None => inject_gp(vcpu),
    }
}

/// WRMSR.
pub(crate) fn write<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, vcpu: &mut dyn Vcpu) {
    probe::watch(machine, vcpu);
    let register = vcpu.gpr(Gpr::Rcx) as u32;
    let value = edx_eax(vcpu);
    let done = match register {
        msr::EFER => write_efer(machine, vcpu, value),
        msr::TSC => tsc::write(machine, vcpu, value),
        msr::MCG_STATUS => write_mcg_status(machine, cpu, value),
        // Locked.
        msr::FEATURE_CONTROL => false,
        // What the guest does not see of it is not the guest's to write.
        msr::MISC_ENABLE => machine.host.read_msr(register).is_some_and(|own| {
            // Without NX the VMM's own tables would be unlawful.
            let hidden = msr::MISC_ENABLE_NO_STORE | msr::MISC_ENABLE_NO_NX;
            machine.host.write_msr(register, value & !hidden | own & hidden)
        }),
        msr::TSC_DEADLINE => tsc::write_deadline(machine, vcpu, value),
        _ if CONCEALED.contains(&register) || is_intels(register) || is_record(register) => false,
        _ if FIXED.contains(&register) => machine.host.read_msr(register) == Some(value),
        msr::SYSCFG => machine.host.read_msr(register).is_some_and(|old| {
            let value = old & !SYSCFG_FREE | value & SYSCFG_FREE;
            machine.host.write_msr(register, value)
        }),
        msr::XSS if value & hidden_components(vcpu) != 0 => false,
        msr::PATCH_LOADER => microcode::load(machine, vcpu, value),
        msr::BIOS_UPDT_TRIG => microcode::load_intel(machine, vcpu, value),
        _ if mtrrs().any(|it| it == register) => write_mtrr(machine, vcpu, register, value),
        _ => apic::write_msr(machine, register, value)
            .or_else(|| counter::write(machine, cpu, register, value))
            .unwrap_or_else(|| machine.host.write_msr(register, value)),
    };
    if done {
        skip(machine, cpu, vcpu, Opcode::Wrmsr);
    } else {
        inject_gp(vcpu);
    }
}

/// EFER without SVME, which the VMM holds (APM 2, 3.1.7 and 15.5.1). Whether a bit is reserved is
/// for the CPU to say: the guest's are tried in the VMM's own EFER.
fn write_efer<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu, value: u64) -> bool {
    const OURS: u64 = cr::EFER_SCE | cr::EFER_LME | cr::EFER_LMA | cr::EFER_NXE | cr::EFER_SVME;
    let old = vcpu.system(System::Efer);
    let paging = vcpu.system(System::Cr0) & cr::CR0_PG != 0;
    if value & cr::EFER_SVME != 0 || (paging && (value ^ old) & cr::EFER_LME != 0) {
        return false;
    }
    let Some(own) = machine.host.read_msr(msr::EFER) else { return false };
    let accepted = machine.host.write_msr(msr::EFER, own & OURS | value & !OURS);
    let kept = machine.host.read_msr(msr::EFER).unwrap_or(own) & !OURS;
    machine.host.write_msr(msr::EFER, own);
    if accepted {
        // A CPU that ignores unknown bits keeps none of them in the guest either. LMA is the CPU's.
        let plain = value & (cr::EFER_SCE | cr::EFER_LME | cr::EFER_NXE);
        let new = kept | plain | old & cr::EFER_LMA | cr::EFER_SVME;
        vcpu.set_system(System::Efer, new);
    }
    accepted
}

/// MCG_STATUS without MCIP, which in the register itself is set by a machine check alone: by it the VMM, when it takes
/// an interrupt for the guest, knows one from an interrupt with vector 18 (APM 2, 9.3.1.2). The guest sees the bit it
/// wrote. Whether the value can be written is for the CPU to say.
fn write_mcg_status<H: Host>(machine: &Machine<H>, cpu: &mut Cpu, value: u64) -> bool {
    let host = &machine.host;
    let done = host.write_msr(msr::MCG_STATUS, value);
    if done {
        host.write_msr(msr::MCG_STATUS, value & !msr::MCG_STATUS_MCIP);
        cpu.mcip = value & msr::MCG_STATUS_MCIP != 0;
    }
    done
}
