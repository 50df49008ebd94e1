//! The CPU policy: what of CPUID the guest sees otherwise than the CPU says it, and why.
use crate::Host;
use crate::instruction::code_size;
use emu::CodeSize;
use vcpu::{Absent, Gpr, System, Vcpu};
use x86defs::cr;

/// Which of the four registers.
const EAX: u8 = 0;
const EBX: u8 = 1;
const ECX: u8 = 2;
const EDX: u8 = 3;

enum What {
    /// The bits read as 0.
    Conceal,
    /// The bits are the CPU's: named here for the reason.
    Pass,
    /// The bit follows the guest's CR4, not the VMM's.
    Follow(u64),
    /// The bit is the CPU's while the guest's CR4 has this one, which the VMM's has.
    While(u64),
    /// Intel's CPUs say it in 64-bit code alone (SDM 2A, CPUID), and the VMM's is.
    In64BitCode,
    /// The bits read as 0 where the CPU cannot give it to a guest.
    Unless(fn(&Absent) -> bool),
}

/// The reason for a rule. It is for the reader of the table, and none of its bytes is in the image.
struct Why;

const fn why(_: &str) -> Why {
    Why
}

struct Rule {
    subleaf: Option<u32>,
    register: u8,
    bits: u32,
    what: What,
    #[expect(dead_code, reason = "the reason is for the reader of the table")]
    why: Why,
}

const fn conceal(register: u8, bits: u32, reason: &str) -> Rule {
    Rule { subleaf: None, register, bits, what: What::Conceal, why: why(reason) }
}

const fn pass(subleaf: u32, register: u8, bits: u32, reason: &str) -> Rule {
    Rule { subleaf: Some(subleaf), register, bits, what: What::Pass, why: why(reason) }
}

const fn unless(subleaf: u32, register: u8, bits: u32, absent: fn(&Absent) -> bool) -> Rule {
    let why = why("VMX: #UD in a guest without its control");
    Rule { subleaf: Some(subleaf), register, bits, what: What::Unless(absent), why }
}

/// Of leaf 7, subleaf 1.
const fn instructions(register: u8, bits: u32, reason: &str) -> Rule {
    Rule { subleaf: Some(1), register, bits, what: What::Conceal, why: why(reason) }
}

/// A whole leaf reads as 0 where the CPU cannot give a guest what it describes.
const fn empty_unless(absent: fn(&Absent) -> bool) -> [Rule; 4] {
    const fn rule(register: u8, absent: fn(&Absent) -> bool) -> Rule {
        let why = why("empty where there is none");
        Rule { subleaf: None, register, bits: u32::MAX, what: What::Unless(absent), why }
    }
    [rule(EAX, absent), rule(EBX, absent), rule(ECX, absent), rule(EDX, absent)]
}

const DEBUG_STORE: &str = "the store of branches and samples: Intel's CPUs write samples to linear addresses also while \
    the VMM runs, whose tables are others";

/// A whole leaf reads as 0.
const fn empty(reason: &str) -> [Rule; 4] {
    [
        conceal(EAX, u32::MAX, reason),
        conceal(EBX, u32::MAX, reason),
        conceal(ECX, u32::MAX, reason),
        conceal(EDX, u32::MAX, reason),
    ]
}

