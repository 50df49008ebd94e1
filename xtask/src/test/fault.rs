//! A fault of the VMM itself is a report: the guest stands still, and the analyst's line answers.
//!
//! There is no door in the image for this. The emulator's own debugger sends the VMM astray while it looks at its
//! line, and afterwards puts everything back as it was, for the next fault; or takes another machine, with Bochs.

mod provoke;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use object::{Object as _, ObjectSymbol as _};
use testing::{Gdb, Machine, Outside};

use self::provoke::{How, Kind};
use super::Test;
use crate::{
    build,
    machine_args::Cpu,
    scene::{Guest, Scene},
    sh,
};

/// Where the VMM sees its own memory (crate `handover`), the image first.
const VMM_BASE: u64 = 0xffff_8000_0000_0000;
/// An address of the VMM's half where nothing is.
const NOWHERE: u64 = VMM_BASE + 0x1234_5000;
/// Where it fails.
struct Place {
    /// The function in which it is stopped, before it makes a frame, as the image names it.
    stop: &'static str,
    /// The function in assembly, without a frame, whose code is replaced. Bochs goes on executing what it has executed
    /// once: there it is code of the other vendor's.
    code: &'static str,
    /// Who called the first: the way to it is the vendor's.
    next: &'static str,
    /// Who called that, some calls further out.
    callers: [&'static str; 2],
    /// The exit that it deals with.
    exit: &'static str,
}

/// It takes an interrupt for the guest.
const SVM: Place = Place {
    stop: "svm_window_look",
    code: "svm_window_look",
    next: "svm::run::",
    callers: ["hv::run::interrupt", "resident::start::enter"],
    exit: "interrupt at ",
};
const SVM_BOCHS: Place = Place { code: "vmx_switch_exit", ..SVM };
/// The timer has gone off: all state of the CPU comes from the VMCS.
const VMX: Place = Place {
    stop: "2hv3run4tick",
    code: "svm_window_look",
    next: "hv::run::run",
    callers: ["hv::run::run", "resident::start::enter"],
    exit: "tick at ",
};

/// What is tried with Bochs: a fault on the stack that the VMCS names, one that needs a stack of its own, two at once, a
/// vector that nobody uses, a panic.
const ON_BOCHS: [&str; 5] = ["read", "unexpected vector", "stack lost", "double fault", "panic"];
/// The registers that are put back.
const REGISTERS: [&str; 17] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "rip",
];

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("vmm.fault", 300, fault)]
}

/// The machine stopped in the VMM, and what is needed to bring it back there.
struct Stage {
    machine: Machine,
    resident: PathBuf,
    at: &'static Place,
    stop: u64,
    place: u64,
    panic: u64,
    /// The VMM's memory: its first byte, and where it is kept.
    hole: (u64, u64),
    kept: PathBuf,
    registers: Vec<(&'static str, u64)>,
    /// Where the guest loops, and what it has there.
    guest: (u64, u64),
}

fn fault() -> Result<()> {
    let mut stage = Stage::set()?;
    // Bochs has no machine checks, and takes another machine each time.
    let can = |kind: &Kind| !Cpu::chosen().is_bochs() || ON_BOCHS.contains(&kind.name);
    for kind in provoke::kinds(stage.place).into_iter().filter(can) {
        stage.provoke(&kind).with_context(|| format!("provoking: {}", kind.name))?;
        let checked = stage.check(&kind);
        checked.with_context(|| format!("after: {}{}", kind.name, stage.machine.tails()))?;
        println!("told: {}", kind.name);
    }
    stage.again()?;
    stage.waited_for()
}

impl Stage {
    fn set() -> Result<Self> {
        let mut prepared = Scene::under(Guest::named("exits", "")).prepare()?;
        let resident = build::vmm()?.resident;
        let symbol = |name: &str| symbol(&resident, name);
        let at = match Cpu::chosen() {
            Cpu::Intel => &VMX,
            cpu if cpu.is_bochs() => &SVM_BOCHS,
            _ => &SVM,
        };
        let (stop, place) = (symbol(at.stop)?, symbol(at.code)?);
        let panic = symbol("slice_index_fail")?;
        prepared.config.qemu_gdb = true;
        let mut machine = prepared.start()?;
        let console = machine.wait_console("READY", Duration::from_secs(60))?;
        let looped = after(&console, "loop ")?;
        let log = machine.log();
        let hole =
            (after(&log, "hole 0x")?, after(log.split_once("..0x").map_or("", |it| it.1), "")?);

        let mut outside = machine.outside()?;
        outside.run_to(stop)?;
        let registers = REGISTERS
            .iter()
            .map(|name| Ok((*name, outside.register(name)?)))
            .collect::<Result<_>>()?;
        let kept = machine.dir().join("hole");
        if let Some(gdb) = outside.gdb() {
            let file = kept.display();
            gdb.command(&format!("dump binary memory {file} {:#x} {:#x}", hole.0, hole.1))?;
            ensure!(fs::metadata(&kept)?.len() == hole.1 - hole.0, "the VMM's memory was not read");
        }
        let code = outside.word(looped, 8)?;
        drop(outside);
        let guest = (looped, code);
        Ok(Self { machine, resident, at, stop, place, panic, hole, kept, registers, guest })
    }

