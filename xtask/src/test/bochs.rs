//! What the tests need of Bochs itself.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use testing::{Config, Machine};

use super::Test;
use crate::machine_args::Cpu;

/// How often the machine is stopped. Where a stop can meet a line of the log that is being written, one in ten does.
const STOPS: usize = 300;
/// What Bochs's log must then be full of.
const LOGGED: &str = "unsupported io write to keyboard port 64";
/// A boot sector that asks the keyboard controller for what it has not, again and again.
const CODE: [u8; 11] = [
    0xb0, 0x00, // mov al, 0
    0xe6, 0x64, // out 0x64, al
    0xb9, 0xd0, 0x07, // mov cx, 2000
    0xe2, 0xfe, // loop .
    0xeb, 0xf5, // jmp to the first
];
/// 20 cylinders of 16 heads and 63 sectors.
const DISK: usize = 20 * 16 * 63 * 512;

/// A boot sector that resets the machine by a triple fault, of which Bochs tells where the CPU was.
const RESET: [u8; 7] = [
    0x2e, 0x0f, 0x01, 0x1e, 0x80, 0x7c, // lidt cs:[0x7c80], which is zero
    0xcc, // int3
];
/// How often the machine is stopped that resets itself.
const LOOKS: usize = 20;

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("bochs.stop", 60, stop), Test::new("bochs.reset", 60, reset)]
}

/// A machine that does `code`.
fn boot(dir: &TempDir, code: &[u8]) -> Result<Machine> {
    let disk = dir.path().join("disk.img");
    let mut bytes = vec![0; DISK];
    for (at, of) in [(0, code), (510, &[0x55, 0xaa])] {
        bytes.get_mut(at..at + of.len()).context("it is in the disk")?.copy_from_slice(of);
    }
    fs::write(&disk, bytes)?;
    let mut config = Config::amd(disk);
    Cpu::chosen().put(&mut config)?;
    config.memory = 32;
    config.start()
}

/// Bochs can be stopped at any time, also while it logs.
fn stop() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("ramooflax-disk-").tempdir()?;
    let machine = boot(&dir, &CODE)?;
    let lines = || -> Result<usize> {
        Ok(fs::read_to_string(machine.dir().join("bochs"))?.matches(LOGGED).count())
    };
    while lines()? == 0 {
        thread::sleep(Duration::from_millis(100));
    }
    let mut debugger = machine.debugger()?;
    let before = lines()?;
    for nth in 0..STOPS {
        ensure!(debugger.stop().with_context(|| format!("stop number {nth}"))?, "it stood still");
        debugger.go()?;
    }
    let logged = lines()? - before;
    println!("{logged} lines were logged meanwhile");
    ensure!(logged > STOPS, "only {logged} lines were logged");
    Ok(())
}

/// A machine that resets itself goes on by itself, and stands still when it is stopped.
fn reset() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("ramooflax-disk-").tempdir()?;
    let mut machine = boot(&dir, &RESET)?;
    let resets = |machine: &Machine| -> Result<usize> {
        let said = fs::read_to_string(machine.dir().join("bochs"))?;
        Ok(said.matches("bx_pc_system_c::Reset(").count())
    };
    for nth in 0..LOOKS {
        let before = resets(&machine)?;
        while resets(&machine)? == before {
            ensure!(machine.exited()?.is_none(), "Bochs ended");
            thread::sleep(Duration::from_millis(100));
        }
        machine.exited()?;
        let mut debugger = machine.debugger()?;
        ensure!(debugger.stop().with_context(|| format!("stop number {nth}"))?, "it stood still");
        let ticks = debugger.ticks()?;
        thread::sleep(Duration::from_millis(20));
        ensure!(debugger.ticks()? == ticks, "it runs on");
        debugger.go()?;
    }
    Ok(())
}
