//! What is otherwise on Intel's CPUs: MSRs, XCR0, the nested tables that say memory types.
use super::bench::{Bench, CODE};
use super::std;
use std::vec::Vec;
use vcpu::{Absent, Event, Exit, Gpr, NestedFault, Seg, Segment, System, Vcpu};
use x86defs::{msr, segment};

const GP: Option<Event> = Some(Event::Exception(13, Some(0)));

fn intel() -> Bench {
    let mut bench = Bench::bits32();
    bench.vcpu.capabilities.vmx = true;
    bench
}

fn put(bench: &Bench, register: u32, value: u64) {
    bench.machine.host.msrs.borrow_mut().insert(register, value);
}

fn has(bench: &Bench, register: u32) -> u64 {
    bench.machine.host.msrs.borrow()[&register]
}

fn read(bench: &mut Bench, register: u32) -> Option<u64> {
    bench.vcpu.queued = None;
    bench.vcpu.set_system(System::Rip, CODE);
    bench.vcpu.next_rip = Some(CODE + 2);
    bench.vcpu.set_gpr(Gpr::Rcx, register.into());
    bench.exit(Exit::Rdmsr);
    let value = bench.vcpu.gpr(Gpr::Rdx) << 32 | bench.vcpu.gpr(Gpr::Rax);
    assert!(bench.queued().is_none() || bench.queued() == GP);
    bench.queued().is_none().then_some(value)
}

fn write(bench: &mut Bench, register: u32, value: u64) -> bool {
    bench.vcpu.queued = None;
    bench.vcpu.set_system(System::Rip, CODE);
    bench.vcpu.next_rip = Some(CODE + 2);
    bench.vcpu.set_gpr(Gpr::Rcx, register.into());
    bench.vcpu.set_gpr(Gpr::Rax, value & 0xffff_ffff);
    bench.vcpu.set_gpr(Gpr::Rdx, value >> 32);
    bench.exit(Exit::Wrmsr);
    assert!(bench.queued().is_none() || bench.queued() == GP);
    bench.queued().is_none()
}

#[test]
fn vmx_is_not_there() {
    let mut bench = intel();
    for register in [msr::VMX_BASIC, msr::VMX_EPT_VPID, msr::VMX_LAST] {
        put(&bench, register, 1);
        assert_eq!(read(&mut bench, register), None);
        assert!(!write(&mut bench, register, 1));
    }
    put(&bench, msr::FEATURE_CONTROL, 0x2_0007);
    assert_eq!(read(&mut bench, msr::FEATURE_CONTROL), Some(0x2_0001), "locked, SGX as it is");
    assert!(!write(&mut bench, msr::FEATURE_CONTROL, 0x2_0001));
}

/// XRSTORS would load the trace's MSRs past the permission map.
#[test]
fn what_is_concealed_does_not_come_back_by_xrstors() {
    for (trace, branch_records, hidden) in
        [(true, false, 1 << 8), (false, true, 1 << 15), (false, false, 0)]
    {
        let mut bench = intel();
        bench.vcpu.capabilities.absent = Absent { trace, branch_records, ..Absent::default() };
        put(&bench, msr::XSS, 0);
        assert!(write(&mut bench, msr::XSS, 1 << 11));
        for bit in [1 << 8, 1 << 15] {
            assert_eq!(write(&mut bench, msr::XSS, bit), hidden != bit, "{bit:#x} of {hidden:#x}");
        }
    }
}

/// Encryption that begins makes other numbers of addresses, and of memory other contents.
#[test]
fn memory_encryption_stays_as_it_is() {
    let mut bench = intel();
    put(&bench, msr::TME_ACTIVATE, 0);
    assert!(write(&mut bench, msr::TME_ACTIVATE, 0));
    assert!(!write(&mut bench, msr::TME_ACTIVATE, 6 << 32 | 0b11));
    assert_eq!(has(&bench, msr::TME_ACTIVATE), 0);
}

