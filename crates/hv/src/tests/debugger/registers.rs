//! What the analyst writes into the system registers, and what the CPU must never be given.
use super::super::bench::Bench;
use super::std;
use proptest::prelude::*;
use std::string::String;
use stub::Register::{self, *};
use vcpu::{Exit, Seg, System, Vcpu};
use x86defs::{cr, dr, rflags};

fn packet(register: Register, value: u64) -> String {
    let index = Register::ALL.iter().position(|it| *it == register).unwrap();
    // st0 to fop stand between.
    let number = if index < 24 { index } else { index + 16 };
    let bytes = value.to_le_bytes();
    let hex = bytes[..register.bytes()].iter().map(|byte| std::format!("{byte:02x}"));
    std::format!("P{number:x}={}", hex.collect::<String>())
}

/// Whether it was done.
fn write(bench: &mut Bench, register: Register, value: u64) -> bool {
    let replies = bench.analyst(&["?", &packet(register, value), "c"]);
    let done = replies.contains("$OK#");
    assert!(done || replies.contains("$E16#"), "{replies}");
    assert!(enters(&bench.vcpu), "{register:?} = {value:#x} and no entry");
    done
}

/// CR3 has these bits where the CPU has linear-address masking, as the model's has (SDM 3A, 4.5.2).
const LAM: u64 = 3 << 61;

/// What VMRUN checks (APM 2, 15.5.1), and that no bit is set that the model's CPU has not.
fn enters(vcpu: &dyn Vcpu) -> bool {
    let [cr0, cr3, cr4] = [System::Cr0, System::Cr3, System::Cr4].map(|it| vcpu.system(it));
    let efer = vcpu.system(System::Efer);
    let code = vcpu.segment(Seg::Cs).attributes;
    let paged_long = efer & cr::EFER_LME != 0 && cr0 & cr::CR0_PG != 0;
    let bases = [Seg::Fs, Seg::Gs, Seg::Ldtr, Seg::Tr, Seg::Gdtr, Seg::Idtr];
    let addresses = bases.map(|it| vcpu.segment(it).base);
    let top = if cr4 & 1 << 12 == 0 { 47 } else { 56 };
    let canonical = |address: u64| matches!(address as i64 >> top, 0 | -1);
    efer & cr::EFER_SVME != 0
        && (cr0 & cr::CR0_CD != 0 || cr0 & cr::CR0_NW == 0)
        && cr0 >> 32 == 0
        && (cr3 & !LAM) >> 52 == 0
        && cr4 & !0x77_1fff == 0
        && efer & !0xfd01 == 0
        && vcpu.system(System::Dr6) >> 32 == 0
        && vcpu.system(System::Dr7) >> 32 == 0
        && (!paged_long || cr4 & cr::CR4_PAE != 0 && cr0 & cr::CR0_PE != 0)
        && (cr0 & cr::CR0_PG == 0 || cr0 & cr::CR0_PE != 0)
        && (!paged_long || code & 0x600 != 0x600)
        && (efer & cr::EFER_LMA != 0) == paged_long
        && addresses.into_iter().all(canonical)
        && canonical(vcpu.system(System::KernelGsBase))
}

#[test]
fn what_can_be_written_is_there() {
    for (register, value) in [
        (Cr0, 0x8005_0033),
        (Cr2, 0xdead_0000),
        (Cr3, 0x20_0018),
        (Cr4, 0x77_0fff),
        (Cr8, 15),
        (Efer, 0xcd01),
    ] {
        let mut bench = Bench::long();
        let before = bench.vcpu.flushes;
        assert!(write(&mut bench, register, value), "{register:?}");
        let system = match register {
            Cr0 => System::Cr0,
            Cr2 => System::Cr2,
            Cr3 => System::Cr3,
            Cr4 => System::Cr4,
            Cr8 => System::Cr8,
            _ => System::Efer,
        };
        let ours = if register == Efer { cr::EFER_SVME } else { 0 };
        assert_eq!(bench.vcpu.system(system), value | ours, "{register:?}");
        let translates = matches!(register, Cr0 | Cr3 | Cr4 | Efer);
        assert_eq!(bench.vcpu.flushes != before, translates, "{register:?}");
    }
}

