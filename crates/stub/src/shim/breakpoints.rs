//! Breakpoints and watchpoints of every kind.

use super::{EFAULT, EINVAL, Shim};
use crate::{Breakpoint, BreakpointError};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
    SwBreakpointOps, WatchKind,
};
use gdbstub::target::{TargetError, TargetResult};

const ENOSPC: u8 = 28;

impl Shim<'_> {
    fn breakpoint(
        &mut self,
        add: bool,
        kind: Breakpoint,
        addr: u64,
        len: u64,
    ) -> TargetResult<bool, Self> {
        let done = match add {
            true => self.target.add_breakpoint(kind, addr, len),
            false => self.target.remove_breakpoint(kind, addr, len),
        };
        match done {
            Ok(()) => Ok(true),
            Err(BreakpointError::Full) => Err(TargetError::Errno(ENOSPC)),
            Err(BreakpointError::Unsupported) => Err(TargetError::Errno(EINVAL)),
            Err(BreakpointError::Memory) => Err(TargetError::Errno(EFAULT)),
        }
    }
}

impl Breakpoints for Shim<'_> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Shim<'_> {
    fn add_sw_breakpoint(&mut self, addr: u64, kind: usize) -> TargetResult<bool, Self> {
        self.breakpoint(true, Breakpoint::Software, addr, kind as u64)
    }

    fn remove_sw_breakpoint(&mut self, addr: u64, kind: usize) -> TargetResult<bool, Self> {
        self.breakpoint(false, Breakpoint::Software, addr, kind as u64)
    }
}

impl HwBreakpoint for Shim<'_> {
    fn add_hw_breakpoint(&mut self, addr: u64, kind: usize) -> TargetResult<bool, Self> {
        self.breakpoint(true, Breakpoint::Hardware, addr, kind as u64)
    }

    fn remove_hw_breakpoint(&mut self, addr: u64, kind: usize) -> TargetResult<bool, Self> {
        self.breakpoint(false, Breakpoint::Hardware, addr, kind as u64)
    }
}

fn watch(kind: WatchKind) -> Breakpoint {
    match kind {
        WatchKind::Write => Breakpoint::Write,
        WatchKind::Read => Breakpoint::Read,
        WatchKind::ReadWrite => Breakpoint::Access,
    }
}

/// Bytes watched at `addr`. WinDbg's client gives the width in bits, written in decimal where the protocol
/// has hexadecimal digits: 16 comes as 16h, and so on. Its 8 for one byte cannot be told from gdb's 8 for
/// eight: where eight can be watched they are, which misses nothing.
fn watched(addr: u64, len: u64) -> u64 {
    match len {
        8 if addr & 7 != 0 => 1,
        0x16 => 2,
        0x32 => 4,
        0x64 => 8,
        _ => len,
    }
}

impl HwWatchpoint for Shim<'_> {
    fn add_hw_watchpoint(
        &mut self,
        addr: u64,
        len: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        self.breakpoint(true, watch(kind), addr, watched(addr, len))
    }

    fn remove_hw_watchpoint(
        &mut self,
        addr: u64,
        len: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        self.breakpoint(false, watch(kind), addr, watched(addr, len))
    }
}
