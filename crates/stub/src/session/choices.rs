//! What a client chose, and what it is known to take.

use super::PACKET;

/// What the client of this session chose; a new one starts from the default.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choices {
    /// Acknowledgements are off.
    pub(super) no_ack: bool,
    /// Stop replies may say `swbreak`.
    pub(super) swbreak: bool,
    /// Stop replies may say `hwbreak`.
    pub(super) hwbreak: bool,
    /// The CPU of `Hg`.
    pub(super) cpu: usize,
    /// The CPU of `Hc`, for the packets older than `vCont`.
    pub(super) step_cpu: usize,
    /// Memory packets name guest-physical addresses.
    pub(super) physical: bool,
    /// It has looked at registers or memory: stop replies carry the registers gdb would ask for next. Over
    /// a UART they are most of the reply, so a client that only steps and counts gets it without.
    pub(super) looks: bool,
    /// It is one of those that take only what the protocol had at first: replies of [`PLAIN`] bytes at most, and
    /// no run lengths in them. WinDbg's client is (`ExdiGdbSrv`, in Microsoft's WinDbg-Samples): it undoes no run
    /// length (`BuildRspPacket`) and is set up for 1,024 bytes (`exdiConfigData.xml`). It does not say who it is.
    /// gdb and LLDB take all, and are known by what they offer: `multiprocess`, and those of today `swbreak` as well
    /// (LLDB 14 to 19 does not). WinDbg's offers neither.
    pub(super) plain: bool,
}

/// The longest packet to and from a client that is [`plain`](Choices::plain), frame and checksum included.
pub(super) const PLAIN: usize = 1024;

impl Choices {
    /// The default, with the CPU that stopped.
    pub(super) fn of(cpu: usize) -> Self {
        Choices { cpu, step_cpu: cpu, ..Choices::default() }
    }

    /// Takes what `qSupported` offers; gives the size of packets to answer it with.
    pub(super) fn offered(&mut self, asked: &[u8]) -> usize {
        let offers = |name: &[u8]| asked.split(|b| matches!(b, b':' | b';')).any(|it| it == name);
        self.swbreak = offers(b"swbreak+");
        self.hwbreak = offers(b"hwbreak+");
        self.plain = !self.swbreak && !offers(b"multiprocess+");
        self.packet()
    }

    /// Bytes of the longest packet.
    pub(super) fn packet(&self) -> usize {
        if self.plain { PLAIN } else { PACKET }
    }
}
