//! `cargo xtask demo`: Debian under Ramooflax, stopped and read by a stock gdb.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use testing::{Gdb, Machine};

use crate::{
    analyst, debian, facts,
    machine_args::Cpu,
    scene::{Guest, Scene},
    session::Session,
};

/// Options of `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Do the same without a person, and exit 0 or 1.
    #[arg(long)]
    check: bool,
    /// The CPU.
    #[arg(long, value_enum, default_value_t)]
    cpu: Cpu,
}

/// Shows it.
///
/// # Errors
/// When a step fails, or with `--check` what gdb prints is not what it must be.
pub(crate) fn demo(args: &DemoArgs, session: &Session) -> Result<()> {
    // Not one of the steps: it shows its progress itself, and may ask for a password.
    debian::get("cloud")?;
    args.cpu.choose();
    let guest = Guest::named("cloud", "ramooflax.syms ramooflax.do=beat");
    let prepared =
        step("building Ramooflax and making the disk", || Scene::under(guest).prepare())?;
    let mut machine = step("starting the machine", || prepared.start())?;
    let symbols = step("booting Debian under Ramooflax", || {
        analyst::ready(&mut machine, Duration::from_secs(120))
    })?;
    let banner = facts::symbol(&symbols, "linux_banner")?;
    let link = machine.link();
    let script = machine.dir().join("show.gdb");
    let attach = format!("target remote {}", link.display());
    fs::write(&script, format!("{attach}\nset $banner = {banner:#x}\n{}", analyst::SHOW))?;
    if args.check {
        return check(&mut machine, &script.display().to_string());
    }
    println!(
        "\nThe guest is being stopped. To let it run: detach. To stop it again:\n  {attach}\n"
    );
    // The person's Ctrl-C is for gdb.
    session.leave_ctrl_c();
    Command::new("gdb")
        .args(["-nx", "-q", "-ex", "set architecture i386:x86-64", "-x"])
        .arg(&script)
        .status()
        .context("starting gdb")?;
    println!("the machine is switched off");
    Ok(())
}

fn check(machine: &mut Machine, script: &str) -> Result<()> {
    let mut gdb = Gdb::start()?;
    let shown = step("attaching gdb", || gdb.command(&format!("source {script}")))?;
    println!("{shown}");
    for wanted in ["CPU mode  64-bit long mode", "RIP       0x", "CR3       0x", "Linux version "] {
        ensure!(shown.contains(wanted), "gdb did not print {wanted:?}");
    }
    for register in ["$rip", "$cr3"] {
        ensure!(gdb.value(register)? != 0, "{register} is 0");
    }
    step("seeing the guest run on", || analyst::detach(&mut gdb, machine))?;
    println!("the demonstration works");
    Ok(())
}

/// Does `work`, and says so with a clock while it lasts.
fn step<T>(what: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let bar = ProgressBar::new_spinner().with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    if bar.is_hidden() {
        println!("{what}");
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    let result = work();
    match &result {
        Ok(_) => bar.finish(),
        Err(_) => bar.abandon_with_message(format!("{what}: failed")),
    }
    result
}
