//! Cases that are not random bytes but one deed each, with random operands.

use crate::msrs;
use crate::random::Random;
use crate::runner::{CODE, DATA};
use guests::cpu::{self, inb, outb};
use guests::exception::{self, GP, PF, UD, catch};
use guests::{cpu_asm, report};

/// The local APIC's registers that may be written. Not the command register: an INIT that the CPU sends itself
/// ends any VMM under TCG.
const APIC_REGISTERS: [u64; 9] = [0x80, 0xd0, 0xe0, 0xb0, 0x280, 0x370, 0x3e0, 0x380, 0x340];

/// Does one of them.
pub(crate) fn any(random: &mut Random, hole: Option<u64>) {
    match random.below(14) {
        0 => port(random),
        1 => strings(random, hole),
        2 => msrs::read(random),
        3 => msrs::write(random),
        4 => keep(cpu::cpuid(leaf(random), random.below(32) as u32)),
        5 => virtualization(random),
        6 => control(random),
        7 => debug(random),
        8 => apic(random),
        9 => a20(random),
        10 => caches(random),
        11 => tables(random),
        12 => modify(random),
        _ => {
            if let Some(hole) = hole {
                in_the_hole(random, hole);
            }
        }
    }
}

fn leaf(random: &mut Random) -> u32 {
    let base = random.of(&[0, 0x8000_0000, 0x4000_0000, 0xc000_0000]);
    if random.one_in(4) { random.next() as u32 } else { base + random.below(0x30) as u32 }
}

/// A port that may be touched. Not those that would break the test machine: the console (2F8h), disks and
/// their bus masters, the floppy (its DMA reaches the VMM: the book's table of traces says so), PCI's
/// configuration and fw_cfg for the same reason, the clock's memory, what powers off, and the last register of
/// a serial port: QEMU 7.2 dies of an access that reaches over it.
fn may_touch(port: u16) -> bool {
    !matches!(port,
        0x2ef | 0x3ef | 0x3ff | 0x60..=0x7f | 0x92 | 0xb2 | 0xb3 | 0x170..=0x177 | 0x1f0..=0x1f7 | 0x2f8..=0x2ff | 0x376 | 0x377
        | 0x3f0..=0x3f7 | 0x4d0..=0x4d1 | 0x500..=0x8ff | 0xae00..=0xafff | 0xb000..=0xb1ff | 0xc000..=0xcfff
        | 0xcf8..=0xcff)
}

fn some_port(random: &mut Random) -> u16 {
    let low = [0_u16, 0x20, 0x40, 0x80, 0xa0, 0xc0, 0x200, 0x378, 0x3c0, 0x3d0, 0x3e8, 0x3f8];
    loop {
        let near = random.of(&low) + random.below(16) as u16;
        let port = if random.one_in(3) { random.next() as u16 } else { near };
        if (0..4).all(|n| may_touch(port.wrapping_add(n))) {
            return port;
        }
    }
}

fn port(random: &mut Random) {
    let (port, value) = (some_port(random), random.next() as u32);
    match random.below(6) {
        0 => cpu_asm!("in al, dx", in("dx") port, out("al") _, options(nostack)),
        1 => cpu_asm!("in ax, dx", in("dx") port, out("ax") _, options(nostack)),
        2 => cpu_asm!("in eax, dx", in("dx") port, out("eax") _, options(nostack)),
        3 => cpu_asm!("out dx, al", in("dx") port, in("al") value as u8, options(nostack)),
        4 => cpu_asm!("out dx, ax", in("dx") port, in("ax") value as u16, options(nostack)),
        _ => cpu_asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack)),
    }
}

