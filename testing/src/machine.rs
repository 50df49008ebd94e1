//! One emulated PC: its description, its process, its serial ports.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::Qmp;

/// How often files and processes are looked at while waiting.
const POLL: Duration = Duration::from_millis(20);

/// Where the guest's console (COM2) goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Into a file read by [`Machine::console`].
    File,
    /// To the terminal of the person, with the emulator's own monitor behind Ctrl-A.
    Stdio,
}

/// A PC to be started.
#[derive(Clone, Debug)]
pub struct Config {
    /// The emulated CPU, as QEMU's `-cpu` takes it.
    pub cpu: String,
    /// Number of CPUs.
    pub smp: u32,
    /// RAM in MiB.
    pub memory: u64,
    /// Disks in the order the BIOS sees them: the image and whether writes to it are thrown away.
    pub disks: Vec<(PathBuf, bool)>,
    /// Where COM2 goes.
    pub console: Console,
    /// Count instructions: one instruction is one nanosecond of guest time.
    pub icount: bool,
    /// End the emulator when the guest resets the machine.
    pub no_reboot: bool,
    /// Pause instead of ending when the guest powers off, so that counters can still be read.
    pub no_shutdown: bool,
    /// Wait for `cont` over QMP before the first instruction.
    pub paused: bool,
    /// Offer QEMU's own gdb stub on [`Machine::qemu_gdb`].
    pub qemu_gdb: bool,
}

impl Config {
    /// An AMD machine with one CPU and 512 MiB that boots `disk`.
    pub fn amd(disk: PathBuf) -> Self {
        Self {
            cpu: "EPYC,+svm,+npt".into(),
            smp: 1,
            memory: 512,
            disks: vec![(disk, false)],
            console: Console::File,
            icount: false,
            no_reboot: false,
            no_shutdown: false,
            paused: false,
            qemu_gdb: false,
        }
    }

    /// Starts the emulator.
    ///
    /// # Errors
    /// When it cannot be started, or ends at once.
    pub fn start(self) -> Result<Machine> {
        let dir = tempfile::Builder::new().prefix("ramooflax-").tempdir()?;
        let at = |name: &str| dir.path().join(name).display().to_string();
        // `setpriv` so that the emulator dies with us even when we are killed without warning.
        let mut cmd = Command::new("setpriv");
        cmd.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        // SMM inside an SVM guest is broken under TCG, hence smm=off.
        cmd.args(["-machine", "pc,smm=off", "-cpu", &self.cpu, "-display", "none", "-nodefaults"]);
        cmd.args([
            "-vga",
            "std",
            "-smp",
            &self.smp.to_string(),
            "-m",
            &format!("{}M", self.memory),
        ]);
        let threads = if self.smp > 1 && !self.icount { "multi" } else { "single" };
        cmd.args(["-accel", &format!("tcg,thread={threads}")]);
        for (i, (path, scratch)) in self.disks.iter().enumerate() {
            let scratch = if *scratch { "on" } else { "off" };
            let file = path.display();
            cmd.args([
                "-drive",
                &format!("file={file},format=raw,if=ide,index={i},snapshot={scratch}"),
            ]);
        }
        let socket = |id: &str| {
            format!("socket,id={id},path={},server=on,wait=off", at(&format!("{id}.sock")))
        };
        cmd.args(["-chardev", &socket("link"), "-serial", "chardev:link"]);
        match self.console {
            Console::File => cmd.args(["-serial", &format!("file:{}", at("console"))]),
            Console::Stdio => cmd.args(["-serial", "mon:stdio"]),
        };
        cmd.args(["-serial", &format!("file:{}", at("log"))]);
        cmd.args(["-chardev", &socket("qmp"), "-mon", "chardev=qmp,mode=control"]);
        if self.qemu_gdb {
            cmd.args(["-chardev", &socket("qemu-gdb"), "-gdb", "chardev:qemu-gdb"]);
        }
        for (wanted, flag) in [
            (self.no_reboot, "-no-reboot"),
            (self.no_shutdown, "-no-shutdown"),
            (self.paused, "-S"),
        ] {
            if wanted {
                cmd.arg(flag);
            }
        }
        if self.icount {
            // No clock and no random number of the host's, so that two runs count the same.
            cmd.args(["-icount", "shift=0,sleep=off", "-seed", "1"]);
            cmd.args(["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
        }
        let errors = dir.path().join("errors");
        if self.console == Console::File {
            use std::os::unix::process::CommandExt as _;
            // A group of its own: the Ctrl-C meant for gdb must not end the machine.
            cmd.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
            cmd.stderr(fs::File::create(&errors)?);
        }
        let child = cmd.spawn().context("starting qemu-system-x86_64 (is it installed?)")?;
        let mut machine = Machine { child, dir, ended: None, kept: None };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !machine.dir.path().join("qmp.sock").exists() {
            if let Some(status) = machine.exited()? {
                let said = machine.errors();
                bail!("the emulator ended at once ({status}): {said}");
            }
            if Instant::now() > deadline {
                bail!("the emulator offers no QMP socket after 20 s");
            }
            thread::sleep(POLL);
        }
        Ok(machine)
    }
}

/// A running PC; dropping it kills it.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    dir: TempDir,
    ended: Option<ExitStatus>,
    kept: Option<TempDir>,
}

impl Machine {
    /// Ties the life of `dir`, where the disks are, to the machine's.
    pub fn keep(&mut self, dir: TempDir) {
        self.kept = Some(dir);
    }

