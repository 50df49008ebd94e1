//! One emulated PC: its process, its serial ports.

use std::{
    cell::{RefCell, RefMut},
    fs,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::{
    Debugger, Qmp, Screen,
    bochs::{BOCHS_IS_SLOWER, Bochs},
    keys, rfb,
};

/// How often files and processes are looked at while waiting.
const POLL: Duration = Duration::from_millis(20);

/// A running PC; dropping it kills it.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    dir: TempDir,
    pub(crate) ended: Option<ExitStatus>,
    kept: Option<TempDir>,
    /// Of Bochs; QEMU has none.
    debugger: Option<RefCell<Debugger>>,
    /// When it was started.
    since: Instant,
    /// Whether a reset ends it, where the emulator does not see to that.
    no_reboot: bool,
}

impl Machine {
    /// The machine whose emulator is `child`, once that listens in `dir`.
    ///
    /// # Errors
    /// When it ends before, or takes too long.
    pub(crate) fn started(child: Child, dir: TempDir) -> Result<Self> {
        let since = Instant::now();
        let mut machine =
            Self { child, dir, ended: None, kept: None, debugger: None, since, no_reboot: false };
        let deadline = since + Duration::from_secs(20);
        while !machine.dir.path().join("qmp.sock").exists() {
            if let Some(status) = machine.exited()? {
                bail!("the emulator ended at once ({status}): {}", machine.errors());
            }
            if Instant::now() > deadline {
                bail!("the emulator offers no QMP socket after 20 s");
            }
            thread::sleep(POLL);
        }
        Ok(machine)
    }

    /// The machine that Bochs runs.
    pub(crate) fn bochs(running: Bochs, dir: TempDir, no_reboot: bool) -> Self {
        let Bochs { child, debugger } = running;
        let (debugger, since) = (Some(RefCell::new(debugger)), Instant::now());
        Self { child, dir, ended: None, kept: None, debugger, since, no_reboot }
    }

    /// Whether the emulator is Bochs.
    pub fn is_bochs(&self) -> bool {
        self.debugger.is_some()
    }