/// INS and OUTS, with memory that is there, the hole, the border between them, or nothing canonical.
fn strings(random: &mut Random, hole: Option<u64>) {
    let port = some_port(random);
    let memory = match (random.below(4), hole) {
        (0, Some(hole)) => hole - random.below(8),
        (1, Some(hole)) => hole + random.below(0x1000),
        (2, _) => random.number(),
        _ => DATA + random.below(0x1000),
    };
    let count = random.below(9);
    let body = |which: u64| match which {
        0 => cpu_asm!("rep insb", in("dx") port, inout("rcx") count => _, inout("rdi") memory => _),
        1 => cpu_asm!("rep insw", in("dx") port, inout("rcx") count => _, inout("rdi") memory => _),
        2 => {
            cpu_asm!("rep outsb", in("dx") port, inout("rcx") count => _, inout("rsi") memory => _)
        }
        _ => {
            cpu_asm!("rep outsd", in("dx") port, inout("rcx") count => _, inout("rsi") memory => _)
        }
    };
    // A number may name this guest's own memory: then nothing is stored.
    let own = memory < DATA;
    let which = if own { 2 + random.below(2) } else { random.below(4) };
    catch(|| body(which));
}

/// SVM's and VMX's instructions are #UD, whichever of them the CPU has.
fn virtualization(random: &mut Random) {
    let number = random.number();
    let rax = random.of(&[0, DATA, 0x1000, number]);
    macro_rules! run {
        ($($text:literal),*) => {
            [$(($text, (|rax| cpu_asm!($text, in("rax") rax, in("ecx") 0)) as fn(u64))),*]
        };
    }
    let all = run!(
        "vmrun rax",
        "vmload rax",
        "vmsave rax",
        "stgi",
        "clgi",
        "skinit eax",
        "invlpga rax, ecx",
        "vmmcall",
        "vmcall",
        "vmlaunch",
        "vmresume",
        "vmxoff",
        "vmfunc",
        "vmread rax, rax",
        "vmwrite rax, rax"
    );
    // With the address of memory.
    let others = run!(
        "vmxon [rax]",
        "vmclear [rax]",
        "vmptrld [rax]",
        "vmptrst [rax]",
        "invept rax, [rax]",
        "invvpid rax, [rax]"
    );
    let ((name, instruction), rax) =
        if random.one_in(4) { (random.of(&others), DATA) } else { (random.of(&all), rax) };
    let fault = catch(|| instruction(rax)).map(|fault| fault.vector);
    // Some CPUs look at the address before they ask whether the instruction is intercepted.
    let address = matches!(name, "vmrun rax" | "vmload rax" | "vmsave rax")
        && (rax & 0xfff != 0 || rax >> 36 != 0);
    if fault != Some(UD) && !(address && fault == Some(GP)) {
        report::fact(format_args!("torture.is-ud {name} {rax:x}"), fault, Some(UD));
    }
}

/// Control registers with bits flipped that leave this code running. Reserved bits of CR3 and CR4 hang QEMU 7.2
/// itself.
fn control(random: &mut Random) {
    const CR0: u64 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 16 | 1 << 18 | 3 << 29;
    const CR4: u64 = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400;
    let (cr0, cr4) = (cpu::cr0(), cpu::cr4());
    let bits = random.next();
    match random.below(6) {
        0 => keep(catch(|| cpu::set_cr0(cr0 ^ bits & CR0))),
        1 => keep(catch(|| cpu::set_cr0(cr0 ^ 1 << (32 + bits % 32)))),
        2 => keep(catch(|| cpu::set_cr4(cr4 ^ bits & CR4))),
        3 => keep(catch(|| cpu::set_cr8(random.number()))),
        4 => keep(catch(|| cpu_asm!("lmsw {0:x}", in(reg) bits & 0xf | 1, options(nostack)))),
        _ => keep(catch(|| {
            cpu_asm!("xsetbv", in("ecx") bits as u32 & 3, in("eax") (bits >> 8) as u32,
                in("edx") (bits >> 40) as u32, options(nostack));
        })),
    }
    cpu::set_cr0(cr0);
    cpu::set_cr4(cr4);
    cpu::set_cr8(0);
}

