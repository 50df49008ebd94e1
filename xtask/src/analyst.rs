//! What an analyst does with gdb, for the demonstration and the tests.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use testing::{Gdb, Machine};

use crate::facts::{Symbols, symbol};

/// A script that prints CPU mode, RIP, CR3 and the kernel's banner.
pub(crate) const SHOW: &str = include_str!("../assets/show.gdb");

/// Waits until the Debian userland of `machine` is ready, and gives its symbols.
///
/// # Errors
/// When it is not within `limit`.
pub(crate) fn ready(machine: &mut Machine, limit: Duration) -> Result<Symbols> {
    let console = machine.wait_console_for("READY", limit, |all| all.contains("READY\n"))?;
    Ok(crate::facts::symbols(&console))
}

/// The C string at `address`, as gdb reads it from the guest.
///
/// # Errors
/// When gdb dies; an unreadable address is an error too.
pub(crate) fn string(gdb: &mut Gdb, address: u64) -> Result<String> {
    let text = gdb.command(&format!("printf \"%s\\n\", (char *) {address:#x}"))?;
    if text.contains("Cannot access memory") {
        bail!("{address:#x} is not readable: {text}");
    }
    Ok(text)
}

/// Lets the guest run until it is at `address`, by a breakpoint of the kind `command` sets
/// (`break` or `hbreak`), which is then deleted.
///
/// # Errors
/// When it stops elsewhere or not at all.
pub(crate) fn run_to(gdb: &mut Gdb, command: &str, address: u64) -> Result<()> {
    gdb.command("delete")?;
    gdb.command(&format!("{command} *{address:#x}"))?;
    let said = gdb.command("continue")?;
    let rip = gdb.value("$rip")?;
    ensure!(rip == address, "stopped at {rip:#x}, not at {address:#x}: {said}");
    gdb.command("delete")?;
    Ok(())
}

/// The name (`comm`) of the task that the first CPU runs, from the kernel's own structures.
///
/// # Errors
/// When they cannot be read or make no sense.
pub(crate) fn comm(gdb: &mut Gdb, symbols: &Symbols) -> Result<String> {
    // The offset of `comm` differs between kernels: it is where init_task says "swapper".
    let init = symbol(symbols, "init_task")?;
    let found =
        gdb.command(&format!("find /b1 {init:#x}, +0x2000, 's', 'w', 'a', 'p', 'p', 'e', 'r'"))?;
    let at = found.lines().find_map(|line| {
        u64::from_str_radix(line.split_whitespace().next()?.strip_prefix("0x")?, 16).ok()
    });
    let offset = at.with_context(|| format!("no name in init_task: {found}"))? - init;
    let base =
        gdb.value(&format!("*(unsigned long *) {:#x}", symbol(symbols, "__per_cpu_offset")?))?;
    // Since Linux 6.2 `current_task` is the first member of `pcpu_hot`.
    let current = symbol(symbols, "current_task").or_else(|_| symbol(symbols, "pcpu_hot"))?;
    let task = gdb.value(&format!("*(unsigned long *) {:#x}", base.wrapping_add(current)))?;
    let name = string(gdb, task.wrapping_add(offset))?;
    let printable = (1..16).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic());
    ensure!(printable, "the current task is called {name:?}");
    Ok(name)
}

/// Lets a guest that runs a program run on until it is in the kernel. Where the CPU needs it, Linux has page tables of
/// its own for programs, without the kernel's memory: gdb sees what the CPU would.
///
/// # Errors
/// When it never gets there.
pub(crate) fn to_kernel(gdb: &mut Gdb, symbols: &Symbols) -> Result<()> {
    if gdb.value("$cs")? & 3 != 0 {
        run_to(gdb, "hbreak", symbol(symbols, "do_nanosleep")?)?;
    }
    Ok(())
}

/// Detaches, and sees a guest that prints `BEAT` run on.
///
/// # Errors
/// When gdb does not detach or the guest is silent.
pub(crate) fn detach(gdb: &mut Gdb, machine: &mut Machine) -> Result<()> {
    let said = gdb.command("detach")?;
    ensure!(said.contains("detached"), "detach gave: {said}");
    let beats = |all: &str| all.matches("BEAT").count();
    let before = beats(&machine.console());
    machine
        .wait_console_for("another BEAT", Duration::from_secs(15), |all| beats(all) > before + 1)?;
    Ok(())
}
