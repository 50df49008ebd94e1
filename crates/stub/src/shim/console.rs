//! `monitor`: text in, text out.

use super::Shim;
use crate::said::Said;
use core::convert::Infallible;
use core::fmt::Write;
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd};

impl MonitorCmd for Shim<'_> {
    fn handle_monitor_cmd(
        &mut self,
        text: &[u8],
        mut out: ConsoleOutput<'_>,
    ) -> Result<(), Infallible> {
        // `gdbstub` without `alloc` sends a packet for every piece.
        let mut console = Said::<128, _>::new(|text| out.write_raw(text));
        match wire::Request::parse(text) {
            Ok(wire::Request::Reset { stop }) => {
                self.reset = Some(stop);
                let _ = writeln!(console, "resetting the machine; disconnect, and attach again");
            }
            Ok(request) => self.target.monitor(request, &mut console),
            Err(error) => {
                // A `Said` never fails.
                let _ = writeln!(console, "{error}");
            }
        }
        console.flush();
        Ok(())
    }
}
