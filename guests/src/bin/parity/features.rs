//! Each instruction that CPUID says is there, executed: what a hypervisor must switch on for its guest, or deny.

use crate::msrs::Outcome;
use guests::cpu::{self, Racy};
use guests::exception;
use guests::{cpu_asm, report};

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Area([u64; 1024]);
static AREA: Racy<Area> = Racy::new(Area([0; 1024]));

/// What becomes of `body`.
fn outcome(name: &str, body: &mut dyn FnMut()) {
    let fault = exception::catch(body);
    report::value(name, format_args!("{}", Outcome(fault.map_or(Ok(None), Err))));
}

/// EAX, EBX, ECX, EDX among a leaf's registers.
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const D: usize = 3;

/// Runs a piece of assembly if CPUID reports its bit.
macro_rules! feature {
    ($name:literal, $leaf:expr, $register:expr, $bit:expr, $($insn:literal),* $(; $eax:expr, $ecx:expr)?) => {
        if cpu::has($leaf, $register, $bit) {
            let (_eax, _ecx): (u64, u64) = (AREA.address(), 0);
            $( let (_eax, _ecx): (u64, u64) = ($eax, $ecx); )?
            outcome(concat!("feature.", $name), &mut || {
                cpu_asm!("push rbx", $($insn,)* "pop rbx", inout("rax") _eax => _, inout("rcx") _ecx => _,
                    out("rdx") _, out("r8") _);
            });
        }
    };
}

/// Sets bits of CR4 for `body`.
fn with_cr4(bits: u64, body: impl FnOnce()) {
    let before = cpu::cr4();
    cpu::set_cr4(before | bits);
    body();
    cpu::set_cr4(before);
}

pub(crate) fn all() {
    feature!("rdtscp", 0x8000_0001, D, 27, "rdtscp");
    feature!("rdpid", 7, C, 22, ".byte 0xf3, 0x0f, 0xc7, 0xf8");
    // All contexts, global translations too; then a type that does not exist.
    feature!("invpcid", 7, B, 10, ".byte 0x66, 0x0f, 0x38, 0x82, 0x08"; AREA.address(), 2);
    feature!("invpcid-wrong", 7, B, 10, ".byte 0x66, 0x0f, 0x38, 0x82, 0x08"; AREA.address(), 9);
    feature!(
        "fsgsbase",
        7,
        B,
        0,
        "mov rdx, cr4",
        "mov r8, rdx",
        "bts rdx, 16",
        "mov cr4, rdx",
        "rdfsbase rax",
        "wrfsbase rax",
        "mov cr4, r8"
    );
    feature!("smap", 7, B, 20, "stac", "clac");
    feature!("clflushopt", 7, B, 23, ".byte 0x66, 0x0f, 0xae, 0x38");
    feature!("clwb", 7, B, 24, ".byte 0x66, 0x0f, 0xae, 0x30");
    feature!("rdrand", 1, C, 30, "rdrand rax");
    feature!("rdseed", 7, B, 18, "rdseed rax");
    feature!("tpause", 7, C, 5, "xor eax, eax", "xor edx, edx", ".byte 0x66, 0x0f, 0xae, 0xf1");
    feature!(
        "umonitor",
        7,
        C,
        5,
        ".byte 0xf3, 0x0f, 0xae, 0xf0",
        "xor eax, eax",
        "xor edx, edx",
        ".byte 0xf2, 0x0f, 0xae, 0xf1"
    );
    feature!("movdiri", 7, C, 27, ".byte 0x0f, 0x38, 0xf9, 0x08");
    feature!("movdir64b", 7, C, 28, "mov rcx, rax", ".byte 0x66, 0x0f, 0x38, 0xf8, 0x01");
    feature!("serialize", 7, D, 14, ".byte 0x0f, 0x01, 0xe8");
    feature!("wbnoinvd", 0x8000_0008, B, 9, ".byte 0xf3, 0x0f, 0x09");
    feature!("rdssp", 7, C, 7, ".byte 0xf3, 0x48, 0x0f, 0x1e, 0xc8");
    if cpu::has(7, C, 3) {
        with_cr4(1 << 22, || {
            feature!(
                "pku",
                7,
                C,
                3,
                "xor ecx, ecx",
                ".byte 0x0f, 0x01, 0xee",
                "xor edx, edx",
                ".byte 0x0f, 0x01, 0xef"
            );
        });
    }
    if cpu::has(1, C, 26) {
        with_cr4(1 << 18, || {
            feature!(
                "xsave",
                1,
                C,
                26,
                "mov r8, rax",
                "mov eax, 1",
                "xor edx, edx",
                "xsave [r8]",
                "xrstor [r8]"
            );
            if cpu::cpuid(0xd, 1)[A] & 1 << 3 != 0 {
                feature!(
                    "xsaves",
                    1,
                    C,
                    26,
                    "mov r8, rax",
                    "mov eax, 1",
                    "xor edx, edx",
                    "xsaves [r8]",
                    "xrstors [r8]"
                );
                feature!("xss", 1, C, 26, "mov ecx, 0xda0", "rdmsr", "wrmsr");
            }
        });
    }
    // UMIP keeps SMSW and the like from ring 3; CET is switched on with no part of it in use, over an exit.
    if cpu::has(7, C, 2) {
        with_cr4(1 << 11, || feature!("umip", 7, C, 2, "smsw eax", "str ax"));
    }
    if cpu::has(7, C, 7) || cpu::has(7, D, 20) {
        let cr0 = cpu::cr0();
        cpu::set_cr0(cr0 | 1 << 16);
        with_cr4(1 << 23, || {
            feature!("cet", 1, D, 0, "mov ecx, 0x6a2", "rdmsr", "wrmsr", "xor eax, eax", "cpuid");
        });
        cpu::set_cr0(cr0);
    }
    if cpu::has(7, D, 5) {
        with_cr4(1 << 25, || feature!("uintr", 7, D, 5, ".byte 0xf3, 0x0f, 0x01, 0xef"));
    }
}
