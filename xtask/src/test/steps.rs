//! One step after the other, over the instructions that are not like others to a CPU or to the VMM.

use anyhow::{Result, ensure};

use super::{
    Test,
    inspect::{Counting, packet},
};
use crate::{analyst::run_to, machine_args::Cpu};

/// RAM that the guest does not use.
const CODE: u64 = 0x40_0000;

const STI: &[u8] = &[0xfb];
/// MOV SS, EAX.
const LOADS_SS: &[u8] = &[0x8e, 0xd0];

/// Code, instruction by instruction: flags, shadows, sleep, and what exits. Interrupts are on and the timer ticks.
const INSTRUCTIONS: [(&str, &[u8]); 19] = [
    ("cli", &[0xfa]),
    ("sti", STI),
    ("nop, in the shadow of STI", &[0x90]),
    ("sti, on already", STI),
    ("mov %ss,%eax", &[0x8c, 0xd0]),
    ("mov %eax,%ss", LOADS_SS),
    ("nop, in the shadow of MOV SS", &[0x90]),
    ("mov %eax,%ss", LOADS_SS),
    ("mov %eax,%ss, in the shadow of another", LOADS_SS),
    ("nop, in the shadow of either", &[0x90]),
    ("pushf", &[0x9c]),
    ("popf", &[0x9d]),
    ("pushf", &[0x9c]),
    ("pop %rsi", &[0x5e]),
    ("xor %eax,%eax", &[0x31, 0xc0]),
    ("cpuid", &[0x0f, 0xa2]),
    ("hlt", &[0xf4]),
    ("nop, after sleep", &[0x90]),
    ("mov %dr6,%rax", &[0x0f, 0x21, 0xf0]),
];

fn casts_shadow(bytes: &[u8]) -> bool {
    bytes == LOADS_SS || bytes == STI
}

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("gdb.steps", 180, steps)]
}

fn steps() -> Result<()> {
    let guest = Counting::start()?;
    let mut gdb = guest.attach()?;
    // Where it can be left, and found again.
    run_to(&mut gdb, "hbreak", guest.routine + 1)?;
    let bytes = INSTRUCTIONS.iter().flat_map(|(_, bytes)| bytes.iter());
    let code: String = bytes.map(|byte| format!("{byte:02x}")).collect();
    let written = packet(&mut gdb, &format!("M{CODE:x},{:x}:{code}", code.len() / 2))?;
    ensure!(written == "OK", "the code is not written: {written}");
    let registers = ["rip", "rax", "rbx", "rcx", "rdx", "rsi"];
    let saved = registers.map(|register| gdb.value(&format!("${register}")));
    gdb.command(&format!("set var $rip = {CODE:#x}"))?;
    let mut next = CODE;
    let mut code = INSTRUCTIONS.iter().peekable();
    while let Some((name, bytes)) = code.next() {
        next += bytes.len() as u64;
        let said = gdb.command("stepi")?;
        let rip = gdb.value("$rip")?;
        // By TF what follows a MOV SS is stepped with it (decision 0008). In QEMU so is what follows an STI, or a MOV SS
        // that follows another.
        let mut shadow = casts_shadow(bytes) && Cpu::chosen() != Cpu::Intel;
        while shadow && rip > next {
            let bytes = code.next().map_or(&[][..], |(_, bytes)| bytes);
            next += bytes.len() as u64;
            shadow = casts_shadow(bytes);
        }
        ensure!(rip == next, "{name}: to {rip:#x}, not {next:#x}: {said}{}", guest.machine.tails());
    }
    // IF, and no TF of anybody's; nor is there a step in DR6.
    let flags = gdb.value("$rsi")?;
    ensure!(flags & 0x300 == 0x200, "the guest has seen flags {flags:#x}");
    let dr6 = gdb.value("$rax")?;
    ensure!(dr6 & 0x400f == 0, "the guest has seen DR6 {dr6:#x}");
    for (register, value) in registers.into_iter().zip(saved) {
        gdb.command(&format!("set var ${register} = {:#x}", value?))?;
    }
    if matches!(Cpu::chosen(), Cpu::Ryzen | Cpu::Zambezi) {
        // Where the CPU does not say why a #DB came (decision 0021) it is the step's alone.
        return guest.lives(&mut gdb);
    }
    // What changes in a step is told with it.
    gdb.command(&format!("watch *(unsigned long *) {:#x}", guest.counter))?;
    let said = gdb.command("stepi")?;
    ensure!(said.contains("Old value = ") && said.contains("New value = "), "no change: {said}");
    let rip = gdb.value("$rip")?;
    ensure!(rip == guest.routine + 8, "at {rip:#x}, not behind the INC");
    gdb.command("delete")?;
    let said = gdb.command("stepi")?;
    let rip = gdb.value("$rip")?;
    ensure!(rip == guest.routine + 1, "at {rip:#x}, not behind the jump: {said}");
    guest.lives(&mut gdb)
}
