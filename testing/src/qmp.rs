//! The QEMU Machine Protocol: one JSON object a line, commands answered in order, events between.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A session with a running emulator.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to the socket at `path` and negotiates.
    ///
    /// # Errors
    /// When nobody answers there in 10 s.
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).with_context(|| format!("{}", path.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut qmp = Self { reader: BufReader::new(stream) };
        qmp.line()?; // the greeting
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and gives what it returns; events that arrive meanwhile are dropped.
    ///
    /// # Errors
    /// When the emulator refuses the command, ends, or is silent for 10 s.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.reader.get_mut(), "{request}")?;
        loop {
            let mut reply = self.line()?;
            if let Some(value) = reply.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = reply.get("error") {
                bail!("QMP {command}: {error}");
            }
        }
    }

    /// Runs one command of the human monitor and gives its text.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn human(&mut self, command: &str) -> Result<String> {
        let reply = self.execute("human-monitor-command", json!({ "command-line": command }))?;
        Ok(reply.as_str().unwrap_or_default().replace('\r', ""))
    }

    /// Instructions executed since power-on; meaningful with [`crate::Config::icount`] only.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn icount(&mut self) -> Result<u64> {
        let reply = self.execute("query-replay", json!({}))?;
        reply["icount"].as_u64().with_context(|| format!("no icount in {reply}"))
    }

    /// The state of the machine: `running`, `paused`, `shutdown`, ...
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn status(&mut self) -> Result<String> {
        let reply = self.execute("query-status", json!({}))?;
        Ok(reply["status"].as_str().unwrap_or_default().to_owned())
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).context("the emulator is silent")? == 0 {
            bail!("the emulator closed its QMP socket");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
