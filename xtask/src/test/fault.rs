//! A fault of the VMM itself is a report: the guest stands still, and the analyst's line answers.
//!
//! There is no door in the image for this. The emulator's own gdb stub sends the VMM astray while it takes an
//! interrupt for the guest, and afterwards puts everything back as it was, for the next fault.

mod provoke;

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use object::{Object as _, ObjectSymbol as _};
use testing::{Gdb, Machine};

use self::provoke::{How, Kind};
use super::Test;
use crate::{
    build,
    scene::{Guest, Scene},
    sh,
};

/// Where the VMM sees its own memory (crate `handover`), the image first.
const VMM_BASE: u64 = 0xffff_8000_0000_0000;
/// An address of the VMM's half where nothing is.
const NOWHERE: u64 = VMM_BASE + 0x1234_5000;
/// The function in which it fails: it takes an interrupt for the guest. It is in assembly and makes no frame.
const PLACE: &str = "svm_window_look";
/// Who called that: the way to it is the vendor's.
const NEXT: &str = "svm::run::";
/// Who called that, some calls further out.
const CALLERS: [&str; 2] = ["hv::run::interrupt", "resident::start::enter"];
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
    for kind in provoke::kinds(stage.place) {
        stage.provoke(&kind).with_context(|| format!("provoking: {}", kind.name))?;
        let checked = stage.check(&kind);
        checked.with_context(|| format!("after: {}{}", kind.name, stage.machine.tails()))?;
    }
    stage.again()?;
    stage.waited_for()
}

impl Stage {
    fn set() -> Result<Self> {
        let mut prepared = Scene::under(Guest::named("exits", "")).prepare()?;
        let resident = build::vmm()?.resident;
        let bytes = fs::read(&resident)?;
        let image = object::File::parse(&*bytes)?;
        let symbol = |name: &str| {
            let found = image.symbols().find(|it| it.name().is_ok_and(|it| it.contains(name)));
            let at = found.with_context(|| format!("the image has no {name}"))?.address();
            anyhow::Ok(VMM_BASE + at)
        };
        let (place, panic) = (symbol(PLACE)?, symbol("slice_index_fail")?);
        prepared.config.qemu_gdb = true;
        let mut machine = prepared.start()?;
        let console = machine.wait_console("READY", Duration::from_secs(60))?;
        let looped = after(&console, "loop ")?;
        let log = machine.log();
        let hole =
            (after(&log, "hole 0x")?, after(log.split_once("..0x").map_or("", |it| it.1), "")?);

        let mut emulator = Gdb::attach(&machine.qemu_gdb())?;
        emulator.command(&format!("hbreak *{place:#x}"))?;
        emulator.command("continue")?;
        ensure!(emulator.value("$rip")? == place, "the VMM took no interrupt");
        emulator.command("delete")?;
        let registers = REGISTERS
            .iter()
            .map(|name| Ok((*name, emulator.value(&format!("${name}"))?)))
            .collect::<Result<_>>()?;
        let kept = machine.dir().join("hole");
        physical(&mut emulator, |gdb| {
            gdb.command(&format!(
                "dump binary memory {} {:#x} {:#x}",
                kept.display(),
                hole.0,
                hole.1
            ))
        })?;
        ensure!(fs::metadata(&kept)?.len() == hole.1 - hole.0, "the VMM's memory was not read");
        let code = physical(&mut emulator, |gdb| gdb.value(&format!("*(long *) {looped:#x}")))?;
        Ok(Self { machine, resident, place, panic, hole, kept, registers, guest: (looped, code) })
    }