#[test]
fn there_is_no_debug_store() {
    let mut bench = intel();
    for register in [msr::PEBS_ENABLE, msr::PEBS_BASE, msr::DS_AREA] {
        put(&bench, register, 0);
        assert_eq!(read(&mut bench, register), None);
        assert!(!write(&mut bench, register, 1));
    }
    put(&bench, msr::MISC_ENABLE, 0x85_0089);
    assert_eq!(read(&mut bench, msr::MISC_ENABLE), Some(0x85_1889));
    assert!(write(&mut bench, msr::MISC_ENABLE, 0x81_1889));
    assert_eq!(has(&bench, msr::MISC_ENABLE), 0x81_0089, "the CPU's own bits stay");
}

#[test]
fn processor_trace_exists_where_it_is_kept_to_the_guest() {
    const CONTROL: u32 = 0x570;
    for trace in [true, false] {
        let mut bench = intel();
        bench.vcpu.capabilities.absent.trace = trace;
        crate::msr::watch(&bench.machine, &mut bench.vcpu);
        assert_eq!(bench.vcpu.msrs.contains(&CONTROL), trace);
        assert!(bench.vcpu.msrs.contains(&msr::DS_AREA));
    }
    let mut bench = intel();
    put(&bench, CONTROL, 0);
    assert!(!write(&mut bench, CONTROL, 1), "it exits only where there is none");
}

#[test]
fn branch_records_exist_where_exits_switch_them_off() {
    for absent in [true, false] {
        let mut bench = intel();
        bench.vcpu.capabilities.absent.branch_records = absent;
        crate::msr::watch(&bench.machine, &mut bench.vcpu);
        assert_eq!(bench.vcpu.msrs.contains(&msr::LBR_CTL), absent);
    }
    let mut bench = intel();
    put(&bench, msr::LBR_CTL, 0);
    assert_eq!(read(&mut bench, msr::LBR_CTL), None);
    assert!(!write(&mut bench, msr::LBR_CTL, 1), "it exits only where there are none");
}

#[test]
fn nx_cannot_be_taken_from_the_vmm() {
    let mut bench = intel();
    put(&bench, msr::MISC_ENABLE, 1);
    assert!(write(&mut bench, msr::MISC_ENABLE, 1 << 34 | 1));
    assert_eq!(has(&bench, msr::MISC_ENABLE), 1);
}

/// SDM 2A, CPUID: EDX bit 11 of 8000_0001h is set in 64-bit mode.
#[test]
fn syscall_is_of_64_bit_code() {
    const SYSCALL: u64 = 1 << 11;
    let mut bench = Bench::long();
    bench.vcpu.capabilities.vmx = true;
    let cs = bench.vcpu.segment(Seg::Cs);
    assert_eq!(cpuid(&mut bench, 0x8000_0001, 0)[3] & SYSCALL, SYSCALL);
    let attributes = cs.attributes & !segment::ATTR_L | segment::ATTR_DB;
    bench.vcpu.set_segment(Seg::Cs, Segment { attributes, ..cs });
    assert_eq!(cpuid(&mut bench, 0x8000_0001, 0)[3] & SYSCALL, 0);
    bench.vcpu.capabilities.vmx = false;
    assert_eq!(cpuid(&mut bench, 0x8000_0001, 0)[3] & SYSCALL, SYSCALL, "AMD's say it always");
}

fn cpuid(bench: &mut Bench, leaf: u32, subleaf: u32) -> [u64; 4] {
    bench.vcpu.set_gpr(Gpr::Rax, leaf.into());
    bench.vcpu.set_gpr(Gpr::Rcx, subleaf.into());
    bench.vcpu.next_rip = Some(CODE);
    bench.exit(Exit::Cpuid);
    [Gpr::Rax, Gpr::Rbx, Gpr::Rcx, Gpr::Rdx].map(|register| bench.vcpu.gpr(register))
}

/// Leaf, subleaf, register and bits of a feature.
type Bits = (u32, u32, usize, u64);