    /// Puts the VMM back to the place, and sends it astray there.
    fn provoke(&mut self, kind: &Kind) -> Result<()> {
        if self.machine.is_bochs() {
            // Registers cannot be put back there: another machine is faster than to wait for the same place.
            self.machine.quit()?;
            *self = Self::set()?;
        }
        let (place, stack, physical) = (self.place, self.register("rsp"), self.hole.0);
        let mut outside = self.machine.outside()?;
        if let Some(gdb) = outside.gdb() {
            gdb.command(&format!("restore {} binary {physical:#x}", self.kept.display()))?;
            for (name, value) in &self.registers {
                gdb.command(&format!("set var ${name} = {value:#x}"))?;
            }
        }
        let write = |outside: &mut Outside<'_>, at: u64, bytes: &[u8]| {
            outside.write(at - VMM_BASE + physical, bytes)
        };
        match &kind.how {
            How::Nothing => {}
            How::Code(code) => {
                write(&mut outside, place, code)?;
                outside.jump(place)?;
            }
            How::Jump(to) => outside.jump(*to)?,
            How::IntoStack => outside.jump(stack)?,
            How::Panic => {
                // As a call from there, of the function that an index out of bounds calls: from, to, length, and
                // the place in the sources: a string, a line, a column.
                let (name, location) = (stack - 0x100, stack - 0xc0);
                write(&mut outside, name, b"provoked.rs\0")?;
                let source = [name, 11, 34 << 32 | 12].map(u64::to_le_bytes).concat();
                write(&mut outside, location, &source)?;
                write(&mut outside, stack - 0x208, &(place + 1).to_le_bytes())?;
                // mov rdi, rsi, rdx, rcx, rsp, rax; jmp rax
                let code = [(0xbf, 0), (0xbe, 7), (0xba, 3), (0xb9, location)];
                let code = code.into_iter().chain([(0xbc, stack - 0x208), (0xb8, self.panic)]);
                let load = |(opcode, value): (u8, u64)| {
                    [&[0x48, opcode][..], &value.to_le_bytes()].concat()
                };
                let mut code: Vec<u8> = code.flat_map(load).collect();
                code.extend([0xff, 0xe0]);
                write(&mut outside, place, &code)?;
                outside.jump(place)?;
            }
            // Bank 1, uncorrected and valid; the address is restartable and in progress.
            How::MachineCheck => {
                let mut qmp = self.machine.qmp()?;
                let said = qmp.human("mce 0 1 0xb200000000000000 0x5 0x0 0x0")?;
                ensure!(said.is_empty(), "no machine check: {said}");
            }
        }
        outside.go()
    }