#[test]
fn every_part_of_a_segment() {
    let mut bench = Bench::long();
    for (register, value) in [
        (Cs, 0x33),
        (CsLimit, 0xffff),
        (CsAttributes, 0xc9b),
        (Ss, 0x2b),
        (SsAttributes, 0xcf3),
        (FsBase, 0xffff_8000_0000_0000),
        (GsBase, 0x7fff_ffff_ffff),
        (DsBase, 0xffff_fff0),
        (KernelGsBase, 0xffff_ffff_8000_0000),
        (Tr, 0x40),
        (TrAttributes, 0x8b),
        (TrLimit, 0x67),
        (TrBase, 0xffff_fe00_0000_3000),
        (LdtrAttributes, 0x82),
        (GdtrBase, 0xffff_fe00_0000_1000),
        (GdtrLimit, 0x7f),
        (IdtrBase, 0xffff_fe00_0000_0000),
        (IdtrLimit, 0xfff),
    ] {
        assert!(write(&mut bench, register, value), "{register:?}");
    }
    let cs = bench.vcpu.segment(Seg::Cs);
    assert_eq!((cs.selector, cs.limit, cs.attributes), (0x33, 0xffff, 0xc9b));
    assert_eq!(bench.vcpu.cpl(), 3, "the privilege level goes with SS");
    // G follows the limit.
    assert!(write(&mut bench, CsLimit, 0x1234));
    assert_eq!(bench.vcpu.segment(Seg::Cs).attributes, 0x49b);
    assert!(!write(&mut bench, CsAttributes, 0xc9b));
    assert!(write(&mut bench, CsLimit, 0xffff_ffff));
    assert_eq!(bench.vcpu.segment(Seg::Cs).attributes, 0xc9b);
    let idtr = bench.vcpu.segment(Seg::Idtr);
    assert_eq!((idtr.base, idtr.limit), (0xffff_fe00_0000_0000, 0xfff));
}

#[test]
fn what_the_cpu_would_refuse_is_refused() {
    let long: [(Register, u64); 35] = [
        (Cr0, 0xa000_0011),
        (Cr0, 0x8000_0010),
        (Cr0, 0x1_8000_0011),
        (Cr0, 0x8000_0051),
        (Cr0, 0x11),
        (Cr3, 1 << 52),
        (Cr3, 0x20_0001),
        (Cr4, 0),
        (Cr4, 1 << 13 | cr::CR4_PAE),
        (Cr4, 1 << 12 | cr::CR4_PAE),
        (Cr4, 1 << 23 | cr::CR4_PAE),
        (Cr4, 1 << 32 | cr::CR4_PAE),
        (Cr8, 16),
        (Efer, 0),
        (Efer, 0x1d01),
        (Efer, 0x2d01),
        (Efer, 0x503),
        (Dr6, 1 << 32),
        (Dr7, 1 << 32),
        (Cs, 0x1_0008),
        (CsAttributes, 0xe9b),
        (CsAttributes, 0xa1b),
        (CsAttributes, 0xa93),
        (CsAttributes, 0xa8b),
        (CsAttributes, 0x1a9b),
        (CsLimit, 0x10_0000),
        (CsBase, 1 << 32),
        (FsBase, 1 << 47),
        (GsBase, 0xffff_7fff_ffff_ffff),
        (KernelGsBase, 1 << 63),
        (TrAttributes, 0x93),
        (TrAttributes, 0x82),
        (LdtrAttributes, 0x92),
        (GdtrBase, 1 << 50),
        (IdtrBase, 1 << 50),
    ];
    for (register, value) in long {
        let mut bench = Bench::long();
        assert!(!write(&mut bench, register, value), "{register:?} = {value:#x}");
    }
    let real = [(Cr0, 0x8000_0010), (Cr3, 1 << 32), (Cr4, 1 << 17), (SsAttributes, 0xf3)];
    for (register, value) in real {
        assert!(!write(&mut Bench::new(), register, value), "{register:?} = {value:#x}");
    }
    // Long mode begins under 32-bit code, and neither begins nor ends under 64-bit code.
    let mut bench = Bench::bits32();
    for (register, value) in [(Cr4, 0x20), (Efer, 0x100), (Cr0, 0x8000_0011)] {
        assert!(write(&mut bench, register, value), "{register:?}");
    }
    assert_eq!(bench.vcpu.system(System::Efer), 0x1500, "LMA is the CPU's to set");
    assert!(write(&mut bench, CsAttributes, 0xa9b));
    assert!(!write(&mut bench, Cr0, 0x11));
    // Neither user code nor virtual-8086 mode falls into real mode.
    let mut bench = Bench::bits32();
    assert!(write(&mut bench, SsAttributes, 0xcf3));
    assert!(!write(&mut bench, Cr0, 0x10));
    assert!(write(&mut bench, SsAttributes, 0xc93));
    bench.vcpu.change(System::Rflags, rflags::VM, true);
    assert!(!write(&mut bench, Cr0, 0x10));
}

