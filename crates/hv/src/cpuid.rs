//! The CPU policy: what of CPUID the guest sees otherwise than the CPU says it, and why.
use crate::Host;
use vcpu::{Gpr, System, Vcpu};
use x86defs::cr;

/// Which of the four registers.
const EAX: usize = 0;
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

enum What {
    /// The bits read as 0.
    Conceal,
    /// The bits follow the guest's CR4, not the VMM's.
    Follow(u64),
}

struct Rule {
    leaf: u32,
    subleaf: Option<u32>,
    register: usize,
    bits: u32,
    what: What,
    #[expect(dead_code, reason = "the reason is for the reader of the table")]
    why: &'static str,
}

const fn conceal(leaf: u32, register: usize, bits: u32, why: &'static str) -> Rule {
    Rule { leaf, subleaf: None, register, bits, what: What::Conceal, why }
}

/// One table for both vendors. All that is not here passes: the machine is the guest's.
const POLICY: [Rule; 13] = [
    Rule {
        leaf: 1,
        subleaf: None,
        register: ECX,
        bits: 1 << 27,
        what: What::Follow(cr::CR4_OSXSAVE),
        why: "OSXSAVE copies the guest's CR4.OSXSAVE",
    },
    conceal(1, ECX, 1 << 5 | 1 << 6, "VMX and SMX are ours"),
    Rule {
        leaf: 7,
        subleaf: Some(0),
        register: ECX,
        bits: 1 << 4,
        what: What::Follow(cr::CR4_PKE),
        why: "OSPKE copies the guest's CR4.PKE",
    },
    Rule {
        leaf: 7,
        subleaf: Some(1),
        register: EAX,
        bits: 1 << 17,
        what: What::Conceal,
        why: "FRED's MSRs are not in a VMCB without its own extension",
    },
    conceal(0x8000_0001, ECX, 1 << 2 | 1 << 12, "SVM and SKINIT are ours"),
    conceal(0x8000_000a, EAX, u32::MAX, "SVM's leaf, empty where there is no SVM"),
    conceal(0x8000_000a, EBX, u32::MAX, "as above"),
    conceal(0x8000_000a, ECX, u32::MAX, "as above"),
    conceal(0x8000_000a, EDX, u32::MAX, "as above"),
    conceal(0x8000_001f, EAX, u32::MAX, "SME and SEV change what a physical address means"),
    conceal(0x8000_001f, EBX, u32::MAX, "as above"),
    conceal(0x8000_001f, ECX, u32::MAX, "as above"),
    conceal(0x8000_001f, EDX, u32::MAX, "as above"),
];

/// Answer CPUID for the guest; RIP stays.
#[inline]
pub(crate) fn emulate<H: Host, V: Vcpu>(host: &H, vcpu: &mut V) {
    let leaf = vcpu.gpr(Gpr::Rax) as u32;
    let subleaf = vcpu.gpr(Gpr::Rcx) as u32;
    let mut out = host.cpuid(leaf, subleaf);
    for rule in POLICY.iter().filter(|rule| rule.leaf == leaf) {
        if rule.subleaf.is_none_or(|only| only == subleaf)
            && let Some(value) = out.get_mut(rule.register)
        {
            let follow = match rule.what {
                What::Conceal => false,
                // Follows only where the CPU has the feature at all, and so the guest's CR4 bit.
                What::Follow(bit) => vcpu.system(System::Cr4) & bit != 0,
            };
            *value = if follow { *value | rule.bits } else { *value & !rule.bits };
        }
    }
    let [eax, ebx, ecx, edx] = out;
    vcpu.set_gpr(Gpr::Rax, u64::from(eax));
    vcpu.set_gpr(Gpr::Rbx, u64::from(ebx));
    vcpu.set_gpr(Gpr::Rcx, u64::from(ecx));
    vcpu.set_gpr(Gpr::Rdx, u64::from(edx));
}