    /// The socket that is the other end of COM1: the link.
    pub fn link(&self) -> PathBuf {
        self.dir.path().join("link.sock")
    }

    /// The socket of QEMU's own gdb stub.
    pub fn qemu_gdb(&self) -> PathBuf {
        self.dir.path().join("qemu-gdb.sock")
    }

    /// Where this run keeps its files; gone with the machine.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// All the guest has written to its console so far.
    pub fn console(&self) -> String {
        self.text("console")
    }

    /// All the VMM has written to its log mirror so far.
    pub fn log(&self) -> String {
        self.text("log")
    }

    /// The emulator's own warnings and errors so far, but for the CPU features that TCG lacks.
    pub fn errors(&self) -> String {
        self.text("errors")
    }

    /// A new session with the emulator; it serves one at a time.
    ///
    /// # Errors
    /// When the emulator does not answer.
    pub fn qmp(&self) -> Result<Qmp> {
        Qmp::connect(&self.dir.path().join("qmp.sock"))
    }

    /// Waits until the guest's console holds `text`, and gives the whole console.
    ///
    /// # Errors
    /// When the time is over or the machine ends first: with the tails of console and log.
    pub fn wait_console(&mut self, text: &str, limit: Duration) -> Result<String> {
        self.wait_console_for(&format!("{text:?}"), limit, |all| all.contains(text))
    }

    /// Waits until `enough` says so of the guest's console; `what` names it in the error.
    ///
    /// # Errors
    /// As [`Machine::wait_console`].
    pub fn wait_console_for(
        &mut self,
        what: &str,
        limit: Duration,
        enough: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.exited()?.is_some();
            let all = self.console();
            if enough(&all) {
                return Ok(all);
            }
            if ended {
                bail!("the machine ended before {what} appeared{}", self.tails());
            }
            if Instant::now() > deadline {
                bail!("{what} did not appear within {} s{}", limit.as_secs(), self.tails());
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until the emulator ends by itself, as when the guest powers off.
    ///
    /// # Errors
    /// When the time is over.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the machine still runs after {} s{}", limit.as_secs(), self.tails());
            }
            thread::sleep(POLL);
        }
    }

    /// The emulator's exit status, once it has ended.
    ///
    /// # Errors
    /// When the operating system refuses to say.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// The last lines of everything that was written, for error messages.
    pub fn tails(&self) -> String {
        let mut out = String::new();
        for name in ["console", "log", "errors"] {
            let text = self.text(name);
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default();
            out += &format!("\n--- {name} ---\n{}", tail.join("\n"));
        }
        out
    }

    fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.dir.path().join(name)).unwrap_or_default();
        let text = plain(&String::from_utf8_lossy(&bytes));
        if name != "errors" {
            return text;
        }
        let lines = text.lines().filter(|line| !line.contains("TCG doesn't support"));
        lines.map(|line| format!("{line}\n")).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // Nothing can be done about a failure here: the directory goes either way.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// `text` without carriage returns and the sequences by which GRUB moves a terminal's cursor.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split("\x1b[");
    out.extend(parts.next());
    // A sequence ends with a letter.
    out.extend(parts.filter_map(|part| part.split_once(char::is_alphabetic)).map(|(_, rest)| rest));
    out.replace('\r', "")
}

#[cfg(test)]
mod tests {
    #[test]
    fn cursor_movements_vanish() {
        assert_eq!(super::plain("\x1b[H\x1b[J\x1b[1;1Hone\r\ntwo\x1b[0m"), "one\ntwo");
        assert_eq!(super::plain("one [H]"), "one [H]");
    }
}