    /// The line answers with a report that says what happened, where, and what was before.
    fn check(&mut self, kind: &Kind) -> Result<()> {
        let mut gdb = Gdb::attach(&self.machine.link())?;
        let report = gdb.command("monitor fault")?;
        let stack = self.register("rsp");
        let told = [("nowhere", NOWHERE), ("stack", stack), ("place", self.place)];
        let told = told.iter().fold(kind.told.to_owned(), |told, (name, value)| {
            (0..20).fold(told, |told, n| {
                let plus = if n == 0 { String::new() } else { format!("+{n}") };
                told.replace(&format!("{{{name}{plus}}}"), &format!("{:#x}", value + n))
            })
        });
        ensure!(report.contains(&told), "the report does not say {told:?}:\n{report}");
        let trace = self.backtrace(&report)?;
        let lost = kind.name == "stack lost";
        let found = |name: &str| trace.iter().any(|it| it.starts_with(name));
        let within = !matches!(kind.how, How::Jump(_) | How::IntoStack | How::Panic);
        ensure!(
            !within || trace.first().is_some_and(|it| it == self.at.code),
            "it failed in {trace:?}"
        );
        // Without its stack the function that makes no frame does not know who called it, only who called him.
        let [caller, first] = self.at.callers;
        let nameless = ["stack lost", "stack overflow", "panic"].contains(&kind.name);
        // Without the frame only the word on top of the stack tells.
        let cut = kind.name == "frame lost";
        let caller = if cut { self.at.next } else { caller };
        ensure!((nameless || found(caller)) && (cut || found(first)), "it was called by {trace:?}");
        let exits = report.split_once("last exits:\n").context("no last exits")?.1;
        let last = exits.trim_end().lines().last().unwrap_or_default();
        ensure!(last.starts_with(self.at.exit), "the last exit was {last:?}:\n{report}");
        let log = gdb.command("monitor log")?;
        ensure!(log.contains(&told), "the log does not say {told:?}:\n{log}");
        let mirror = self.machine.log();
        ensure!(mirror.contains(&told), "the log's line does not say {told:?}");

        // Two threads: the VMM, which failed, and the guest as it was.
        let vmm = gdb.value("$rip")?;
        ensure!(report.contains(&format!("   rip {vmm:016x}")), "thread 2 is at {vmm:#x}");
        ensure!(
            lost || gdb.value(&format!("*(long *) {stack:#x}")).is_ok(),
            "the VMM's stack cannot be read"
        );
        gdb.command("thread 1")?;
        let (looped, code) = self.guest;
        let rip = gdb.value("$rip")?;
        ensure!(rip.abs_diff(looped) < 64, "the guest is at {rip:#x}, not {looped:#x}");
        ensure!(gdb.value(&format!("*(long *) {looped:#x}"))? == code, "its memory is not read");
        // It does not go on, and goes on answering: this client, and the next.
        let said = gdb.command("continue")?;
        ensure!(said.contains("SIGABRT") && gdb.value("$rip")? == vmm, "continue gave: {said}");
        ensure!(gdb.command("detach")?.contains("detached"), "no detach");
        if kind.name != "read" {
            return Ok(());
        }
        let mut gdb = Gdb::attach(&self.machine.link())?;
        let again = gdb.command("monitor fault")?;
        ensure!(again == report, "the next client reads:\n{again}");
        gdb.command("detach").map(drop)
    }

