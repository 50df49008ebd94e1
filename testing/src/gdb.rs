//! A stock gdb driven through its standard input, as a person would.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::bochs::{self, BOCHS_IS_SLOWER};

/// A running gdb; dropping it kills it.
#[derive(Debug)]
pub struct Gdb {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    transcript: String,
    serial: u32,
    /// What the command under way has printed so far.
    said: String,
    /// How long a command may take.
    pub limit: Duration,
}

impl Gdb {
    /// Starts gdb without any start-up file and attaches to the socket `link`.
    ///
    /// # Errors
    /// When gdb cannot be started or does not attach.
    pub fn attach(link: &Path) -> Result<Self> {
        Self::attach_with("gdb", link)
    }

    /// As [`Gdb::attach`], with the gdb called `program`.
    ///
    /// # Errors
    /// As [`Gdb::attach`].
    pub fn attach_with(program: &str, link: &Path) -> Result<Self> {
        let mut gdb = Self::start_with(program)?;
        gdb.connect(link)?;
        Ok(gdb)
    }

    /// Attaches a gdb that is attached to nothing to the socket `link`.
    ///
    /// # Errors
    /// When it does not attach.
    pub fn connect(&mut self, link: &Path) -> Result<()> {
        if bochs::is_at(link) {
            self.limit *= BOCHS_IS_SLOWER;
        }
        let said = self.command(&format!("target remote {}", link.display()))?;
        // It shows where the guest is; there are no symbols.
        if !said.contains(" in ?? ()") {
            bail!("gdb does not attach: {said}");
        }
        Ok(())
    }

    /// Starts gdb without any start-up file, attached to nothing.
    ///
    /// # Errors
    /// When gdb cannot be started.
    pub fn start() -> Result<Self> {
        Self::start_with("gdb")
    }

    fn start_with(program: &str) -> Result<Self> {
        // One pipe for output and errors, or the order between them would be lost.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", "exec \"$0\" -nx -q 2>&1", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting gdb (is it installed?)")?;
        let input = child.stdin.take().context("gdb has no input")?;
        let mut out = child.stdout.take().context("gdb has no output")?;
        let (to, output) = mpsc::channel();
        // It ends when gdb closes its end or the session is dropped.
        thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut buf) {
                if to.send(buf[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let limit = Duration::from_secs(30);
        let mut gdb = Self {
            child,
            input,
            output,
            transcript: String::new(),
            serial: 0,
            said: String::new(),
            limit,
        };
        for line in [
            "set pagination off",
            "set confirm off",
            "set width 0",
            "set height 0",
            "set tcp auto-retry off",
            "set remotetimeout 10",
            "set architecture i386:x86-64",
        ] {
            gdb.command(line)?;
        }
        Ok(gdb)
    }

    /// Runs one command to its end and gives what it printed.
    ///
    /// # Errors
    /// When it does not end within [`Gdb::limit`] or gdb dies; what gdb itself calls an error is
    /// text like any other.
    pub fn command(&mut self, line: &str) -> Result<String> {
        self.send(line)?;
        self.finish(line)
    }

    /// Runs a command that lets the guest run, sends Ctrl-C after `delay`, and gives what was
    /// printed until the guest has stopped.
    ///
    /// # Errors
    /// As [`Gdb::command`].
    pub fn interrupt_after(&mut self, line: &str, delay: Duration) -> Result<String> {
        self.interrupt_when(line, || {
            thread::sleep(delay);
            Ok(())
        })
    }

    /// As [`Gdb::interrupt_after`], with Ctrl-C sent when `until` returns.
    ///
    /// # Errors
    /// As [`Gdb::command`], and those of `until`.
    pub fn interrupt_when(
        &mut self,
        line: &str,
        until: impl FnOnce() -> Result<()>,
    ) -> Result<String> {
        // Before gdb has let the guest go a Ctrl-C would be for gdb itself.
        self.interrupt_behind("Continuing.", line, until)
    }

    /// As [`Gdb::interrupt_when`], for a command that prints `text` when it has let the guest go.
    ///
    /// # Errors
    /// As [`Gdb::interrupt_when`].
    pub fn interrupt_behind(
        &mut self,
        text: &str,
        line: &str,
        until: impl FnOnce() -> Result<()>,
    ) -> Result<String> {
        self.send(line)?;
        self.read_until(text, line)?;
        until()?;
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        if !status.success() {
            bail!("cannot send Ctrl-C to gdb");
        }
        self.finish(line)
    }

    /// Starts a command that lets the guest run, and kills gdb `delay` later without a farewell.
    ///
    /// # Errors
    /// When gdb has died before.
    pub fn die_in(mut self, line: &str, delay: Duration) -> Result<()> {
        self.send(line)?;
        thread::sleep(delay);
        drop(self);
        Ok(())
    }

    /// The value of an expression as gdb prints it in hexadecimal, for example `$rip`.
    ///
    /// # Errors
    /// When gdb cannot evaluate it to a number.
    pub fn value(&mut self, expression: &str) -> Result<u64> {
        let text = self.command(&format!("printf \"=%lx\\n\", (unsigned long)({expression})"))?;
        let hex = text.lines().find_map(|l| l.strip_prefix('='));
        let hex = hex.with_context(|| format!("gdb does not know {expression}: {text}"))?;
        u64::from_str_radix(hex.trim(), 16).with_context(|| format!("{expression} = {hex}"))
    }

    /// Everything gdb has printed since it was started.
    pub fn transcript(&self) -> &str {
        &self.transcript
    }

    fn send(&mut self, line: &str) -> Result<()> {
        self.serial += 1;
        self.transcript += &format!("(gdb) {line}\n");
        // gdb reads its input line by line: the echo runs when the command is over, failed or not.
        write!(self.input, "{line}\necho \\n@done {}\\n\n", self.serial)?;
        self.input.flush()?;
        Ok(())
    }

    /// Reads on until the command under way has printed `text`.
    fn read_until(&mut self, text: &str, line: &str) -> Result<()> {
        let deadline = Instant::now() + self.limit;
        while !self.said.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.said += &String::from_utf8_lossy(&bytes),
                Err(error) => bail!(
                    "gdb: `{line}` did not end within {} s ({error}); it printed: {}\n--- session ---\n{}",
                    self.limit.as_secs(),
                    self.said,
                    self.transcript
                ),
            }
        }
        Ok(())
    }

    fn finish(&mut self, line: &str) -> Result<String> {
        let mark = format!("\n@done {}\n", self.serial);
        self.read_until(&mark, line)?;
        let text = std::mem::take(&mut self.said).replace(&mark, "\n").replace("(gdb) ", "");
        self.transcript += &text;
        Ok(text.trim().to_owned())
    }
}

impl Drop for Gdb {
    fn drop(&mut self) {
        // Failures mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
