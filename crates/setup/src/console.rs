//! Words to the person in front of the machine, before there is a VMM: text screen and UART.

use core::fmt::{self, Write as _};
use core::ptr;

use handover::Uart;

use crate::cpu::{halt, inb, outb};
use crate::memory::Identity;

/// The colour text screen (IBM PC: 25 rows of 80 cells, each a character and its attribute).
const SCREEN: usize = 0xb8000;
const COLUMNS: usize = 80;
const ROWS: usize = 25;
/// White on red.
const ATTRIBUTE: u8 = 0x4f;

/// COM1, as most machines and every emulator have it.
const COM1: Uart = Uart { port: 0x3f8, baud: 115_200 };
/// Bits a second at divisor 1.
const BASE_BAUD: u32 = 115_200;
/// Reads of the line status before a character is sent regardless: at a microsecond for a read, 65 ms,
/// the time of 60 characters at 9600 baud.
const PATIENCE: u32 = 1 << 16;

/// Where messages go.
pub struct Console {
    uart: Uart,
    cell: usize,
}

impl Console {
    /// A console on the text screen from its first row on and on `uart`, if that is one.
    /// That there is an [`Identity`] says that the screen is mapped.
    #[must_use]
    pub fn new(_mapped: &Identity, uart: Uart) -> Self {
        let mut console = Self { uart: Uart::default(), cell: 0 };
        console.attach(uart);
        console
    }

    /// Shows `message` on a line of its own.
    pub fn line(&mut self, message: &dyn fmt::Display) {
        // Writing to a console cannot fail; a `Display` that does has nobody else to tell.
        let _ = writeln!(self, "Ramooflax: {message}");
    }

    /// Shows why there will be no VMM. COM1 is used if there is no other UART: an analyst's line
    /// serves nothing any more. Returns the UART that is used now.
    pub fn refuse(&mut self, message: &dyn fmt::Display) -> u16 {
        if self.uart.port == 0 {
            self.attach(COM1);
        }
        self.line(message);
        self.uart.port
    }

    /// [`Console::refuse`], and the machine stops.
    pub fn fatal(&mut self, message: &dyn fmt::Display) -> ! {
        self.refuse(message);
        self.line(&"not started. Halted: reset the machine.");
        halt()
    }

    fn attach(&mut self, uart: Uart) {
        self.uart = uart;
        if uart.port == 0 {
            return;
        }
        let [low, high, ..] = (BASE_BAUD / uart.baud.max(1)).max(1).to_le_bytes();
        // Line control: divisor latch; the divisor; 8 data bits, no parity, 1 stop bit.
        for (register, value) in [(3, 0x80), (0, low), (1, high), (3, 0x03)] {
            self.write(register, value);
        }
    }

    fn show(&mut self, byte: u8) {
        if byte == b'\n' {
            self.send(b'\r');
            self.cell = (self.cell / COLUMNS + 1) * COLUMNS;
        } else if self.cell < ROWS * COLUMNS {
            let cell = ptr::with_exposed_provenance_mut::<u16>(SCREEN + 2 * self.cell);
            // SAFETY: the cell lies in the mapped screen memory, where no object lives.
            unsafe { cell.write_volatile(u16::from_le_bytes([byte, ATTRIBUTE])) };
            self.cell += 1;
        }
        self.send(byte);
    }

    fn send(&self, byte: u8) {
        if self.uart.port == 0 {
            return;
        }
        for _ in 0..PATIENCE {
            // SAFETY: a UART's line status register, or no device.
            let status = unsafe { inb(self.uart.port.wrapping_add(5)) };
            // Transmitter holding register empty; all ones where there is no UART.
            if status & 0x20 != 0 {
                break;
            }
        }
        self.write(0, byte);
    }

    fn write(&self, register: u16, value: u8) {
        // SAFETY: a register of a UART named by the user or found on every PC.
        unsafe { outb(self.uart.port.wrapping_add(register), value) };
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.show(byte);
        }
        Ok(())
    }
}