/// One table for both vendors, by leaf. All that is not here passes: the machine is the guest's.
const POLICY: [(u32, &[Rule]); 10] = [
    (
        1,
        &[
            Rule {
                subleaf: None,
                register: ECX,
                bits: 1 << 27,
                what: What::Follow(cr::CR4_OSXSAVE),
                why: why("OSXSAVE copies the guest's CR4.OSXSAVE"),
            },
            conceal(ECX, 1 << 5 | 1 << 6, "VMX and SMX are ours"),
            conceal(EDX, 1 << 21, DEBUG_STORE),
            conceal(ECX, 1 << 2 | 1 << 4, DEBUG_STORE),
        ],
    ),
    (
        7,
        &[
            Rule {
                subleaf: Some(0),
                register: ECX,
                bits: 1 << 4,
                what: What::Follow(cr::CR4_PKE),
                why: why("OSPKE copies the guest's CR4.PKE"),
            },
            Rule {
                subleaf: Some(1),
                register: EAX,
                bits: 1 << 17,
                what: What::Conceal,
                why: why("FRED's MSRs are not in a VMCB without its own extension"),
            },
            pass(
                0,
                EBX,
                1 << 2,
                "SGX: its memory is set aside by the firmware, outside the hole; ENCLS and ENCLV do not exit",
            ),
            instructions(
                EAX,
                1 << 27,
                "RDMSRLIST, WRMSRLIST: #UD in a guest without a third set of controls",
            ),
            instructions(
                ECX,
                1 << 5,
                "RDMSR and WRMSRNS with a number in the code: their exits are others",
            ),
            instructions(EDX, 1 << 15, "URDMSR, UWRMSR: as those"),
            // On AMD there is none; on Intel it writes through the nested tables with a control of its own.
            unless(0, EBX, 1 << 25, |absent| absent.trace),
            unless(0, EBX, 1 << 10, |absent| absent.invpcid),
            unless(0, ECX, 1 << 5, |absent| absent.user_wait),
            unless(0, ECX, 1 << 22, |absent| absent.rdtscp),
            Rule {
                subleaf: Some(0),
                register: EDX,
                bits: 1 << 18,
                what: What::Conceal,
                why: why(
                    "PCONFIG: a memory key's number is part of an address, by which the hole would have others",
                ),
            },
            pass(
                0,
                ECX,
                1 << 13,
                "TME: so that the key numbers' bits are counted off the addresses",
            ),
            pass(0, ECX, 1 << 16, "LA57: the nested tables need not have five levels too"),
            pass(0, EBX, 1 << 7 | 1 << 20, "SMEP, SMAP: the VMM's CR4 has neither"),
            pass(0, ECX, 1 << 2, "UMIP: no table register's instruction exits"),
            pass(0, ECX, 1 << 3, "PKU: the VMM's CR4.PKE is 0"),
            pass(0, ECX, 1 << 31, "PKS: as PKU; its MSR stays the guest's"),
            pass(
                0,
                ECX,
                1 << 7,
                "CET: the VMM's CR4.CET is 0; VMRUN exchanges S_CET, SSP and ISST, VMX leaves them as they are",
            ),
            Rule {
                subleaf: Some(0),
                register: EDX,
                bits: 1 << 19,
                what: What::Unless(|absent| absent.branch_records),
                why: why(
                    "architectural last branch records: exits switch them off, or they would hold the VMM's branches",
                ),
            },
            pass(0, EDX, 1 << 20, "CET's indirect branch tracking: as its shadow stacks"),
            pass(0, ECX, 1 << 23, "Key locker: LOADIWKEY exits only if asked to"),
            pass(0, ECX, 1 << 24, "bus locks: a #DB by them is told in DR6"),
            pass(
                0,
                ECX,
                1 << 27 | 1 << 28 | 1 << 29,
                "MOVDIRI, MOVDIR64B, ENQCMD: stores like others; no IOMMU is used that would know a PASID",
            ),
            pass(0, EDX, 1 << 24 | 1 << 25 | 1 << 22, "AMX: the VMM uses no vector registers"),
            pass(0, EDX, 1 << 5, "UINTR: its state is in MSRs the VMM does not touch"),
            pass(1, EAX, 1 << 6, "LASS: the VMM's CR4 has it not"),
            pass(1, EAX, 1 << 22, "HRESET: its MSR is the guest's"),
            pass(
                1,
                EAX,
                1 << 26,
                "LAM: the guest's CR3 is its own; the VMM walks by its address bits",
            ),
            pass(1, EDX, 1 << 19, "AVX10: as AMX"),
        ],
    ),
    (
        0xd,
        &[
            unless(1, EAX, 1 << 3, |absent| absent.xsaves),
            // What the CPU cannot keep to the guest would come back by XRSTORS.
            unless(1, ECX, 1 << 8, |absent| absent.trace),
            unless(8, EAX, u32::MAX, |absent| absent.trace),
            unless(8, ECX, u32::MAX, |absent| absent.trace),
            unless(1, ECX, 1 << 15, |absent| absent.branch_records),
            unless(15, EAX, u32::MAX, |absent| absent.branch_records),
            unless(15, ECX, u32::MAX, |absent| absent.branch_records),
        ],
    ),
    (0x14, &empty_unless(|absent| absent.trace)),
    (
        0x19,
        &[Rule {
            subleaf: None,
            register: EBX,
            bits: 1,
            what: What::While(cr::CR4_KL),
            why: why("AESKLE copies the guest's CR4.KL, where the firmware left key locker on"),
        }],
    ),
    (0x1c, &empty_unless(|absent| absent.branch_records)),
    (
        0x23,
        &[Rule {
            subleaf: Some(0),
            register: EAX,
            bits: 1 << 4 | 1 << 5,
            what: What::Conceal,
            why: why(DEBUG_STORE),
        }],
    ),
    (
        0x8000_0001,
        &[
            conceal(ECX, 1 << 2 | 1 << 12, "SVM and SKINIT are ours"),
            Rule {
                subleaf: None,
                register: EDX,
                bits: 1 << 27,
                what: What::Unless(|absent| absent.rdtscp),
                why: why("RDTSCP, as above"),
            },
            Rule {
                subleaf: None,
                register: EDX,
                bits: 1 << 11,
                what: What::In64BitCode,
                why: why("SYSCALL"),
            },
        ],
    ),
    (0x8000_000a, &empty("SVM's leaf, empty where there is no SVM")),
    (0x8000_001f, &empty("SME and SEV change what a physical address means")),
];

