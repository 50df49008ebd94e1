//! `monitor`: text in, text out.

use super::Shim;
use core::convert::Infallible;
use core::fmt::{self, Write};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd};

impl MonitorCmd for Shim<'_> {
    fn handle_monitor_cmd(
        &mut self,
        text: &[u8],
        out: ConsoleOutput<'_>,
    ) -> Result<(), Infallible> {
        let mut console = Console { out, line: [0; 128], len: 0 };
        match wire::Request::parse(text) {
            Ok(wire::Request::Reset { stop }) => {
                self.reset = Some(stop);
                let _ = writeln!(console, "resetting the machine; disconnect, and attach again");
            }
            Ok(request) => self.target.monitor(request, &mut console),
            Err(error) => {
                // A `Console` never fails.
                let _ = writeln!(console, "{error}");
            }
        }
        console.flush();
        Ok(())
    }
}

/// Gathers text, as `gdbstub` without `alloc` sends a packet for every piece of it.
struct Console<'a> {
    out: ConsoleOutput<'a>,
    line: [u8; 128],
    len: usize,
}

impl Console<'_> {
    fn flush(&mut self) {
        match self.line.get(..self.len) {
            None | Some([]) => {}
            Some(text) => self.out.write_raw(text),
        }
        self.len = 0;
    }
}

impl Write for Console<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.len >= self.line.len() {
                self.flush();
            }
            if let Some(place) = self.line.get_mut(self.len) {
                *place = byte;
                self.len = self.len.saturating_add(1);
            }
        }
        Ok(())
    }
}
