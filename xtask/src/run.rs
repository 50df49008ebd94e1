//! `cargo xtask run`: a machine to play with.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::Args;
use testing::{Console, Machine};

use crate::{
    machine_args::MachineArgs,
    menu::Multiboot,
    scene::{Guest, Scene, Start},
};

/// Options of `run`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    machine: MachineArgs,
    /// The guest: cloud, amd64 (Debian's kernels) or a test guest of guests/.
    #[arg(long, default_value = "cloud")]
    guest: String,
    /// Boot this raw disk instead; what is written to it is thrown away.
    #[arg(long, conflicts_with = "guest")]
    disk: Option<PathBuf>,
    /// The same machine without the VMM.
    #[arg(long)]
    no_vmm: bool,
    /// The protocol by which GRUB loads the VMM.
    #[arg(long, value_enum, default_value_t)]
    multiboot: Multiboot,
    /// Further options for the VMM's command line, for example `wait`.
    #[arg(long, value_name = "OPTIONS")]
    vmm: Option<String>,
    /// Further words for the guest's command line.
    #[arg(long, value_name = "WORDS", default_value = "ramooflax.do=shell")]
    append: String,
    /// Print the guest's console and stop after this many seconds, instead of being interactive.
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,
    /// Offer QEMU's own gdb stub too, to debug the VMM itself.
    #[arg(long)]
    qemu_gdb: bool,
}

/// Runs it.
///
/// # Errors
/// When the machine cannot be prepared or started, or the loader refuses to start the VMM.
pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let guest = match &args.disk {
        Some(disk) => Guest::Disk(disk.clone()),
        None => Guest::named(&args.guest, &args.append),
    };
    let mut scene = Scene::bare(guest);
    if !args.no_vmm {
        scene.vmm = Some(Start { multiboot: args.multiboot, ..Start::default() });
    }
    if let Some(options) = &args.vmm {
        scene = scene.option(options);
    }
    println!("building and making the disk");
    let mut prepared = scene.prepare()?;
    args.machine.apply(&mut prepared.config)?;
    prepared.config.qemu_gdb = args.qemu_gdb;
    if args.limit.is_none() {
        prepared.config.console = Console::Stdio;
    }
    let vmm = prepared.vmm.clone();
    let mut machine = prepared.start()?;
    if args.qemu_gdb {
        println!("QEMU's gdb stub: target remote {}", machine.qemu_gdb().display());
    }
    if let Some(vmm) = &vmm {
        println!("attach gdb:      gdb -nx -ex 'target remote {}'", machine.link().display());
        println!("the VMM's log:   {}", machine.dir().join("log").display());
        println!("its symbols:     {}", vmm.resident.display());
    }
    let Some(limit) = args.limit else {
        let end = if args.machine.cpu.is_bochs() { "Ctrl-C" } else { "Ctrl-A X" };
        println!("the guest's console follows; {end} ends the machine");
        while machine.exited()?.is_none() {
            if let Some(refusal) = machine.refusal() {
                machine.quit()?;
                bail!("the VMM was not started: {refusal}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        return Ok(());
    };
    // Running out of time is what was asked for.
    let ended = wait(&mut machine, Duration::from_secs(limit))?;
    println!("--- console ---\n{}", machine.console());
    println!("--- log of the VMM ---\n{}", machine.log());
    let link = machine.sent();
    if !link.is_empty() {
        println!("--- sent over the link ---\n{link}");
    }
    let errors = machine.errors();
    if !errors.is_empty() {
        println!("--- emulator ---\n{errors}");
    }
    println!("--- {} ---", if ended { "the machine ended" } else { "stopped by us" });
    match machine.refusal() {
        Some(refusal) => bail!("the VMM was not started: {refusal}"),
        None => Ok(()),
    }
}

/// Whether the machine ends within `limit`; a refusal ends the wait.
fn wait(machine: &mut Machine, limit: Duration) -> Result<bool> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline && machine.refusal().is_none() {
        if machine.exited()?.is_some() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(false)
}
