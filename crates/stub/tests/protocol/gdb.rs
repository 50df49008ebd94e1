//! The real gdb at the other end. It is a tool of this project: `cargo xtask test` installs it.

use crate::fake::{self, Machine, stub};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;
use stub::{Action, Breakpoint, Output, Reason, Stub};

struct Wire(TcpStream);

impl Output for Wire {
    fn put(&mut self, byte: u8) {
        self.0.write_all(&[byte]).expect("gdb must not hang up in the middle of a reply");
    }
}

/// What the run loop of a VMM does: polls the link, lets the guest run, tells of its stops.
struct Vmm {
    machine: Machine,
    stub: Stub<Wire>,
}

impl Vmm {
    /// Serves until the client leaves.
    fn serve(mut self, mut link: TcpStream) -> Machine {
        let mut byte = [0];
        loop {
            match link.read(&mut byte) {
                Ok(1) => {
                    let action = self.stub.incoming(&mut self.machine, byte[0]);
                    if self.obey(action) {
                        return self.machine;
                    }
                }
                Ok(_) => panic!("gdb hung up without a word"),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no word from gdb: {error}"),
            }
        }
    }

    fn obey(&mut self, action: Action) -> bool {
        let why = match action {
            Action::None => return false,
            Action::Detached | Action::Kill | Action::Reset { .. } => return true,
            Action::Interrupt => Reason::Attached,
            Action::Resume { step: Some(cpu) } => {
                self.goto(cpu, self.machine.regs[cpu].ip + 1);
                Reason::Step { cpu }
            }
            Action::Resume { step: None } => self.run(),
        };
        let action = self.stub.stopped(&mut self.machine, why);
        self.obey(action)
    }

    /// Runs to the first breakpoint.
    fn run(&mut self) -> Reason {
        let cpu = 0;
        match self.machine.breakpoints.first().copied() {
            Some((Breakpoint::Software, addr, _)) => {
                self.goto(cpu, addr);
                Reason::Breakpoint { cpu }
            }
            Some((Breakpoint::Hardware, addr, _)) => {
                self.goto(cpu, addr);
                Reason::HardwareBreakpoint { cpu }
            }
            Some((kind, addr, _)) => {
                // gdb shows a watchpoint only if the value has changed.
                self.machine.memory[(addr - fake::BASE) as usize] ^= 0xff;
                Reason::Watch { cpu, kind, addr }
            }
            None => Reason::Interrupt { cpu },
        }
    }

    fn goto(&mut self, cpu: usize, ip: u64) {
        self.machine.regs[cpu].ip = ip;
        self.machine.regs[cpu].rip_linear = ip;
    }
}

/// Runs gdb with these commands; returns what it printed and the machine it left behind.
fn gdb(commands: &[&str]) -> (String, Machine) {
    gdb_with_slow_vmm(Duration::ZERO, commands)
}

/// The same with a VMM that looks at the line only after a while; gdb is told to wait a second.
fn gdb_with_slow_vmm(late: Duration, commands: &[&str]) -> (String, Machine) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("target remote {}", listener.local_addr().unwrap());
    let vmm = thread::spawn(move || {
        let (link, _) = listener.accept().unwrap();
        link.set_nodelay(true).unwrap();
        link.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        thread::sleep(late);
        let out = Wire(link.try_clone().unwrap());
        Vmm { machine: Machine::new(), stub: stub(out) }.serve(link)
    });
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", "set architecture i386:x86-64"]);
    if !late.is_zero() {
        gdb.args(["-ex", "set remotetimeout 1"]);
    }
    gdb.args(["-ex", &remote]);
    gdb.args(commands.iter().flat_map(|command| ["-ex", command]));
    let output = gdb.output().expect("gdb is not installed: `cargo xtask test` installs it");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    println!("{text}");
    (text, vmm.join().expect("the stub failed"))
}

