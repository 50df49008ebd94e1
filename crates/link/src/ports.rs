//! Byte-wide I/O ports, behind a trait so that drivers run against models on the host.
use core::arch::asm;

/// I/O ports.
pub trait Ports {
    /// IN AL, port.
    fn read(&mut self, port: u16) -> u8;
    /// OUT port, AL.
    fn write(&mut self, port: u16, value: u8);
    /// What the machine needs now and then while a driver waits for a device.
    fn breathe(&mut self) {}
}

/// The CPU's own I/O ports.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuPorts(());

impl CpuPorts {
    /// # Safety
    /// The caller runs at CPL 0 and uses it for a device it owns.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

impl Ports for CpuPorts {
    fn read(&mut self, port: u16) -> u8 {
        let value: u8;
        // SAFETY: by `new`'s contract the device behind the port is the caller's.
        unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) };
        value
    }

    fn write(&mut self, port: u16, value: u8) {
        // SAFETY: as above.
        unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
    }
}
