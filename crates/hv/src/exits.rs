//! The last exits of a CPU: what it did before a fault of the VMM, or before the analyst asked.
use core::fmt;
use vcpu::{Exit, Gpr, Seg, System, Vcpu};

/// How many are kept: what a byte counts, so that it wraps by itself.
const KEPT: usize = 256;

/// The exits, in a ring. Kept in columns: three stores and one count are all that an exit pays.
#[derive(Debug)]
pub(crate) struct Exits {
    /// The one to be written next.
    next: u8,
    /// [`Exit::reason`] plus 1 in the upper half, 0 for none; the guest's CS selector in the lower.
    what: [u32; KEPT],
    rip: [u64; KEPT],
    /// See [`detail`]; left as it was by exits that have none.
    detail: [u64; KEPT],
}

impl Default for Exits {
    fn default() -> Self {
        Self { next: 0, what: [0; KEPT], rip: [0; KEPT], detail: [0; KEPT] }
    }
}

/// What else is worth knowing of an exit, in one word.
fn detail(exit: &Exit, vcpu: &dyn Vcpu) -> u64 {
    match *exit {
        Exit::Rdmsr | Exit::Wrmsr => vcpu.gpr(Gpr::Rcx) & 0xffff_ffff,
        Exit::PortIo(io) => {
            u64::from(io.port) | u64::from(io.size) << 16 | u64::from(io.input) << 24
        }
        Exit::NestedFault(fault) => {
            fault.gpa & !0 >> 2 | u64::from(fault.write) << 63 | u64::from(fault.fetch) << 62
        }
        Exit::Exception { vector, error, .. } => u64::from(vector) | u64::from(error) << 32,
        Exit::MovDr { register, write, .. } => u64::from(register) | u64::from(write) << 8,
        Exit::Unknown(code) => code,
        _ => 0,
    }
}

impl Exits {
    /// Notes an exit.
    #[inline(always)]
    pub(crate) fn note<V: Vcpu>(&mut self, exit: &Exit, vcpu: &V) {
        let at = usize::from(self.next);
        self.next = self.next.wrapping_add(1);
        let what = (exit.reason() as u32).wrapping_add(1) << 16;
        let cs = u32::from(vcpu.segment(Seg::Cs).selector);
        // A byte is below 256: the compiler knows, and checks nothing.
        if let (Some(to), Some(rip)) = (self.what.get_mut(at), self.rip.get_mut(at)) {
            *to = what | cs;
            *rip = vcpu.system(System::Rip);
        }
    }

    /// Adds to the exit noted last what its kind has to say.
    pub(crate) fn explain(&mut self, exit: &Exit, vcpu: &dyn Vcpu) {
        if let Some(to) = self.detail.get_mut(usize::from(self.next.wrapping_sub(1))) {
            *to = detail(exit, vcpu);
        }
    }

    /// Writes the last `count`, one a line, oldest first.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn write(&self, count: u8, out: &mut dyn fmt::Write) -> fmt::Result {
        for back in (1..=count).rev() {
            let at = usize::from(self.next.wrapping_sub(back));
            let column = (self.what.get(at), self.rip.get(at), self.detail.get(at));
            let (Some(what), Some(rip), Some(detail)) = column else { continue };
            let Some(reason) = (what >> 16).checked_sub(1) else { continue };
            let name = Exit::NAMES.get(reason as usize).copied().unwrap_or("?");
            write!(out, "{name} at {:04x}:{rip:x}", what & 0xffff)?;
            write_detail(name, *detail, out)?;
            out.write_char('\n')?;
        }
        Ok(())
    }
}

fn write_detail(name: &str, word: u64, out: &mut dyn fmt::Write) -> fmt::Result {
    match name {
        "rdmsr" | "wrmsr" => write!(out, " MSR {word:#x}"),
        "port-io" => {
            let way = if word >> 24 & 1 != 0 { "in" } else { "out" };
            write!(out, " {way} {:#x}, {} bytes", word & 0xffff, word >> 16 & 7)
        }
        "nested-fault" => {
            let way = match word >> 62 {
                0 => "read",
                1 => "fetch",
                _ => "write",
            };
            write!(out, " {way} {:#x}", word & !0 >> 2)
        }
        "exception" => write!(out, " vector {} error {:#x}", word & 0xff, word >> 32),
        "mov-dr" => {
            let way = if word >> 8 & 1 != 0 { "to" } else { "from" };
            write!(out, " {way} DR{}", word & 15)
        }
        "unknown" => write!(out, " code {word:#x}"),
        _ => Ok(()),
    }
}
