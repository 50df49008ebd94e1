//! A 16550 with FIFOs, polled (National Semiconductor PC16550D data sheet). It never raises an
//! interrupt: its line on the interrupt controller belongs to the guest.
use crate::{Link, Ports};

const THR: u16 = 0;
const IER: u16 = 1;
const FCR: u16 = 2;
const LCR: u16 = 3;
const MCR: u16 = 4;
const LSR: u16 = 5;

/// FIFOs on and empty. The trigger level of 14 is for no interrupt: an emulator hands over no more bytes at
/// once than would raise one, and each time costs a turn of its threads.
const FCR_ENABLE_AND_CLEAR: u8 = 0b1100_0111;
const LCR_8N1: u8 = 0b11;
const LCR_DLAB: u8 = 1 << 7;
const MCR_DTR_RTS: u8 = 0b11;
const LSR_DATA: u8 = 1;
const LSR_THR_EMPTY: u8 = 1 << 5;
/// FIFO and shift register are empty.
const LSR_IDLE: u8 = 1 << 6;
const FIFO: u8 = 16;

/// Reads of the line status register until a full FIFO counts as stuck, at about a microsecond each on an LPC or ISA
/// bus: this outlasts 16 bytes at 1,200 baud. The guest, or the log's writer, stands still meanwhile.
const PATIENCE: u32 = 200_000;
/// The same while an analyst waits for the bytes. A UART sends whoever listens, but one that an emulator or a
/// management controller stands for waits for the reader at the other end, and a reply with a byte missing is lost as
/// a whole.
const LONG_PATIENCE: u32 = 5_000_000;
/// Reads until the machine gets a breath: less than half a millisecond.
const BREATH: u32 = 256;

/// The UART.
#[derive(Debug)]
pub struct Uart<P> {
    ports: P,
    base: u16,
    room: u8,
    stuck: bool,
    patient: bool,
}

impl<P: Ports> Uart<P> {
    /// Set up the UART whose eight ports begin at `base` for `baud` bits a second, 8N1, no interrupts.
    pub fn new(mut ports: P, base: u16, baud: u32) -> Self {
        let divisor = 115_200_u32.checked_div(baud).unwrap_or(1).clamp(1, 0xffff);
        let [low, high, ..] = divisor.to_le_bytes();
        for (register, value) in [
            (IER, 0),
            (LCR, LCR_DLAB | LCR_8N1),
            (THR, low),
            (IER, high),
            (LCR, LCR_8N1),
            (FCR, FCR_ENABLE_AND_CLEAR),
            (MCR, MCR_DTR_RTS),
        ] {
            ports.write(base.wrapping_add(register), value);
        }
        Self::adopt(ports, base)
    }

    /// Go on with a UART that was set up before; what it has received is kept.
    pub fn adopt(ports: P, base: u16) -> Self {
        Self { ports, base, room: 0, stuck: false, patient: false }
    }

    fn status(&mut self) -> u8 {
        self.ports.read(self.base.wrapping_add(LSR))
    }

    fn wait_for(&mut self, what: u8) -> bool {
        let patience = match (self.stuck, self.patient) {
            (true, _) => 1,
            (false, true) => LONG_PATIENCE,
            (false, false) => PATIENCE,
        };
        for look in 1..=patience {
            if self.status() & what != 0 {
                self.stuck = false;
                self.room = FIFO;
                return true;
            }
            if look.is_multiple_of(BREATH) {
                self.ports.breathe();
            }
        }
        self.stuck = true;
        false
    }
}

impl<P: Ports> Link for Uart<P> {
    fn receive(&mut self) -> Option<u8> {
        match self.status() {
            0xff => None,
            status if status & LSR_DATA != 0 => Some(self.ports.read(self.base)),
            _ => None,
        }
    }

    fn send(&mut self, byte: u8) {
        if self.room > 0 || self.wait_for(LSR_THR_EMPTY) {
            self.room = self.room.saturating_sub(1);
            self.ports.write(self.base.wrapping_add(THR), byte);
        }
    }

    fn patient(&mut self, on: bool) {
        // What is stuck for a second may be slow for a minute.
        self.stuck &= self.patient == on;
        self.patient = on;
    }