    /// A fault in the answering does not change what is told, and does not keep it from answering.
    fn again(&mut self) -> Result<()> {
        let mut gdb = Gdb::attach(&self.machine.link())?;
        let report = gdb.command("monitor fault")?;
        for _ in 0..3 {
            let mut outside = self.machine.outside()?;
            outside.jump(NOWHERE)?;
            outside.go()?;
            let again = gdb.command("monitor fault")?;
            let later = format!(
                "later, in the answering: VMM fault: vector 14 (#PF) error 0x10 at {NOWHERE:#x}"
            );
            let first = report.split("last exits").next().unwrap_or_default();
            ensure!(again.starts_with(first) && again.contains(&later), "one more gives:\n{again}");
        }
        Ok(())
    }

    /// Whoever waits for the guest to stop is told at once.
    fn waited_for(&mut self) -> Result<()> {
        let well = Kind { name: "nothing", how: How::Nothing, told: "" };
        self.provoke(&well)?;
        let mut gdb = Gdb::attach(&self.machine.link())?;
        ensure!(gdb.command("monitor fault")?.contains("no fault"), "it is not well again");
        let (machine, stop) = (&self.machine, self.stop);
        let said = gdb.interrupt_when("continue", || {
            let mut outside = machine.outside()?;
            outside.run_to(stop)?;
            outside.jump(NOWHERE)?;
            outside.go()?;
            std::thread::sleep(Duration::from_secs(1));
            Ok(())
        })?;
        let told = said.contains("VMM fault: vector 14") && said.contains("last exits:");
        ensure!(told && said.contains("SIGABRT"), "who waits is told: {said}");
        Ok(())
    }

    fn register(&self, name: &str) -> u64 {
        self.registers.iter().find(|(it, _)| *it == name).map_or(0, |(_, value)| *value)
    }

    /// The functions of the backtrace, by the command that the report gives.
    fn backtrace(&self, report: &str) -> Result<Vec<String>> {
        let line = report.lines().find_map(|line| line.strip_prefix("backtrace: addr2line "));
        let (options, places) = line
            .and_then(|line| line.split_once(" resident"))
            .with_context(|| format!("no backtrace in:\n{report}"))?;
        let mut command = Command::new("addr2line");
        command.args(["-C", options]).arg(&self.resident).args(places.split_whitespace());
        let text = sh::output(&mut command)?;
        Ok(text.lines().step_by(2).map(str::to_owned).collect())
    }
}

/// Where the VMM has the first symbol of its image with `name` in it.
fn symbol(image: &Path, name: &str) -> Result<u64> {
    let bytes = fs::read(image)?;
    let image = object::File::parse(&*bytes)?;
    let found = image.symbols().find(|it| it.name().is_ok_and(|it| it.contains(name)));
    Ok(VMM_BASE + found.with_context(|| format!("the image has no {name}"))?.address())
}

/// The VMM goes on at its symbol `at`, which resets the machine; another guest runs under another VMM.
pub(super) fn resets_at(at: &str) -> Result<()> {
    let mut prepared = Scene::under(Guest::named("exits", "")).prepare()?;
    let resident = build::vmm()?.resident;
    prepared.config.qemu_gdb = true;
    let mut machine = prepared.start()?;
    machine.wait_console("READY", Duration::from_secs(60))?;
    let mut outside = machine.outside()?;
    let stop = if Cpu::chosen() == Cpu::Intel { VMX.stop } else { SVM.stop };
    outside.run_to(symbol(&resident, stop)?)?;
    outside.jump(symbol(&resident, at)?)?;
    outside.go()?;
    let again = |all: &str| all.matches("READY").count() > 1;
    machine.wait_console_for("another boot", Duration::from_secs(60), again)?;
    let starts = machine.log().matches("guest starts at").count();
    ensure!(starts == 2, "{starts} starts of the VMM{}", machine.tails());
    Ok(())
}

/// The hexadecimal number that follows the first `mark`.
pub(super) fn after(text: &str, mark: &str) -> Result<u64> {
    let digits = text.split_once(mark).with_context(|| format!("no {mark:?} in:\n{text}"))?.1;
    let digits = digits.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default();
    u64::from_str_radix(digits, 16).with_context(|| format!("{mark}{digits}"))
}