#[test]
fn gdb_accepts_the_description_and_shows_every_register() {
    let (text, _) = gdb(&["info registers", "print $st0", "detach"]);
    // That there is no program to debug is said of every machine.
    let lower = text.to_lowercase().replace("warning: no executable", "");
    for complaint in ["warning", "error", "could not", "can't", "unknown", "mismatch", "truncated"]
    {
        assert!(!lower.contains(complaint), "gdb complains: {complaint}");
    }
    for register in stub::Register::ALL {
        let line = |line: &str| line.split_whitespace().next() == Some(register.name());
        assert!(text.lines().any(line), "no {}", register.name());
    }
    assert!(text.contains("= <unavailable>"), "no x87 state is held");
}

#[test]
fn gdb_reads_writes_breaks_steps_and_leaves() {
    let (text, machine) = gdb(&[
        "set $rax = 0x1122334455667788",
        "set $rip = 0x1010",
        "print/x $ip",
        "set {int}0x1800 = 0x12345678",
        "x/4xb 0x1800",
        "x/1xb 0x10",
        "break *0x1020",
        "continue",
        "delete",
        "hbreak *0x1030",
        "continue",
        "delete",
        "watch *(char *)0x1900",
        "continue",
        "delete",
        "stepi",
        "print/x $pc",
        "continue",
        "info threads",
        "thread 2",
        "print/x $pc",
        "monitor version",
        "monitor log",
        "monitor lgo",
        "detach",
    ]);
    for said in [
        "$1 = 0x1010",
        "0x1800:\t0x78\t0x56\t0x34\t0x12",
        "Cannot access memory at address 0x10",
        "Breakpoint 1, 0x0000000000001020",
        "Breakpoint 2, 0x0000000000001030",
        "Hardware watchpoint 3",
        "= 0x1031",
        "SIGINT",
        "* 1    Thread 1",
        "  2    Thread 2",
        "= 0x1100",
        wire::VERSION,
        "line 0\nline 1\n",
        "line 29",
        "unknown command 'lgo'; known: help",
    ] {
        assert!(text.contains(said), "gdb did not say: {said}");
    }
    assert_eq!(machine.regs[0].rax, 0x1122_3344_5566_7788);
    assert_eq!(machine.breakpoints, []);
}

#[test]
fn gdb_that_had_to_wait_is_not_put_out_of_step() {
    // Long enough for every copy of its first packet.
    let late = Duration::from_millis(3_500);
    let (text, _) = gdb_with_slow_vmm(late, &["print/x $ip", "x/1xb 0x1800", "detach"]);
    for said in ["$1 = 0x1000", "0x1800:\t0x90", "detached"] {
        assert!(text.contains(said), "gdb did not say: {said}");
    }
    for complaint in ["unexpectedly", "Ignoring packet error", "Truncated", "invalid"] {
        assert!(!text.contains(complaint), "gdb complains: {complaint}");
    }
}

#[test]
fn gdb_kills_without_complaint() {
    let (text, machine) = gdb(&["break *0x1020", "kill"]);
    assert!(text.contains("killed]"), "gdb did not say that it killed the guest");
    assert!(!text.contains("Ignoring packet error"));
    assert_eq!(machine.breakpoints, []);
}

#[test]
fn gdb_has_what_it_asks_for_next_in_the_stop_reply() {
    let (text, _) = gdb(&["set debug remote 1", "stepi", "set debug remote 0", "detach"]);
    let (_, step) = text.split_once("vCont;s").expect("gdb must step");
    assert!(step.contains("T05thread:1;06:"));
    for packet in ["packet: g", "packet: p", "$g#", "$p"] {
        assert!(!step.contains(packet), "a step is one round trip, not {packet}");
    }
}

#[test]
fn gdb_reads_physical_memory_and_steps_through_a_range() {
    let (text, machine) = gdb(&[
        "maintenance packet Qqemu.PhyMemMode:1",
        "x/2xb 0x10",
        "set {char}0x12 = 0x77",
        "maintenance packet Qqemu.PhyMemMode:0",
        "x/2xb 0x1000",
        "maintenance packet vCont;r1000,1010:1",
        "detach",
    ]);
    for said in ["0x10:\t0x11\t0x11", "0x1000:\t0x90\t0x90", "10:1010000000000000;"] {
        assert!(text.contains(said), "gdb did not say: {said}");
    }
    assert_eq!(machine.physical[0x12], 0x77);
}
