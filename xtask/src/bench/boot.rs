//! The figures that one boot gives.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use object::{Object as _, ObjectSegment as _};
use testing::{Gdb, Machine};

use super::{BenchArgs, rows::Row};
use crate::{
    build, facts,
    machine_args::Cpu,
    scene::{Guest, Prepared, Scene},
};

pub(super) const LIMIT: Duration = Duration::from_secs(300);
/// Where every PC's BIOS has the handler of `int 0x19`: F000:E6F2.
const INT19: u64 = 0xf_e6f2;

/// Starts a scene whose clock counts instructions.
pub(super) fn counting(scene: &Scene, args: &BenchArgs) -> Result<Machine> {
    start(scene, args, |prepared| prepared.config.icount = true)
}

/// Starts a scene on the CPU that was asked for.
pub(super) fn start(
    scene: &Scene,
    args: &BenchArgs,
    adjust: impl Fn(&mut Prepared),
) -> Result<Machine> {
    let mut prepared = scene.prepare()?;
    args.cpu.put(&mut prepared.config)?;
    adjust(&mut prepared);
    prepared.start()
}

pub(super) fn cpuid_cost(args: &BenchArgs) -> Result<Vec<Row>> {
    let guest = Guest::named("bench-cpuid", "");
    let ticks = |scene: Scene| -> Result<u64> {
        let mut machine = counting(&scene, args)?;
        let console = machine.wait_console("VERDICT", LIMIT)?;
        facts::number(&console, "cpuid.ticks")
    };
    let bare = ticks(Scene::bare(guest.clone()))?;
    let under = ticks(Scene::under(guest))?;
    let cost = under.saturating_sub(bare) as f64;
    let target = match args.cpu {
        // Without the saved next RIP the instruction's length is to be found.
        Cpu::Amd | Cpu::Phenom => 250.0,
        Cpu::Ryzen | Cpu::Zambezi => 150.0,
        Cpu::Intel => 200.0,
    };
    Ok(vec![Row::new("cpuid.cost", "", "bench-cpuid", cost, "instructions").at_most(target)])
}

/// What a system call costs a program.
pub(super) fn syscall_cost(args: &BenchArgs) -> Result<Vec<Row>> {
    userland_cost(args, "syscall.cost", "syscall.ticks", 1.02)
}

/// What the first touch of a page of anonymous memory costs it.
pub(super) fn fault_cost(args: &BenchArgs) -> Result<Vec<Row>> {
    userland_cost(args, "fault.cost", "fault.ticks", 1.05)
}

fn userland_cost(args: &BenchArgs, name: &'static str, line: &str, times: f64) -> Result<Vec<Row>> {
    let guest = Guest::named("cloud", "ramooflax.costs");
    let ticks = |scene: Scene| -> Result<f64> {
        let console = counting(&scene, args)?.wait_console("READY", LIMIT)?;
        Ok(facts::number(&console, line)? as f64)
    };
    let bare = ticks(Scene::bare(guest.clone()))?;
    let under = ticks(Scene::under(guest))?;
    let row = Row::new(name, "", "cloud", under, "instructions").against(bare);
    Ok(vec![row.at_most(bare * times)])
}

/// Exits until the userland's first line. Interrupts and ticks are outside the target: how many
/// there are depends on how long the boot takes, not on what it does.
pub(super) fn exits(args: &BenchArgs) -> Result<Vec<Row>> {
    let scene = Scene::under(Guest::named("cloud", "nokaslr ramooflax.do=idle"));
    let mut machine = counting(&scene, args)?;
    machine.wait_console("USERLAND", LIMIT)?;
    let mut gdb = Gdb::attach(&machine.link())?;
    let text = gdb.command("monitor counters")?;
    let counters = facts::counters(&text);
    ensure!(!counters.is_empty(), "`monitor counters` gave:\n{text}");
    let row = |part: &str, value: u64| Row::new("boot.exits", part, "cloud", value as f64, "exits");
    // Nothing of it exits unless somebody asks for it.
    let unasked =
        ["exception", "interrupt", "nmi-window", "hlt", "monitor", "mwait", "mov-dr", "iret"];
    let exited = counters.iter().find(|(name, _)| unasked.contains(&name.as_str()));
    ensure!(args.cpu != Cpu::Intel || exited.is_none(), "with nobody attached: {exited:?}\n{text}");
    let timed = |name: &str| ["interrupt", "tick", "hlt", "mwait"].contains(&name);
    let sum = counters.iter().filter(|(name, _)| !timed(name)).map(|(_, count)| count).sum();
    let target = if args.cpu == Cpu::Intel { 3000.0 } else { 6000.0 };
    let mut rows = vec![row("", sum).at_most(target)];
    rows.extend(counters.iter().map(|(name, count)| row(name, *count)));
    Ok(rows)
}