fn debug(random: &mut Random) {
    let (value, address) = (random.number(), DATA + random.below(0x100));
    match random.below(5) {
        0 => keep(catch(|| cpu::set_dr6(value))),
        1 => keep(catch(|| cpu::set_dr7(value))),
        2 => keep(catch(|| cpu::set_dr3(value))),
        // A watchpoint that is hit.
        3 => keep(catch(|| {
            cpu::set_dr0(address);
            cpu::set_dr7(0x401 | (value & 0xf) << 16);
            cpu::write64(address & !7, value);
        })),
        _ => keep(catch(|| cpu_asm!(".byte 0xf1"))),
    }
    catch(|| cpu::set_dr7(0x400));
    catch(|| cpu::set_dr6(0xffff_0ff0));
}

fn apic(random: &mut Random) {
    const BASE: u64 = 0xfee0_0900;
    match random.below(4) {
        0 => {
            // Its page is moved: away, over other devices, over the VMM.
            let to =
                random.of(&[0xfee0_1000, 0xfee1_0000, crate::hole(), 0xfec0_0000, 0x1_0000_0000]);
            catch(|| cpu::wrmsr(0x1b, to | 0x900));
            let mut version = 0;
            catch(|| version |= cpu::read32(to + 0x30));
            catch(|| cpu::wrmsr(0x1b, BASE));
        }
        1 => keep(cpu::read32(0xfee0_0000 + (random.below(0x1000) & !0xf))),
        _ => {
            // No local interrupt is an SMI: QEMU enters SMM whatever smm= says, and nothing is there.
            let mode = random.of(&[0, 4, 7]) << 8;
            let value = random.next() as u32 & !0x700 | mode;
            cpu::write32(0xfee0_0000 + random.of(&APIC_REGISTERS), value);
        }
    }
}

/// Both gates, off and on; on in the end.
fn a20(random: &mut Random) {
    fn keyboard() {
        for _ in 0..10_000 {
            if inb(0x64) & 2 == 0 {
                return;
            }
        }
    }
    fn gate(on: bool) {
        keyboard();
        outb(0x64, 0xd1);
        keyboard();
        outb(0x60, if on { 0xdf } else { 0xdd });
        keyboard();
    }
    match random.below(3) {
        0 => outb(0x92, 0),
        1 => gate(false),
        _ => {
            // Commands of the keyboard controller but those that pulse the reset line or write its port.
            keyboard();
            outb(0x64, random.byte() & 0xcf & !0x10);
            let _ = inb(0x60);
        }
    }
    catch(|| cpu::write64(0x10_0000 + random.below(0x1000), 0));
    gate(true);
    outb(0x92, 2);
}

fn caches(random: &mut Random) {
    match random.below(4) {
        0 => cpu_asm!("invd", options(nostack)),
        1 => cpu_asm!("wbinvd", options(nostack)),
        2 => cpu_asm!("invlpg [{}]", in(reg) random.number(), options(nostack)),
        _ => cpu_asm!("clflush [{}]", in(reg) DATA + random.below(0x1000), options(nostack)),
    }
}

/// Descriptor tables that are nonsense, as long as nothing needs them.
fn tables(random: &mut Random) {
    let pointer = DATA + 0x100;
    cpu::write16(pointer, random.next() as u16);
    cpu::write64(pointer + 2, random.number());
    // #GP where the base is not canonical, but on QEMU.
    keep(catch(|| {
        cpu_asm!("sidt [{0}]", "cli", "lidt [{1}]", "lidt [{0}]", in(reg) DATA + 0x140,
            in(reg) pointer, options(nostack));
    }));
    let selector = random.next() & 0xffff;
    match random.below(6) {
        0 => keep(catch(|| cpu_asm!("lldt {0:x}", in(reg) selector))),
        1 => keep(catch(|| cpu_asm!("ltr {0:x}", in(reg) selector))),
        2 => keep(catch(|| cpu_asm!("mov fs, {0:x}", in(reg) selector))),
        3 => keep(catch(|| cpu_asm!("lgdt [{}]", in(reg) 1_u64 << 63))),
        4 => keep(catch(|| cpu_asm!("sldt ax", "str dx", out("ax") _, out("dx") _))),
        _ => keep(catch(
            || cpu_asm!("lar {0:e}, {0:e}", "lsl {0:e}, {0:e}", inout(reg) selector => _),
        )),
    }
}

