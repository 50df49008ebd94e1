//! Bochs's own debugger, on its standard input: stops the machine and looks at it from outside.

use std::{
    io::{Read as _, Write as _},
    process::{Child, ChildStdin, Command},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::bochs::IPS;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a stop is asked for, in all within [`PATIENCE`].
const STOPS: u32 = 10;
/// Its prompt, whatever the number in it: it stands still. It says where the CPU is at other times, too, such as of a
/// triple fault that it goes on from.
const PROMPT: &str = "<bochs:";
/// How long a machine may take to get somewhere.
const LONG_PATIENCE: Duration = Duration::from_secs(600);

/// A session with the debugger of a running Bochs.
#[derive(Debug)]
pub struct Debugger {
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    pid: u32,
    serial: u32,
    running: bool,
    /// What it said since it was let run.
    said: String,
}

impl Debugger {
    /// How long an instruction of the machine's takes, by its own clocks.
    pub const NANOSECONDS: u64 = 1_000_000_000 / IPS as u64;

    /// Takes over the streams of `child`, and lets the machine run if `go`.
    pub(crate) fn new(child: &mut Child, go: bool) -> Result<Self> {
        let input = child.stdin.take().context("Bochs has no input")?;
        let mut out = child.stdout.take().context("Bochs has no output")?;
        let (to, output) = mpsc::channel();
        // It ends when Bochs does.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                if to.send(bytes.get(..count).unwrap_or_default().to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut this =
            Self { input, output, pid: child.id(), serial: 0, running: false, said: String::new() };
        // Before its first prompt a signal would end it.
        this.sync_within("start", String::new(), LONG_PATIENCE)?;
        if go {
            this.go()?;
        }
        Ok(this)
    }

    /// Lets the machine run.
    ///
    /// # Errors
    /// When Bochs has ended.
    pub fn go(&mut self) -> Result<()> {
        self.running = true;
        writeln!(self.input, "c").context("Bochs has ended")?;
        // It repeats each command that it has read. Before that a signal would end it.
        let (mut said, deadline) = (String::new(), Instant::now() + PATIENCE);
        while !said.contains("c\n") {
            said += &self.hear(deadline, "go")?;
        }
        // It may have stopped since.
        self.said = said.split_once("c\n").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        Ok(())
    }

    /// Lets the machine run on if it has stopped unasked: Bochs stops at a reset by triple fault. Its own BIOS makes one
    /// at each reset that leaves IA32_FEATURE_CONTROL locked, which it then writes.
    ///
    /// # Errors
    /// When Bochs has ended.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        let said: Vec<u8> = self.output.try_iter().flatten().collect();
        self.said += &String::from_utf8_lossy(&said);
        if self.running && self.said.contains(PROMPT) {
            self.go()?;
        }
        Ok(())
    }

    /// Stops the machine, unless it stands still: whether it ran.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&mut self) -> Result<bool> {
        if !self.running {
            return Ok(false);
        }
        for attempt in 1..=STOPS {
            // The first instruction after `c` takes back what a signal before it asked for.
            thread::sleep(Duration::from_millis(5));
            let status = Command::new("kill").args(["-INT", &self.pid.to_string()]).status()?;
            if !status.success() {
                bail!("Bochs has ended");
            }
            match self.prompted(Instant::now() + PATIENCE / STOPS) {
                Ok(()) => break,
                Err(error) if attempt == STOPS => return Err(error),
                Err(_) => {}
            }
        }
        self.running = false;
        self.sync("stop", String::new())?;
        Ok(true)
    }

    /// Waits for the prompt of a machine that ran.
    fn prompted(&mut self, deadline: Instant) -> Result<()> {
        while !self.said.contains(PROMPT) {
            let more = self.hear(deadline, "stop")?;
            self.said += &more;
        }
        Ok(())
    }

    /// Lets the machine run until the instruction at the linear address `at` is next.
    ///
    /// # Errors
    /// As [`Debugger::run`].
    pub fn run_to(&mut self, at: u64) -> Result<()> {
        self.breakpoint(at)?;
        self.run()?;
        // Bochs counts them from 1, and there is no other.
        self.command("d 1").map(drop)
    }

    /// Lets the machine run until so much time has passed for it since power-on.
    ///
    /// # Errors
    /// As [`Debugger::run`].
    pub fn run_until(&mut self, time: Duration) -> Result<()> {
        self.stop()?;
        let ticks = time.as_secs_f64() * f64::from(IPS);
        // Bochs takes no time that has passed.
        if ticks as u64 <= self.ticks()? {
            return Ok(());
        }
        self.command(&format!("sba {ticks:.0}"))?;
        self.run()
    }

    /// Runs a command while the machine stands still, and gives what it printed.
    ///
    /// # Errors
    /// When Bochs is silent, or has ended.
    pub fn command(&mut self, line: &str) -> Result<String> {
        self.sync(line, format!("{line}\n"))
    }

    /// Sends `lines`, and gives what was printed until they were done. An empty line would be the last
    /// command again.
    fn sync(&mut self, line: &str, lines: String) -> Result<String> {
        self.sync_within(line, lines, PATIENCE)
    }

    fn sync_within(&mut self, line: &str, lines: String, patience: Duration) -> Result<String> {
        self.serial += 1;
        // `?` prints a number, in hexadecimal first; this one is in no other output.
        let mark = 0x5eed_0000 + u64::from(self.serial);
        writeln!(self.input, "{lines}? {mark}").context("Bochs has ended")?;
        let (mut said, end) = (String::new(), format!("{mark:#x} "));
        let deadline = Instant::now() + patience;
        while !said.contains(&end) {
            match self.hear(deadline, line) {
                Ok(more) => said += &more,
                Err(error) => bail!("{error:#}: {said}"),
            }
        }
        Ok(said)
    }

    /// The next that it says, until `deadline`.
    fn hear(&mut self, deadline: Instant, line: &str) -> Result<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.output.recv_timeout(left) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => bail!("Bochs: {line:?} gave ({error})"),
        }
    }

    /// `length` bytes of physical memory at `address`. The machine stands still meanwhile.
    ///
    /// # Errors
    /// As [`Debugger::command`].
    pub fn memory(&mut self, address: u64, length: usize) -> Result<Vec<u8>> {
        let ran = self.stop()?;
        let said = self.command(&format!("xp /{length}bx {address:#x}"));
        if ran {
            self.go()?;
        }
        let said = said?;
        // `[bochs]:` and then lines of an address, a name of it, and bytes: `0x000b8000 <bogus+0>: 0x20 0x07`.
        let bytes =
            said.lines().filter_map(|line| line.rsplit_once(">:")).flat_map(|(_, bytes)| {
                bytes.split_whitespace().filter_map(|byte| byte.strip_prefix("0x"))
            });
        let bytes: Vec<u8> = bytes.filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        if bytes.len() != length {
            bail!("Bochs gave {} bytes of {length}: {said}", bytes.len());
        }
        Ok(bytes)
    }

    /// Lets the machine, which stands still, run until it stops by itself, at a breakpoint.
    ///
    /// # Errors
    /// As [`Debugger::command`]; when it runs for ten minutes.
    pub fn run(&mut self) -> Result<()> {
        self.sync_within("c", "c\n".to_owned(), LONG_PATIENCE).map(drop)
    }

    /// Stops the machine whenever it is to execute what is at the linear address `at`.
    ///
    /// # Errors
    /// As [`Debugger::command`].
    pub fn breakpoint(&mut self, at: u64) -> Result<()> {
        let ran = self.stop()?;
        self.command(&format!("lb {at:#x}"))?;
        if ran { self.go() } else { Ok(()) }
    }

    /// The machine's own time since power-on, which all its clocks go by. It stands still meanwhile.
    ///
    /// # Errors
    /// As [`Debugger::command`].
    pub fn time(&mut self) -> Result<Duration> {
        Ok(Duration::from_secs_f64(self.ticks()? as f64 / f64::from(IPS)))
    }

    /// Instructions executed since power-on. The machine stands still meanwhile.
    ///
    /// # Errors
    /// As [`Debugger::command`].
    pub fn ticks(&mut self) -> Result<u64> {
        let ran = self.stop()?;
        let said = self.command("ptime");
        if ran {
            self.go()?;
        }
        let said = said?;
        let number = said.split("ptime:").nth(1).and_then(|rest| rest.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("Bochs gave no time: {said}"))
    }
}
