//! What CPUID tells the guest, on a CPU that has everything.
use super::bench::Bench;
use vcpu::{Exit, Gpr, System, Vcpu};
use x86defs::cr;

fn ask(bench: &mut Bench, leaf: u32, subleaf: u32) -> [u64; 4] {
    // The upper halves must not matter, and must be 0 afterwards.
    bench.vcpu.set_gpr(Gpr::Rax, u64::from(leaf) | 0xdead << 32);
    bench.vcpu.set_gpr(Gpr::Rcx, u64::from(subleaf) | 0xbeef << 32);
    bench.vcpu.next_rip = Some(0x7c02);
    bench.exit(Exit::Cpuid);
    [Gpr::Rax, Gpr::Rbx, Gpr::Rcx, Gpr::Rdx].map(|register| bench.vcpu.gpr(register))
}

const ALL: u64 = 0xffff_ffff;

#[test]
fn what_is_not_in_the_table_passes() {
    let mut bench = Bench::new();
    bench.machine.host.cpuid.borrow_mut().insert(0, [0x10, 1, 2, 3]);
    assert_eq!(ask(&mut bench, 0, 0), [0x10, 1, 2, 3]);
    assert_eq!(ask(&mut bench, 7, 2), [ALL; 4]);
    assert_eq!(ask(&mut bench, 0x4000_0000, 0), [ALL; 4]);
}

#[test]
fn virtualisation_is_concealed() {
    let mut bench = Bench::new();
    let [eax, ebx, ecx, edx] = ask(&mut bench, 0x8000_0001, 0);
    assert_eq!([eax, ebx, edx], [ALL; 3]);
    assert_eq!(ecx, ALL & !(1 << 2 | 1 << 12));
    assert_eq!(ask(&mut bench, 0x8000_000a, 0), [0; 4]);
    assert_eq!(ask(&mut bench, 0x8000_001f, 0), [0; 4]);
    assert_eq!(ask(&mut bench, 1, 0)[2] & (1 << 5 | 1 << 6), 0, "VMX and SMX");
    let [eax, ebx, ecx, edx] = ask(&mut bench, 7, 1);
    assert_eq!(eax, ALL & !(1 << 17 | 1 << 27), "FRED, lists of MSRs");
    assert_eq!(
        [ebx, ecx, edx],
        [ALL, ALL & !(1 << 5), ALL & !(1 << 15)],
        "MSRs by other instructions"
    );
}

/// The VMM's CR4 has KL where the CPU has key locker, so that its CPUID says what the firmware left of it.
#[test]
fn key_locker_is_on_while_the_guest_has_it_on() {
    let mut bench = Bench::new();
    assert_eq!(ask(&mut bench, 0x19, 0)[1], ALL & !1);
    bench.vcpu.change(System::Cr4, cr::CR4_KL, true);
    assert_eq!(ask(&mut bench, 0x19, 0)[1], ALL);
    bench.machine.host.cpuid.borrow_mut().insert(0x19, [0; 4]);
    assert_eq!(ask(&mut bench, 0x19, 0)[1], 0, "the firmware has switched it off");
}

#[test]
fn osxsave_and_ospke_follow_the_guests_cr4() {
    let mut bench = Bench::new();
    for (leaf, bit, cr4) in [(1, 27, cr::CR4_OSXSAVE), (7, 4, cr::CR4_PKE)] {
        assert_eq!(ask(&mut bench, leaf, 0)[2] >> bit & 1, 0);
        bench.vcpu.change(System::Cr4, cr4, true);
        assert_eq!(ask(&mut bench, leaf, 0)[2] >> bit & 1, 1);
        bench.machine.host.cpuid.borrow_mut().insert(leaf, [0; 4]);
        assert_eq!(ask(&mut bench, leaf, 0)[2], 1 << bit, "whatever the VMM's own CR4 is");
    }
}