#[test]
fn what_a_control_lacks_for_is_concealed() {
    let rows: [(Absent, Bits); 9] = [
        (Absent { rdtscp: true, ..Absent::default() }, (0x8000_0001, 0, 3, 1 << 27)),
        (Absent { rdtscp: true, ..Absent::default() }, (7, 0, 2, 1 << 22)), // RDPID
        (Absent { invpcid: true, ..Absent::default() }, (7, 0, 1, 1 << 10)),
        (Absent { xsaves: true, ..Absent::default() }, (0xd, 1, 0, 1 << 3)),
        (Absent { user_wait: true, ..Absent::default() }, (7, 0, 2, 1 << 5)),
        (Absent { trace: true, ..Absent::default() }, (7, 0, 1, 1 << 25)),
        (Absent { trace: true, ..Absent::default() }, (0x14, 1, 0, 0xffff_ffff)),
        (Absent { branch_records: true, ..Absent::default() }, (7, 0, 3, 1 << 19)),
        (Absent { branch_records: true, ..Absent::default() }, (0x1c, 0, 0, 0xffff_ffff)),
    ];
    for (absent, (leaf, subleaf, register, bits)) in rows {
        let mut bench = intel();
        assert_eq!(cpuid(&mut bench, leaf, subleaf)[register] & bits, bits, "{leaf:#x}");
        bench.vcpu.capabilities.absent = absent;
        assert_eq!(cpuid(&mut bench, leaf, subleaf)[register] & bits, 0, "{leaf:#x}");
    }
}

#[test]
fn what_passes_and_what_never_does() {
    let mut bench = intel();
    let passes: [Bits; 10] = [
        (7, 0, 1, 1 << 2 | 1 << 7 | 1 << 20),  // SGX, SMEP, SMAP
        (7, 0, 2, 1 << 2 | 1 << 3 | 1 << 31),  // UMIP, PKU, PKS
        (7, 0, 2, 1 << 7 | 1 << 13 | 1 << 16), // shadow stacks, TME, LA57
        (7, 0, 2, 1 << 23 | 1 << 24 | 1 << 27 | 1 << 28 | 1 << 29), // key locker to ENQCMD
        (7, 0, 3, 1 << 5 | 1 << 20 | 1 << 22 | 1 << 24 | 1 << 25), // UINTR, IBT, AMX
        (7, 1, 0, 1 << 6 | 1 << 22 | 1 << 26), // LASS, HRESET, LAM
        (7, 1, 3, 1 << 19),                    // AVX10
        (1, 0, 2, 1 << 17),                    // PCID
        (0x14, 0, 1, 1),
        (0x23, 0, 0, 1),
    ];
    for (leaf, subleaf, register, bits) in passes {
        assert_eq!(cpuid(&mut bench, leaf, subleaf)[register] & bits, bits, "{leaf:#x}");
    }
    let never: [Bits; 6] = [
        (1, 0, 2, 1 << 5 | 1 << 6),
        (1, 0, 3, 1 << 21),
        (1, 0, 2, 1 << 2 | 1 << 4),
        (7, 0, 3, 1 << 18),
        (7, 1, 0, 1 << 17),
        (0x23, 0, 0, 1 << 4 | 1 << 5),
    ];
    for (leaf, subleaf, register, bits) in never {
        assert_eq!(cpuid(&mut bench, leaf, subleaf)[register] & bits, 0, "{leaf:#x}");
    }
}

#[test]
fn xcr0_is_what_the_cpu_takes() {
    for (value, ring, taken) in [(7, 0, true), (6, 0, false), (7, 3, false)] {
        let mut bench = intel();
        bench.vcpu.cpl = ring;
        bench.vcpu.set_gpr(Gpr::Rcx, 0);
        bench.vcpu.set_gpr(Gpr::Rax, value);
        bench.vcpu.set_gpr(Gpr::Rdx, 0);
        bench.vcpu.next_rip = Some(CODE + 3);
        bench.exit(Exit::Xsetbv);
        assert_eq!(
            (bench.queued(), bench.rip()),
            if taken { (None, CODE + 3) } else { (GP, CODE) }
        );
    }
}

