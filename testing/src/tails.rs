//! What a person must see who is to find out why a machine did not do as expected.

use std::{thread, time::Duration};

use anyhow::Result;

use crate::{Gdb, Machine};

impl Machine {
    /// The last lines of everything that was written, and what the CPU does: for error messages.
    pub fn tails(&self) -> String {
        let mut out = String::new();
        for name in ["console", "log", "link", "errors"] {
            let text = self.text(name);
            let lines: Vec<&str> = text.lines().collect();
            out += &format!("\n--- {name} ---");
            for line in lines.get(lines.len().saturating_sub(25)..).unwrap_or_default() {
                // A session with gdb is one endless line.
                out.push('\n');
                out.extend(line.chars().filter(|c| !c.is_control()).take(300));
            }
        }
        if self.ended.is_none() {
            let state = self.state().unwrap_or_else(|error| format!("it does not say: {error:#}"));
            out += &format!("\n--- the emulator, now and half a second later ---\n{state}");
            if self.log().contains("guest starts") {
                let guest = self.guest().unwrap_or_else(|error| format!("no answer: {error:#}"));
                out += &format!("\n--- the guest, as gdb sees it ---\n{guest}");
            }
        }
        out
    }

    /// What the first CPU does: the emulator's state, registers and next instructions, twice, so that
    /// one sees whether it moves. Inside a guest of the VMM they are the guest's.
    fn state(&self) -> Result<String> {
        if self.is_bochs() {
            let mut debugger = self.debugger()?;
            let mut out = String::new();
            for pause in [500, 0] {
                let ran = debugger.stop()?;
                for what in ["ptime", "r", "creg", "sreg", "u /4", "x /16gx rsp"] {
                    out += &debugger.command(what)?;
                }
                if ran {
                    debugger.go()?;
                }
                thread::sleep(Duration::from_millis(pause));
            }
            return Ok(out);
        }
        let mut qmp = self.qmp()?;
        let mut out = String::new();
        for pause in [500, 0] {
            out += &format!("{}\n", qmp.status()?);
            let registers = qmp.human("info registers")?;
            // What follows is the FPU's.
            out += registers.split("\nFCW=").next().unwrap_or_default();
            for what in ["x /4i $pc", "x /32gx $rsp"] {
                out += &format!("\n{}\n", qmp.human(what)?.trim_end());
            }
            thread::sleep(Duration::from_millis(pause));
        }
        Ok(out)
    }

    /// What the VMM tells of its guest, unless another gdb holds the link.
    fn guest(&self) -> Result<String> {
        let mut gdb = Gdb::start()?;
        gdb.limit = Duration::from_secs(20);
        let mut out = gdb.command(&format!("target remote {}", self.link().display()))?;
        if out.contains(" in ?? ()") {
            for what in ["monitor counters", "info registers", "x/6i $rip", "x/32gx $rsp"] {
                out += &format!("\n{}", gdb.command(what)?);
            }
        }
        Ok(out)
    }
}