    /// Puts the VMM back to the place, and sends it astray there.
    fn provoke(&mut self, kind: &Kind) -> Result<()> {
        let mut emulator = Gdb::attach(&self.machine.qemu_gdb())?;
        let emulator = &mut emulator;
        let kept = self.kept.display().to_string();
        let base = self.hole.0;
        physical(emulator, |gdb| gdb.command(&format!("restore {kept} binary {base:#x}")))?;
        for (name, value) in &self.registers {
            emulator.command(&format!("set var ${name} = {value:#x}"))?;
        }
        let write = |emulator: &mut Gdb, at: u64, bytes: &[u8]| -> Result<()> {
            for (n, byte) in (at..).zip(bytes) {
                emulator.command(&format!("set var *(unsigned char *) {n:#x} = {byte}"))?;
            }
            Ok(())
        };
        let set = |emulator: &mut Gdb, name: &str, value: u64| {
            emulator.command(&format!("set var ${name} = {value:#x}"))
        };
        let stack = self.register("rsp");
        match &kind.how {
            How::Code(code) => write(emulator, self.place, code)?,
            How::Jump(to) => _ = set(emulator, "rip", *to)?,
            How::IntoStack => _ = set(emulator, "rip", stack)?,
            How::Panic => {
                // As a call from there, of the function that an index out of bounds calls: from, to, length, and
                // the place in the sources: a string, a line, a column.
                let (name, location) = (stack - 0x100, stack - 0xc0);
                write(emulator, name, b"provoked.rs\0")?;
                let place = [name, 11, 34 << 32 | 12].map(u64::to_le_bytes).concat();
                write(emulator, location, &place)?;
                write(emulator, stack - 0x208, &(self.place + 1).to_le_bytes())?;
                let values = [0, 7, 3, location, stack - 0x208, self.panic];
                for (name, value) in ["rdi", "rsi", "rdx", "rcx", "rsp", "rip"].iter().zip(values) {
                    set(emulator, name, value)?;
                }
            }
            // Bank 1, uncorrected and valid; the address is restartable and in progress.
            How::MachineCheck => {
                let mut qmp = self.machine.qmp()?;
                let said = qmp.human("mce 0 1 0xb200000000000000 0x5 0x0 0x0")?;
                ensure!(said.is_empty(), "no machine check: {said}");
            }
        }
        emulator.command("detach").map(drop)
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
        ensure!(!within || trace.first().is_some_and(|it| it == PLACE), "it failed in {trace:?}");
        // Without its stack the function that makes no frame does not know who called it, only who called him.
        let [caller, first] = CALLERS;
        let nameless = ["stack lost", "stack overflow", "panic"].contains(&kind.name);
        // Without the frame only the word on top of the stack tells.
        let cut = kind.name == "frame lost";
        let caller = if cut { NEXT } else { caller };
        ensure!((nameless || found(caller)) && (cut || found(first)), "it was called by {trace:?}");
        let exits = report.split_once("last exits:\n").context("no last exits")?.1;
        let last = exits.trim_end().lines().last().unwrap_or_default();
        ensure!(last.starts_with("interrupt at "), "the last exit was {last:?}:\n{report}");
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
            let mut emulator = Gdb::attach(&self.machine.qemu_gdb())?;
            emulator.command(&format!("set var $rip = {NOWHERE:#x}"))?;
            emulator.command("detach")?;
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
        let well = Kind { name: "nothing", how: How::Code(Vec::new()), told: "" };
        self.provoke(&well)?;
        let mut gdb = Gdb::attach(&self.machine.link())?;
        ensure!(gdb.command("monitor fault")?.contains("no fault"), "it is not well again");
        let place = self.place;
        let emulator = self.machine.qemu_gdb();
        let said = gdb.interrupt_when("continue", || {
            let mut emulator = Gdb::attach(&emulator)?;
            emulator.command(&format!("hbreak *{place:#x}"))?;
            emulator.command("continue")?;
            emulator.command("delete")?;
            emulator.command(&format!("set var $rip = {NOWHERE:#x}"))?;
            emulator.command("detach")?;
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

/// The hexadecimal number that follows the first `mark`.
pub(super) fn after(text: &str, mark: &str) -> Result<u64> {
    let digits = text.split_once(mark).with_context(|| format!("no {mark:?} in:\n{text}"))?.1;
    let digits = digits.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default();
    u64::from_str_radix(digits, 16).with_context(|| format!("{mark}{digits}"))
}

/// Lets QEMU's stub read and write physical memory meanwhile.
fn physical<T>(gdb: &mut Gdb, with: impl FnOnce(&mut Gdb) -> Result<T>) -> Result<T> {
    gdb.command("maintenance packet Qqemu.PhyMemMode:1")?;
    let result = with(gdb);
    gdb.command("maintenance packet Qqemu.PhyMemMode:0")?;
    result
}