#[test]
fn deadlines_are_the_guests_time() {
    let mut bench = intel();
    bench.machine.options.tsc_freeze = true;
    bench.machine.host.tsc.set(1 << 20);
    put(&bench, msr::TSC, 0);
    put(&bench, msr::TSC_DEADLINE, 0);
    crate::tsc::watch(&bench.machine, &mut bench.vcpu);
    assert!(bench.vcpu.msrs.contains(&msr::TSC_DEADLINE));
    bench.vcpu.tsc_offset = 1_000_u64.wrapping_neg();
    assert!(write(&mut bench, msr::TSC_DEADLINE, 5_000));
    assert_eq!(has(&bench, msr::TSC_DEADLINE), 6_000, "by the counter that ran on");
    assert_eq!(read(&mut bench, msr::TSC_DEADLINE), Some(5_000));
    // It stands still with the guest.
    crate::tsc::resume(&bench.machine, &mut bench.vcpu, bench.machine.host.tsc.get() - 2_000);
    let stood = bench.vcpu.tsc_offset.wrapping_neg() - 1_000;
    assert!(stood >= 2_000);
    assert_eq!(has(&bench, msr::TSC_DEADLINE), 6_000 + stood);
    assert_eq!(read(&mut bench, msr::TSC_DEADLINE), Some(5_000));
    assert!(write(&mut bench, msr::TSC_DEADLINE, 0));
    assert_eq!(has(&bench, msr::TSC_DEADLINE), 0, "none");
    crate::tsc::resume(&bench.machine, &mut bench.vcpu, 0);
    assert_eq!(has(&bench, msr::TSC_DEADLINE), 0);
}

#[test]
fn a_microcode_update_is_read_where_the_guest_has_it() {
    const DATA: u64 = 0x1_0030;
    let given = |bench: &Bench| -> Vec<u64> {
        let written = bench.machine.host.written_msrs.borrow();
        written.iter().filter(|(of, _)| *of == msr::BIOS_UPDT_TRIG).map(|it| it.1).collect()
    };
    let mut bench = intel();
    put(&bench, msr::BIOS_UPDT_TRIG, 0);
    bench.write(0x1_0000 + 32, &0x5000_u32.to_le_bytes());
    assert!(write(&mut bench, msr::BIOS_UPDT_TRIG, DATA));
    assert_eq!(given(&bench), [DATA]);
    // Beyond the guest's memory: left out, and not #GP.
    let end = super::host::RAM as u64;
    bench.write(end - 0x1000 + 32, &0x2000_u32.to_le_bytes());
    assert!(write(&mut bench, msr::BIOS_UPDT_TRIG, end - 0x1000 + 48));
    assert_eq!(given(&bench), [DATA]);
    assert!(bench.log().contains("left out"), "{}", bench.log());
    // In pieces, by the guest's own tables: the page behind the first is another.
    let mut bench = Bench::long();
    bench.vcpu.capabilities.vmx = true;
    put(&bench, msr::BIOS_UPDT_TRIG, 0);
    bench.write(0x10_2000, &(0x10_3000_u64 | 3).to_le_bytes());
    for n in 0..512_u64 {
        let to = if n == 0x21 { 0x3_0000 } else { n << 12 };
        bench.write(0x10_3000 + 8 * n, &(to | 3).to_le_bytes());
    }
    // The second begins at no address that all others are multiples of.
    for at in [0x1_0000_u64, 0x1_3fd0, 0x2_0000] {
        bench.write(at + 32, &0x1800_u32.to_le_bytes());
        assert!(write(&mut bench, msr::BIOS_UPDT_TRIG, at + 48));
    }
    assert_eq!(given(&bench), [DATA, 0x1_4000]);
}

/// A machine whose nested tables are EPT's, with these MTRRs above its identity map.
fn typed(variable: &[(u64, u64)]) -> Bench {
    let mut bench = Bench::typed(0xc06, variable);
    bench.vcpu.capabilities.vmx = true;
    bench
}