/// Instructions from the guest's `int 0x19` to its userland, which powers off at once.
pub(super) fn instructions(args: &BenchArgs) -> Result<Vec<Row>> {
    let guest = Guest::named("cloud", "nokaslr ramooflax.mark");
    // With the VMM the BIOS boots twice: the machine itself, then the guest.
    let bare = fewest(|| boot_instructions(&Scene::bare(guest.clone()), 1, args))?;
    let under = fewest(|| boot_instructions(&Scene::under(guest.clone()), 2, args))?;
    let (bare, under) = (bare as f64, under as f64);
    let row = Row::new("boot.instructions", "", "cloud", under, "instructions").against(bare);
    Ok(vec![row.at_most((bare * 1.01).floor())])
}

/// The least of three: the BIOS and GRUB wait for the disk in a loop, and how long that takes is the
/// host's affair. It can only add.
fn fewest(measure: impl Fn() -> Result<u64>) -> Result<u64> {
    Ok(measure()?.min(measure()?).min(measure()?))
}

fn boot_instructions(scene: &Scene, boots: u32, args: &BenchArgs) -> Result<u64> {
    if args.cpu.is_bochs() {
        return boot_ticks(scene, boots, args);
    }
    let machine = start(scene, args, |prepared| {
        prepared.config.icount = true;
        prepared.config.paused = true;
        prepared.config.no_shutdown = true;
        prepared.config.qemu_gdb = true;
    })?;
    let mut gdb = Gdb::attach(&machine.qemu_gdb())?;
    gdb.limit = LIMIT;
    for boot in 1..=boots {
        gdb.command(&format!("hbreak *{INT19:#x}"))?;
        let said = gdb.command("continue")?;
        // QEMU's rip is the offset in the segment, so gdb does not know that it is at a breakpoint.
        let (cs, ip) = (gdb.value("$cs")?, gdb.value("$rip")?);
        ensure!((cs << 4) + ip == INT19, "stopped at {cs:x}:{ip:x}: {said}");
        gdb.command("delete")?;
        if boot < boots {
            gdb.command("stepi")?;
        }
    }
    let mut qmp = machine.qmp()?;
    let from = qmp.icount()?;
    gdb.command("detach")?;
    let deadline = Instant::now() + LIMIT;
    while qmp.status()? != "shutdown" {
        ensure!(Instant::now() < deadline, "the guest did not power off{}", machine.tails());
        std::thread::sleep(Duration::from_millis(100));
    }
    if !machine.console().contains("USERLAND") {
        bail!("the guest reached no userland{}", machine.tails());
    }
    let to = qmp.icount()?;
    to.checked_sub(from).context("the count of instructions went back")
}

/// The same in Bochs's ticks: one for an instruction, and those that pass while the CPU sleeps.
fn boot_ticks(scene: &Scene, boots: u32, args: &BenchArgs) -> Result<u64> {
    let mut machine = start(scene, args, |prepared| {
        prepared.config.icount = true;
        prepared.config.paused = true;
    })?;
    for _ in 0..boots {
        machine.debugger()?.run_to(INT19)?;
    }
    let from = machine.debugger()?.ticks()?;
    machine.debugger()?.go()?;
    machine.wait_exit(LIMIT)?;
    if !machine.console().contains("USERLAND") {
        bail!("the guest reached no userland{}", machine.tails());
    }
    machine.ended_at()?.checked_sub(from).context("the count of instructions went back")
}

pub(super) fn ram_taken(args: &BenchArgs) -> Result<Vec<Row>> {
    const SMALL: u64 = 512;
    const CPUS: u32 = 4;
    let guest = Guest::named("cloud", "ramooflax.iomem");
    let taken = |mib: u64, cpus: u32| -> Result<f64> {
        let ram = |scene: Scene| -> Result<u64> {
            let adjust = |p: &mut Prepared| (p.config.memory, p.config.smp) = (mib, cpus);
            let mut machine = start(&scene, args, adjust)?;
            facts::ram(&machine.wait_console("READY", LIMIT)?)
        };
        let bare = ram(Scene::bare(guest.clone()))?;
        Ok(bare as f64 - ram(Scene::under(guest.clone()))? as f64)
    };
    let row = |part: &str, value| Row::new("ram.taken", part, "cloud", value, "bytes");
    let mut rows = Vec::new();
    // The last is more than the host has: the guest touches little of it. Bochs comes to no first instruction
    // with so much.
    let most = if args.cpu.is_bochs() { 6144 } else { 65536 };
    let alone = taken(SMALL, 1)?;
    for (mib, value) in [(SMALL, alone), (4096, taken(4096, 1)?), (most, taken(most, 1)?)] {
        rows.push(row(&format!("{mib} MiB"), value).at_most(f64::from(2 << 20)));
    }
    if !args.cpu.is_bochs() {
        let further = (taken(SMALL, CPUS)? - alone) / f64::from(CPUS - 1);
        rows.push(row("per further CPU", further).at_most(f64::from(64 << 10)));
    }
    Ok(rows)
}

pub(super) fn image_size(_: &BenchArgs) -> Result<Vec<Row>> {
    let bytes = fs::read(build::vmm()?.stripped)?;
    let size: u64 = object::File::parse(&*bytes)?.segments().map(|segment| segment.size()).sum();
    let row = Row::new("image.size", "", "none", size as f64, "bytes");
    Ok(vec![row.at_most(f64::from(256 << 10))])
}