/// Answer CPUID for the guest; RIP stays.
#[inline]
pub(crate) fn emulate<H: Host, V: Vcpu>(host: &H, vcpu: &mut V) {
    let leaf = vcpu.gpr(Gpr::Rax) as u32;
    let subleaf = vcpu.gpr(Gpr::Rcx) as u32;
    let mut out = host.cpuid(leaf, subleaf);
    if let Some((_, rules)) = POLICY.iter().find(|(of, _)| *of == leaf) {
        apply(rules, subleaf, vcpu, &mut out);
    }
    let [eax, ebx, ecx, edx] = out;
    vcpu.set_gpr(Gpr::Rax, u64::from(eax));
    vcpu.set_gpr(Gpr::Rbx, u64::from(ebx));
    vcpu.set_gpr(Gpr::Rcx, u64::from(ecx));
    vcpu.set_gpr(Gpr::Rdx, u64::from(edx));
}

#[inline(never)]
fn apply(rules: &[Rule], subleaf: u32, vcpu: &dyn Vcpu, out: &mut [u32; 4]) {
    let cr4 = vcpu.system(System::Cr4);
    let absent = vcpu.capabilities().absent;
    for rule in rules.iter().filter(|rule| rule.subleaf.is_none_or(|only| only == subleaf)) {
        let Some(value) = out.get_mut(usize::from(rule.register)) else { continue };
        let follow = match rule.what {
            What::Pass => continue,
            What::Conceal => false,
            What::Unless(is_absent) if is_absent(&absent) => false,
            What::In64BitCode if vcpu.capabilities().vmx => {
                if code_size(vcpu) == CodeSize::Bits64 {
                    continue;
                }
                false
            }
            What::While(bit) if cr4 & bit == 0 => false,
            What::Unless(_) | What::In64BitCode | What::While(_) => continue,
            // Where the CPU lacks the feature the guest's CR4 bit cannot be set either.
            What::Follow(bit) => cr4 & bit != 0,
        };
        *value = if follow { *value | rule.bits } else { *value & !rule.bits };
    }
}