#[test]
fn a_cpu_has_the_bits_it_has() {
    let mut bench = Bench::long();
    bench.machine.host.cpuid.borrow_mut().extend([
        (1, [0; 4]),
        (7, [0; 4]),
        (0x8000_0001, [0; 4]),
        (0x8000_0008, [40, 0, 0, 0]),
    ]);
    for bit in (0..24).filter(|bit| *bit != 5 && *bit != 8) {
        assert!(!write(&mut bench, Cr4, cr::CR4_PAE | 1 << bit), "CR4 bit {bit}");
    }
    assert!(write(&mut bench, Cr4, cr::CR4_PAE | 1 << 8));
    for bit in [11, 14, 15] {
        assert!(!write(&mut bench, Efer, 0x501 | 1 << bit), "EFER bit {bit}");
    }
    assert!(!write(&mut bench, Cr3, 1 << 40));
    assert!(write(&mut bench, Cr3, 1 << 39));
}

#[test]
fn the_guests_debug_registers() {
    let mut bench = Bench::new();
    assert!(write(&mut bench, Dr1, 0x1234));
    assert!(write(&mut bench, Dr7, 0xffff_ffff));
    assert!(write(&mut bench, Dr6, 0));
    assert_eq!((bench.vcpu.dr[1], bench.vcpu.system(System::Dr7)), (0x1234, 0xffff_27ff));
    assert_eq!(bench.dr6(), dr::DR6_INIT);
    // While the analyst holds one they are the guest's all the same.
    let mut bench = Bench::new();
    let dr0 = packet(Dr0, 0x5678);
    let dr7 = packet(Dr7, 1 << 2);
    bench.analyst(&["?", "Z1,9000,1", &dr0, &dr7, "c"]);
    assert_eq!(bench.vcpu.dr[0], 0x9000);
    assert_eq!(bench.vcpu.system(System::Dr7) & 0xff, 2 | 4);
    bench.line.bytes(&[3]);
    let number = &dr0[1..3];
    bench.line.packets(&[&std::format!("p{number}"), "z1,9000,1", "c"]);
    bench.exit(Exit::Interrupt);
    assert!(bench.line.replies().contains("$7856"));
    assert_eq!((bench.vcpu.dr[0], bench.vcpu.system(System::Dr7)), (0x5678, 0x404));
}

proptest! {
    #[test]
    fn no_write_keeps_the_guest_from_running(
        mode in 0..3_usize,
        writes in proptest::collection::vec(
            (0..Register::ALL.len(), any::<u64>(), 0..64_u32, any::<bool>()), 1..24),
    ) {
        let mut bench = [Bench::new, Bench::bits32, Bench::long][mode]();
        for (register, value, shift, one) in writes {
            let register = Register::ALL[register];
            let old = match register {
                Cr0 => bench.vcpu.system(System::Cr0),
                Cr4 => bench.vcpu.system(System::Cr4),
                Efer => bench.vcpu.system(System::Efer) & !cr::EFER_SVME,
                CsAttributes => bench.vcpu.segment(Seg::Cs).attributes.into(),
                _ => 0,
            };
            // One bit changed is what comes through; any value is what must not.
            write(&mut bench, register, if one { old ^ 1 << shift } else { value >> shift });
        }
    }
}

/// A shadow goes with the flags that the instruction before it left: VMX refuses it with others (SDM 3C, 26.3.1.5).
#[test]
fn other_flags_end_a_shadow() {
    for (changed, stays) in
        [(0, true), (rflags::DF, true), (rflags::IF, false), (rflags::TF, false)]
    {
        let mut bench = Bench::new();
        bench.vcpu.shadow = true;
        let flags = bench.flags() ^ changed;
        assert!(write(&mut bench, Eflags, flags));
        assert_eq!((bench.flags(), bench.vcpu.shadow), (flags, stays), "{changed:#x}");
    }
}