/// The memory type of a leaf, if it is mapped.
fn kind(bench: &Bench, gpa: u64) -> Option<u64> {
    bench.typed_leaf(gpa).map(|entry| entry >> 3 & 7)
}

#[test]
fn what_is_touched_first_has_the_types_of_its_parts() {
    const GPU: u64 = 8 << 30;
    // Write-combining from the second half of its first 2 MiB on; the default is write-back.
    let mut bench = typed(&[(GPU + 0x10_0000 + 1, !0xf_ffff & 0xf_ffff_ffff | 0x800)]);
    assert_eq!(kind(&bench, GPU), None);
    let fault = NestedFault { gpa: GPU + 0x1000, ..NestedFault::default() };
    bench.exit(Exit::NestedFault(fault));
    assert_eq!(bench.queued(), None);
    assert_eq!((kind(&bench, GPU), kind(&bench, GPU + 0xf_f000)), (Some(6), Some(6)));
    assert_eq!((kind(&bench, GPU + 0x10_0000), kind(&bench, GPU + 0x1f_f000)), (Some(1), Some(1)));
    assert_eq!(kind(&bench, GPU + 0x20_0000), None);
    // Its tables come back: as often as one likes.
    for n in 1..200_u64 {
        let fault = NestedFault { gpa: GPU + n * (1 << 30), ..NestedFault::default() };
        bench.exit(Exit::NestedFault(fault));
        let fault = NestedFault { gpa: GPU, ..NestedFault::default() };
        bench.exit(Exit::NestedFault(fault));
        assert_eq!(bench.queued(), None, "{n}");
        assert_eq!(kind(&bench, GPU + 0x10_0000), Some(1), "{n}");
    }
}

#[test]
fn the_tables_follow_the_mtrrs() {
    const DEF_TYPE: u32 = 0x2ff;
    const BASE: u32 = 0x200;
    let mut bench = typed(&[(0, 0)]);
    for register in [DEF_TYPE, BASE, BASE + 1, 0x250, 0x26f] {
        put(&bench, register, 0);
    }
    crate::msr::watch(&bench.machine, &mut bench.vcpu);
    assert!([DEF_TYPE, BASE, BASE + 1, 0x250, 0x26f].iter().all(|it| bench.vcpu.msrs.contains(it)));
    let places = [0, 0xa_0000, 0x10_0000, 0x100_0000, 0x120_0000];
    let kinds = |bench: &Bench| places.map(|gpa| kind(bench, gpa).unwrap());
    assert_eq!(kinds(&bench), [6; 5]);
    // A variable one of 2 MiB at 16 MiB.
    assert!(write(&mut bench, BASE, 0x100_0000));
    assert!(write(&mut bench, BASE + 1, 0xf_ffe0_0800));
    assert_eq!(kinds(&bench), [6, 6, 6, 0, 6]);
    let flushes = bench.vcpu.flushes;
    // Fixed ones: uncacheable for 0 to 512 KiB.
    assert!(write(&mut bench, 0x250, 0));
    assert!(bench.vcpu.flushes > flushes);
    assert_eq!(kinds(&bench), [6, 6, 6, 0, 6], "not in force before DEF_TYPE says so");
    assert!(write(&mut bench, DEF_TYPE, 0xc06));
    assert_eq!(kinds(&bench), [0, 0, 6, 0, 6]);
    // All off: uncacheable; and on again, as an operating system does when it starts.
    for _ in 0..20 {
        assert!(write(&mut bench, DEF_TYPE, 0x006));
        assert_eq!(kinds(&bench), [0; 5]);
        assert!(write(&mut bench, DEF_TYPE, 0xc06));
        assert_eq!(kinds(&bench), [0, 0, 6, 0, 6]);
    }
    assert!(!bench.log().contains("not followed"), "{}", bench.log());
    // What the CPU refuses changes nothing.
    assert!(!write(&mut bench, 0x202, 0));
    assert_eq!(kinds(&bench), [0, 0, 6, 0, 6]);
}