/// Code that writes the instruction it is about to execute.
fn modify(random: &mut Random) {
    let value = random.next() as u32;
    // mov eax, imm32; ret
    cpu::write8(CODE + 0x100, 0xb8);
    cpu::write32(CODE + 0x101, !value);
    cpu::write8(CODE + 0x105, 0xc3);
    let got: u64;
    cpu_asm!("mov dword ptr [{0} + 1], {1:e}", "call {0}", in(reg) CODE + 0x100, in(reg) value,
        out("rax") got);
    if got as u32 != value {
        report::fact("torture.self-modified", got as u32, value);
    }
}

/// Stores, locked and plain, jumps, calls, the stack, page tables: in the VMM's range. It reads FFh
/// afterwards as before.
fn in_the_hole(random: &mut Random, hole: u64) {
    let at = hole + random.below(0x1000) + random.below(4) * 0x1000;
    let value = random.next();
    let fault = match random.below(8) {
        0 => catch(|| cpu::write64(at, value)),
        1 => catch(|| cpu_asm!("lock add qword ptr [{0}], {1}", in(reg) at, in(reg) value)),
        2 => catch(
            || cpu_asm!("xchg byte ptr [{0}], {1}", in(reg) at, inout(reg_byte) value as u8 => _),
        ),
        3 => catch(|| {
            cpu_asm!("rep stosb", in("al") 0_u8, inout("rdi") at - 8 => _, inout("rcx") 24_u64 => _);
        }),
        4 => {
            // FFh, FFh: no instruction.
            let fault = catch(|| cpu_asm!("jmp {}", in(reg) at));
            report_unless(fault.map(|f| f.vector) == Some(UD), "torture.code-of-the-hole-is-ud");
            fault
        }
        5 => catch(|| {
            cpu_asm!("mov {1}, rsp", "mov rsp, {0}", "push 0", "push 0", "pop {0}", "mov rsp, {1}",
                inout(reg) (at & !7) + 64 => _, out(reg) _);
        }),
        6 => {
            // A directory whose entries are all ones: reserved bits.
            let directory = guests::start::boot_pdpt() + 8;
            let old = cpu::read64(directory);
            cpu::write64(directory, at & !0xfff | 7);
            cpu_asm!("invlpg [{}]", in(reg) 1_u64 << 30);
            let mut byte = 0;
            let fault = catch(|| byte |= cpu::read8((1 << 30) + (value & 0x3fff_ffff)));
            cpu::write64(directory, old);
            cpu::set_cr3(cpu::cr3());
            report_unless(fault.map(|f| f.vector) == Some(PF), "torture.table-in-the-hole-faults");
            fault
        }
        _ => catch(|| cpu_asm!("lgdt [{}]", in(reg) 1_u64 << 62 | at)),
    };
    let known = fault.is_none_or(|fault| matches!(fault.vector, UD | PF | GP));
    report_unless(known, "torture.hole-fault");
    let left = cpu::read64(at & !7);
    report_unless(left == u64::MAX, "torture.hole-reads-ff");
    exception::reload_idt();
}

/// Only failures are worth a line: there are too many cases.
fn report_unless(held: bool, name: &str) {
    if !held {
        report::holds(name, false);
    }
}

/// How it ended is of no interest: it came back.
fn keep<T>(_: T) {}