    fn flush(&mut self) {
        self.wait_for(LSR_IDLE);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{vec, vec::Vec};

    /// A UART as its data sheet has it, as far as the driver uses it.
    #[derive(Default)]
    struct Model {
        sent: Vec<u8>,
        fifo: usize,
        input: Vec<u8>,
        lcr: u8,
        divisor: [u8; 2],
        drains: bool,
        reads: u32,
        overrun: bool,
        breaths: u32,
    }

    impl Ports for &mut Model {
        fn read(&mut self, port: u16) -> u8 {
            self.reads += 1;
            match port - 0x3f8 {
                0 => self.input.remove(0),
                5 => {
                    if self.drains {
                        self.fifo = 0;
                    }
                    u8::from(!self.input.is_empty()) | if self.fifo == 0 { 0x60 } else { 0 }
                }
                _ => 0,
            }
        }

        fn write(&mut self, port: u16, value: u8) {
            let dlab = self.lcr & LCR_DLAB != 0;
            match port - 0x3f8 {
                0 if dlab => self.divisor[0] = value,
                1 if dlab => self.divisor[1] = value,
                0 => {
                    self.fifo += 1;
                    self.overrun |= self.fifo > 16;
                    self.sent.push(value);
                }
                3 => self.lcr = value,
                _ => {}
            }
        }

        fn breathe(&mut self) {
            self.breaths += 1;
        }
    }

    #[test]
    fn adopting_keeps_all() {
        let mut model = Model { input: vec![7], lcr: LCR_8N1, ..Model::default() };
        assert_eq!(Uart::adopt(&mut model, 0x3f8).receive(), Some(7));
        assert_eq!((model.divisor, model.sent.len()), ([0, 0], 0));
    }

    #[test]
    fn speed_and_format() {
        let mut model = Model::default();
        Uart::new(&mut model, 0x3f8, 9600);
        assert_eq!((model.divisor, model.lcr), ([12, 0], LCR_8N1));
    }

    #[test]
    fn many_bytes_never_overrun_the_fifo() {
        let mut model = Model { drains: true, ..Model::default() };
        let mut uart = Uart::new(&mut model, 0x3f8, 115_200);
        (0..=255).for_each(|byte| uart.send(byte));
        uart.flush();
        assert_eq!(model.sent, (0..=255).collect::<Vec<u8>>());
        assert!(!model.overrun);
    }

    #[test]
    fn a_line_that_never_drains_costs_a_bounded_time() {
        for (patient, reads) in [(false, PATIENCE), (true, LONG_PATIENCE)] {
            let mut model = Model::default();
            let mut uart = Uart::new(&mut model, 0x3f8, 115_200);
            uart.patient(patient);
            (0..1000).for_each(|_| uart.send(0));
            uart.flush();
            assert_eq!(model.sent, vec![0; 16]);
            assert!((reads..reads + 1100).contains(&model.reads));
            assert_eq!(model.breaths, reads / BREATH, "no longer than that without one");
        }
    }

    #[test]
    fn a_line_that_was_stuck_is_waited_for_again_by_who_is_patient() {
        let mut model = Model::default();
        let mut uart = Uart::new(&mut model, 0x3f8, 115_200);
        (0..20).for_each(|_| uart.send(0));
        for (patient, reads) in [(true, LONG_PATIENCE), (true, 1), (false, PATIENCE), (false, 1)] {
            uart.patient(patient);
            let before = uart.ports.reads;
            uart.flush();
            assert_eq!(uart.ports.reads - before, reads, "{patient}");
        }
    }

    #[test]
    fn receives_in_order_and_never_from_an_empty_bus() {
        let mut model = Model { input: vec![1, 2], ..Model::default() };
        let mut uart = Uart::new(&mut model, 0x3f8, 115_200);
        assert_eq!([uart.receive(), uart.receive(), uart.receive()], [Some(1), Some(2), None]);
        struct Nothing;
        impl Ports for Nothing {
            fn read(&mut self, _: u16) -> u8 {
                0xff
            }
            fn write(&mut self, _: u16, _: u8) {}
        }
        let mut uart = Uart::new(Nothing, 0x3f8, 115_200);
        assert_eq!(uart.receive(), None);
    }
}