    /// Bochs's debugger.
    ///
    /// # Errors
    /// When the emulator is another.
    pub fn debugger(&self) -> Result<RefMut<'_, Debugger>> {
        let debugger = self.debugger.as_ref().context("QEMU has no debugger like Bochs's")?;
        Ok(debugger.try_borrow_mut()?)
    }

    /// The time that the machine's clocks go by, from some moment of its start on: this computer's, or what Bochs says.
    /// (A QEMU that counts instructions has another.)
    ///
    /// # Errors
    /// When Bochs does not answer.
    pub fn time(&self) -> Result<Duration> {
        match &self.debugger {
            Some(_) => self.debugger()?.time(),
            None => Ok(self.since.elapsed()),
        }
    }

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

    /// The same in lines that end with a carriage return, a line feed or both, but for empty ones: of two bytes sent at
    /// once, as GNU Mach ends its lines, Bochs's UART drops the second one if it still waits to send what was before.
    pub fn console_lines(&self) -> String {
        lines(&String::from_utf8_lossy(&self.bytes("console")))
    }

    /// All the VMM has written to its log mirror so far.
    pub fn log(&self) -> String {
        self.text("log")
    }

    /// All that was sent on COM1 so far, whoever was listening.
    pub fn sent(&self) -> String {
        self.text("link")
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
        ensure!(self.debugger.is_none(), "Bochs has no QMP");
        Qmp::connect(&self.dir.path().join("qmp.sock"))
    }

    /// The text screen as it is now.
    ///
    /// # Errors
    /// When the emulator does not answer.
    pub fn screen(&self) -> Result<Screen> {
        if self.debugger.is_some() {
            return Screen::read_from(&mut *self.debugger()?);
        }
        Screen::read(&mut self.qmp()?, self.dir.path())
    }

    /// Types `text` on the machine's keyboard, one with a US layout; `<esc>` and the like name other keys.
    ///
    /// # Errors
    /// When a character is on no key, or the emulator does not answer.
    pub fn type_keys(&self, text: &str) -> Result<()> {
        if self.debugger.is_some() {
            return rfb::press(self.child.id(), &keys::codes(text)?);
        }
        let mut qmp = self.qmp()?;
        for chord in keys::codes(text)? {
            let keys: Vec<_> = chord
                .iter()
                .map(|code| serde_json::json!({ "type": "qcode", "data": code }))
                .collect();
            qmp.execute("send-key", serde_json::json!({ "keys": keys, "hold-time": 30 }))?;
            // The keyboard's buffer is short, and a real mode guest slow.
            thread::sleep(Duration::from_millis(80));
        }
        Ok(())
    }

    /// Waits until `enough` says so of the text screen; `what` names it in the error.
    ///
    /// # Errors
    /// When the time is over or the machine ends first: with the screen and the tails of everything.
    pub fn wait_screen_for(
        &mut self,
        what: &str,
        limit: Duration,
        enough: impl Fn(&Screen) -> bool,
    ) -> Result<Screen> {
        let limit = self.patience(limit);
        let deadline = Instant::now() + limit;
        loop {
            if self.exited()?.is_some() {
                bail!("the machine ended before {what} was on the screen{}", self.tails());
            }
            let screen = self.screen()?;
            if enough(&screen) {
                return Ok(screen);
            }
            if Instant::now() > deadline {
                bail!(
                    "{what} was not on the screen within {} s\n--- screen ---\n{screen}{}",
                    limit.as_secs(),
                    self.tails()
                );
            }
            thread::sleep(Duration::from_millis(100));
        }
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
        let limit = self.patience(limit);
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
        let limit = self.patience(limit);
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

    /// Ends the emulator in good order, so that it gives back the terminal.
    ///
    /// # Errors
    /// When it does not answer or does not end.
    pub fn quit(&mut self) -> Result<()> {
        if self.debugger.is_some() {
            self.child.kill()?;
            return self.wait_exit(Duration::from_secs(10)).map(drop);
        }
        self.qmp()?.execute("quit", serde_json::json!({}))?;
        self.wait_exit(Duration::from_secs(10)).map(drop)
    }

    /// The emulator's exit status, once it has ended.
    ///
    /// # Errors
    /// When the operating system refuses to say.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
            // A panic, as Bochs sees it.
            if self.ended.is_some() && self.errors().contains("soft power off") {
                self.ended = Some(ExitStatus::default());
            }
        }
        if let (None, Some(Ok(mut debugger))) =
            (self.ended, self.debugger.as_ref().map(RefCell::try_borrow_mut))
        {
            // That it has ended meanwhile is seen the next time.
            let _ = debugger.go_on();
        }
        // The first is power-on.
        if self.ended.is_none()
            && self.no_reboot
            && self.debugger.is_some()
            && self.text("bochs").matches("bx_pc_system_c::Reset(").count() > 1
        {
            self.child.kill()?;
            self.child.wait()?;
            // As QEMU ends then, by itself.
            self.ended = Some(ExitStatus::default());
        }
        Ok(self.ended)
    }

    /// Bochs's ticks from power-on to the guest's power-off.
    ///
    /// # Errors
    /// When it did not power off, or the emulator is another.
    pub fn ended_at(&self) -> Result<u64> {
        let said = self.text("bochs");
        let line = said.lines().find(|line| line.contains("soft power off"));
        let line = line.with_context(|| format!("no power-off{}", self.tails()))?;
        // It begins with them: `00123456789p[ACPI  ] ...`.
        let end = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len());
        line.get(..end).unwrap_or_default().parse().with_context(|| line.to_owned())
    }

    /// What comes of `limit`, which is QEMU's, on this machine.
    fn patience(&self, limit: Duration) -> Duration {
        limit * self.slower()
    }

    /// How much longer things may take than in QEMU.
    #[must_use]
    pub fn slower(&self) -> u32 {
        if self.debugger.is_some() { BOCHS_IS_SLOWER } else { 1 }
    }

    /// What the VMM's loader said when it refused to start the VMM, once it has.
    pub fn refusal(&self) -> Option<String> {
        // On the log if there is one, and on COM1 while its options are not understood.
        [self.log(), self.sent()].into_iter().find_map(|text| {
            let said = text.split_once("Ramooflax: not started.")?.0;
            said.lines().rev().find_map(|line| line.strip_prefix("Ramooflax: ").map(str::to_owned))
        })
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.path().join(name)).unwrap_or_default()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        let text = plain(&String::from_utf8_lossy(&self.bytes(name)));
        if name != "errors" {
            return text;
        }
        if self.debugger.is_some() {
            // What it says there is about sound cards.
            let said = self.text("bochs");
            let panics = said.lines().filter(|line| line.contains(">>PANIC<<"));
            return panics.map(|line| format!("{line}\n")).collect();
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
    unmoved(text).replace('\r', "")
}

/// `text` in lines that end by line feeds or carriage returns, without empty ones and those sequences.
fn lines(text: &str) -> String {
    let text = unmoved(text);
    let lines = text.split(['\r', '\n']).filter(|line| !line.is_empty());
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// `text` without the sequences by which GRUB moves a terminal's cursor.
fn unmoved(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split("\x1b[");
    out.extend(parts.next());
    // A sequence ends with a letter.
    out.extend(parts.filter_map(|part| part.split_once(char::is_alphabetic)).map(|(_, rest)| rest));
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn cursor_movements_vanish() {
        assert_eq!(super::plain("\x1b[H\x1b[J\x1b[1;1Hone\r\ntwo\x1b[0m"), "one\ntwo");
        assert_eq!(super::plain("one [H]"), "one [H]");
    }

    #[test]
    fn returns_and_feeds_end_a_line() {
        assert_eq!(super::lines("\x1b[Hone\rtwo\r\nthree\n\nfour\r"), "one\ntwo\nthree\nfour\n");
    }
}
