//! The other debuggers people attach with: LLDB, and a gdb of today beside Debian's.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use testing::Gdb;

use super::{Test, inspect::Counting};
use crate::{analyst::run_to, pip};

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("debuggers.gdb18", 400, gdb18), Test::new("debuggers.lldb", 400, lldb)]
}

/// Attach, registers, memory, breakpoints, a step, a watchpoint, Ctrl-C, detach.
fn gdb18() -> Result<()> {
    let program = pip::program("gdb")?;
    let guest = Counting::start()?;
    let mut gdb = Gdb::attach_with(&program.display().to_string(), &guest.machine.link())?;
    let version = gdb.command("show version")?;
    ensure!(version.contains("gdb) 18") || version.contains("GDB) 18"), "another gdb: {version}");
    let code = guest.routine + 1;
    for kind in ["hbreak", "break"] {
        run_to(&mut gdb, kind, code)?;
    }
    gdb.command("stepi")?;
    ensure!(gdb.value("$rip")? == code + 7, "one step from {code:#x} to {:#x}", gdb.value("$rip")?);
    ensure!(gdb.value("$efer")? & 0x500 == 0x500, "no long mode");
    // It reads memory by the binary packet.
    gdb.command("set debug remote 1")?;
    let said = gdb.command(&format!("x/8gx {:#x}", guest.routine))?;
    gdb.command("set debug remote 0")?;
    ensure!(
        said.contains("packet: $x") && said.contains("received: b"),
        "no binary packet:\n{said}"
    );
    gdb.command(&format!("watch *(unsigned long *) {:#x}", guest.ticks))?;
    let said = gdb.command("continue")?;
    ensure!(said.contains("Old value = ") && said.contains("New value = "), "{said}");
    gdb.command("delete")?;
    let said = gdb.command("monitor version")?;
    ensure!(said.starts_with("Ramooflax "), "{said}");
    guest.lives(&mut gdb)?;
    let odd = ["unexpectedly", "Ignoring packet error", "Invalid remote reply", "internal-error"];
    let session = gdb.transcript();
    ensure!(!odd.iter().any(|text| session.contains(text)), "{session}");
    let said = gdb.command("detach")?;
    ensure!(said.contains("detached"), "{said}");
    guest.lives(&mut guest.attach()?)
}

/// The same with LLDB, which speaks another dialect.
fn lldb() -> Result<()> {
    let program = pip::program("lldb")?;
    let guest = Counting::start()?;
    let (code, counter, ticks) = (guest.routine + 1, guest.counter, guest.ticks);
    let connect = format!(
        "process connect --plugin gdb-remote unix-connect://{}",
        guest.machine.link().display()
    );
    // Interrupted every so often, if it is.
    let run = |commands: &[String], interrupt: Option<Duration>| -> Result<String> {
        let mut lldb = Command::new("setpriv");
        lldb.args(["--pdeathsig", "KILL"]).arg(&program).args(["--no-lldbinit", "--batch"]);
        lldb.args(["--one-line", &connect]);
        lldb.args(commands.iter().flat_map(|command| ["--one-line", command]));
        let child = lldb
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting lldb")?;
        let pid = child.id();
        let (to, done) = std::sync::mpsc::channel();
        thread::spawn(move || to.send(child.wait_with_output()));
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut next = interrupt.map(|every| Instant::now() + every);
        loop {
            if let Ok(output) = done.recv_timeout(Duration::from_millis(50)) {
                let output = output?;
                let text = [output.stdout, output.stderr].concat();
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            let now = Instant::now();
            if now > deadline {
                Command::new("kill").args(["-KILL", &pid.to_string()]).status()?;
                let text = done.recv()??;
                bail!("lldb does not end:\n{}", String::from_utf8_lossy(&text.stdout));
            }
            if let Some(every) = interrupt
                && next.is_some_and(|next| now > next)
            {
                next = Some(now + every);
                Command::new("kill").args(["-INT", &pid.to_string()]).status()?;
            }
        }
    };
    let commands = [
        "register read rip cr0 efer ip".to_owned(),
        format!("memory read --size 8 --format x --count 1 {counter:#x}"),
        format!("memory region {counter:#x}"),
        "memory region 0xffff800000000000".into(),
        format!("breakpoint set --hardware --address {code:#x}"),
        "continue".into(),
        format!("breakpoint set --address {:#x}", code + 7),
        "continue".into(),
        "breakpoint delete --force".into(),
        "thread step-inst".into(),
        "register read rip".into(),
        "register write r15 0x123456789abcdef0".into(),
        "register read r15".into(),
        format!("memory write --size 8 {counter:#x} 0x77665544"),
        format!("memory read --size 8 --format x --count 1 {counter:#x}"),
        format!("watchpoint set expression --watch write --size 8 -- {ticks:#x}"),
        "continue".into(),
        "watchpoint delete --force".into(),
        "process plugin packet monitor version".into(),
        "detach".into(),
    ];
    let begun = Instant::now();
    let said = run(&commands, None)?;
    // An interrupt that comes before it runs the guest ends it: it has started by then.
    let every = begun.elapsed().clamp(Duration::from_secs(4), Duration::from_secs(20));
    for wanted in [
        "cr0 = 0x00000000800",
        "efer = 0x0000000000000500",
        &format!("{counter:#010x}: 0x"),
        ") rwx",
        "[0xffff800000000000-0xffffffffffffffff) ---",
        "stop reason = breakpoint 1.1",
        "stop reason = breakpoint 2.1",
        "stop reason = instruction step into",
        &format!("rip = {code:#018x}"),
        "r15 = 0x123456789abcdef0",
        &format!("{counter:#010x}: 0x0000000077665544"),
        "stop reason = watchpoint 1",
        "Ramooflax ",
        "detached",
    ] {
        ensure!(said.contains(wanted), "no {wanted:?} from lldb:\n{said}");
    }
    // What fails ends the batch, and the session with it.
    let said = run(&["memory read --count 1 0xfee00000".into()], None)?;
    ensure!(said.contains("error: memory read failed for 0xfee00000"), "{said}");
    let commands = ["continue".into(), "register read rip".into(), "detach".into()];
    let said = run(&commands, Some(every))?;
    ensure!(
        said.matches("signal SIGINT").count() > 1 && said.contains("detached"),
        "not interrupted, or not detached, by lldb:\n{said}"
    );
    guest.lives(&mut guest.attach()?)
}
