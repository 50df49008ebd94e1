//! The emulator's own debugger, QEMU's or Bochs's: the machine stands still, and is looked at and changed from
//! outside.

use std::cell::RefMut;

use anyhow::{Context, Result, ensure};

use crate::{Debugger, Gdb, Machine};

/// The machine, standing still. It runs on with [`Outside::go`].
#[derive(Debug)]
pub struct Outside<'a> {
    by: By<'a>,
}

#[derive(Debug)]
enum By<'a> {
    /// QEMU's gdb stub, which shows physical memory when told so.
    Gdb(Box<Gdb>),
    Bochs(RefMut<'a, Debugger>),
}

impl Machine {
    /// Stops the machine from outside. QEMU's must have been started with its gdb stub.
    ///
    /// # Errors
    /// When the emulator does not answer.
    pub fn outside(&self) -> Result<Outside<'_>> {
        if self.is_bochs() {
            let mut debugger = self.debugger()?;
            debugger.stop()?;
            return Ok(Outside { by: By::Bochs(debugger) });
        }
        let mut gdb = Box::new(Gdb::attach(&self.qemu_gdb())?);
        gdb.command("maintenance packet Qqemu.PhyMemMode:1")?;
        Ok(Outside { by: By::Gdb(gdb) })
    }
}

impl Outside<'_> {
    /// `size` bytes, at most 8, of physical memory at `address`, as a number.
    ///
    /// # Errors
    /// When there is no such memory.
    pub fn word(&mut self, address: u64, size: usize) -> Result<u64> {
        ensure!(size <= 8, "a word of {size} bytes");
        match &mut self.by {
            By::Gdb(gdb) => Ok(gdb.value(&format!("*(unsigned long *) {address:#x}"))?
                & (u64::MAX >> (64 - 8 * size))),
            By::Bochs(debugger) => {
                let mut bytes = debugger.memory(address, size)?;
                bytes.resize(8, 0);
                Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
            }
        }
    }

    /// Writes physical memory. Where Bochs has executed it before, it goes on executing what was there.
    ///
    /// # Errors
    /// When there is no such memory.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        for (at, byte) in (address..).zip(bytes) {
            match &mut self.by {
                By::Gdb(gdb) => {
                    gdb.command(&format!("set var *(unsigned char *) {at:#x} = {byte}"))?;
                }
                By::Bochs(debugger) => {
                    debugger.command(&format!("setpmem {at:#x} 1 {byte}"))?;
                }
            }
        }
        for (at, byte) in (address..).zip(bytes) {
            ensure!(self.word(at, 1)? == u64::from(*byte), "{at:#x} was not written");
        }
        Ok(())
    }

    /// Lets the machine run until the instruction at the linear address `address` is next.
    ///
    /// # Errors
    /// When it stops elsewhere.
    pub fn run_to(&mut self, address: u64) -> Result<()> {
        match &mut self.by {
            By::Gdb(gdb) => {
                gdb.command(&format!("hbreak *{address:#x}"))?;
                gdb.command("continue")?;
                ensure!(gdb.value("$rip")? == address, "it stopped elsewhere than at {address:#x}");
                gdb.command("delete").map(drop)
            }
            By::Bochs(debugger) => debugger.run_to(address),
        }
    }

    /// A register by gdb's name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn register(&mut self, name: &str) -> Result<u64> {
        match &mut self.by {
            By::Gdb(gdb) => gdb.value(&format!("${name}")),
            By::Bochs(debugger) => {
                let said = debugger.command("r")?;
                // `r8 : 00000000_00000000`
                let value = said.lines().find_map(|line| {
                    let (known, value) = line.split_once(": ")?;
                    (known.trim() == name).then(|| value.trim().replace('_', ""))
                });
                let value = value.with_context(|| format!("no {name} in {said}"))?;
                u64::from_str_radix(&value, 16).with_context(|| value.clone())
            }
        }
    }

    /// Sets the next instruction.
    ///
    /// # Errors
    /// When the emulator does not answer.
    pub fn jump(&mut self, to: u64) -> Result<()> {
        match &mut self.by {
            By::Gdb(gdb) => gdb.command(&format!("set var $rip = {to:#x}")),
            By::Bochs(debugger) => debugger.command(&format!("set rip = {to:#x}")),
        }?;
        ensure!(self.register("rip")? == to, "the next instruction is not at {to:#x}");
        Ok(())
    }

    /// QEMU's gdb stub, which can also put back what was there before.
    pub fn gdb(&mut self) -> Option<&mut Gdb> {
        match &mut self.by {
            By::Gdb(gdb) => Some(gdb),
            By::Bochs(_) => None,
        }
    }

    /// Lets the machine go on.
    ///
    /// # Errors
    /// When the emulator has ended.
    pub fn go(self) -> Result<()> {
        match self.by {
            By::Gdb(mut gdb) => {
                gdb.command("maintenance packet Qqemu.PhyMemMode:0")?;
                gdb.command("detach").map(drop)
            }
            By::Bochs(mut debugger) => debugger.go(),
        }
    }
}
