//! A firmware that does its self-test again, and all that looks like it.
use super::bench::Bench;
use vcpu::{Seg, Segment, System, Vcpu};
use x86defs::{cr, segment};

/// The low page, as setup takes it where the BIOS had 639 KiB.
const PAGE: u32 = 0x9_e000;

/// The guest executes in the BIOS, which counts `kib` of conventional memory.
fn at_self_test(kib: u16) -> Bench {
    let mut bench = Bench::new();
    bench.machine.next_disk = PAGE >> 4 << 16 | 0x20;
    bench.vcpu.set_segment(Seg::Cs, Segment::real(0xf000, segment::CODE16));
    bench.machine.host.ram.borrow_mut()[0x413..0x415].copy_from_slice(&kib.to_le_bytes());
    bench
}

fn resets(bench: &mut Bench) -> u32 {
    bench.out(0x64, 0xaa);
    bench.machine.host.resets.get()
}

#[test]
fn the_machine_is_reset() {
    let mut bench = at_self_test(639);
    bench.out(0x92, 2);
    bench.out(0x60, 0xed);
    assert_eq!(bench.machine.host.resets.get(), 0, "which others use as well");
    assert_eq!(resets(&mut bench), 1);
}

#[test]
fn a_bios_call_is_none() {
    assert_eq!(resets(&mut at_self_test((PAGE >> 10) as u16)), 0);
    // A network boot took memory as well.
    assert_eq!(resets(&mut at_self_test(512)), 0);
}

#[test]
fn nor_is_a_system() {
    let mut in_protected_mode = at_self_test(640);
    in_protected_mode.vcpu.change(System::Cr0, cr::CR0_PE, true);
    assert_eq!(resets(&mut in_protected_mode), 0);
    let mut elsewhere = at_self_test(640);
    elsewhere.vcpu.set_segment(Seg::Cs, Segment::real(0x1000, segment::CODE16));
    assert_eq!(resets(&mut elsewhere), 0);
    let mut without_low_page = at_self_test(640);
    without_low_page.machine.next_disk = 0;
    assert_eq!(resets(&mut without_low_page), 0);
}
