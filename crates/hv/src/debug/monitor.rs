//! What the control vocabulary asks for.
#[path = "listing.rs"]
mod listing;

use super::View;
use crate::Host;
use crate::debug::dump;
use core::fmt;
use handover::Range;
use stub::Target as _;
use wire::Request;

impl<H: Host> View<'_, H> {
    /// Serves a request.
    pub(super) fn answer(&mut self, request: Request, out: &mut dyn fmt::Write) -> fmt::Result {
        match request {
            Request::Help => wire::write_help(out),
            Request::Log => self.machine.log.lock().dump(out),
            Request::Fault => writeln!(out, "no fault: the VMM is well"),
            Request::Exits => self.cpu.exits.write(32, out),
            Request::Version => writeln!(out, "Ramooflax {}", wire::VERSION),
            Request::Counters => self.cpu.write_counters(out),
            Request::Memory => self.map(out),
            Request::Disassemble(what) => self.list(what, out),
            Request::Physical(what) => {
                dump::write(what, out, |gpa, bytes| self.read_physical(gpa, bytes) == bytes.len())
            }
            // The stub makes an action of it.
            Request::Reset { .. } => Ok(()),
        }
    }

    /// The firmware's map, and what of it is the VMM's.
    fn map(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let host = &self.machine.host;
        for Range { span, kind } in host.map() {
            write!(out, "{:#018x}-{:#018x} ", span.base, span.end().wrapping_sub(1))?;
            // ACPI 6.5, table 15.2.
            match kind {
                1 => out.write_str("usable")?,
                2 => out.write_str("reserved")?,
                3 => out.write_str("ACPI tables")?,
                4 => out.write_str("ACPI NVS")?,
                5 => out.write_str("unusable")?,
                7 => out.write_str("persistent")?,
                kind => write!(out, "type {kind}")?,
            }
            out.write_char('\n')?;
        }
        let hole = host.hole();
        let last = hole.end().wrapping_sub(1);
        writeln!(out, "{:#018x}-{last:#018x} the VMM's own, reads FFh to the guest", hole.base)
    }
}
