//! The ports that protect the VMM: its own UARTs, which are not there for the guest, and the two A20
//! gates, which must never mask the VMM's own accesses.
use crate::{Cpu, Host, Machine, instruction::retire, post, string_io};
use vcpu::{Gpr, PortIo, Vcpu};

const KBC_DATA: u16 = 0x60;
const KBC_COMMAND: u16 = 0x64;
/// System control port A: bit 0 resets, bit 1 is A20.
const PORT_A: u16 = 0x92;
const PORT_A_A20: u8 = 1 << 1;
/// The keyboard controller's output port: bit 0 is reset (low), bit 1 is A20.
const OUTPUT_A20: u8 = 1 << 1;

/// What the keyboard controller expects at its data port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kbc {
    #[default]
    Idle,
    /// D1h: the next write goes to the output port.
    WriteOutput,
    /// D0h: the next read is the output port.
    ReadOutput,
}

/// The A20 line as the guest drives it: the gate written last decides, and both read back the line.
#[derive(Debug)]
pub(crate) struct Devices {
    kbc: Kbc,
    a20: bool,
}

impl Default for Devices {
    fn default() -> Self {
        // The loader was entered with A20 on (multiboot).
        Self { kbc: Kbc::Idle, a20: true }
    }
}

/// Ask for the exits this module handles. One copy serves both vendors.
#[inline(never)]
pub(crate) fn watch<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu) {
    vcpu.watch_ports(KBC_DATA, 1, true);
    vcpu.watch_ports(KBC_COMMAND, 1, true);
    vcpu.watch_ports(PORT_A, 1, true);
    for uart in [machine.options.link, machine.options.log] {
        if uart.port != 0 {
            vcpu.watch_ports(uart.port, 8, true);
        }
    }
}

/// IN, OUT, INS or OUTS that touches a watched port.
pub(crate) fn access<H: Host>(
    machine: &Machine<H>,
    cpu: &mut Cpu,
    vcpu: &mut dyn Vcpu,
    io: PortIo,
) {
    if io.string {
        string_io::access(machine, cpu, vcpu, io);
        return;
    }
    let rax = vcpu.gpr(Gpr::Rax);
    if io.input {
        let value = u64::from(input(machine, io.port, io.size));
        let value = match io.size {
            1 => rax & !0xff | value,
            2 => rax & !0xffff | value,
            _ => value,
        };
        vcpu.set_gpr(Gpr::Rax, value);
    } else {
        output(machine, vcpu, io.port, io.size, rax as u32);
    }
    retire(cpu, vcpu, io.next_rip);
}

/// One input of 1, 2 or 4 bytes; the bus splits it as the ports behind are bytes.
pub(crate) fn input<H: Host>(machine: &Machine<H>, port: u16, size: u8) -> u32 {
    let mut bytes = [0; 4];
    for (n, byte) in (0..u16::from(size)).zip(&mut bytes) {
        *byte = input_byte(machine, port.wrapping_add(n));
    }
    u32::from_le_bytes(bytes)
}

/// One output of 1, 2 or 4 bytes.
pub(crate) fn output<H: Host>(
    machine: &Machine<H>,
    vcpu: &mut dyn Vcpu,
    port: u16,
    size: u8,
    value: u32,
) {
    for (n, byte) in (0..u16::from(size)).zip(value.to_le_bytes()) {
        output_byte(machine, vcpu, port.wrapping_add(n), byte);
    }
}

/// Whether the port is one of a UART of ours.
fn hidden<H: Host>(machine: &Machine<H>, port: u16) -> bool {
    [machine.options.link, machine.options.log]
        .iter()
        .any(|uart| uart.port != 0 && port.wrapping_sub(uart.port) < 8)
}

fn input_byte<H: Host>(machine: &Machine<H>, port: u16) -> u8 {
    if hidden(machine, port) {
        return 0xff;
    }
    let value = machine.host.port_in(port);
    let mut devices = machine.devices.lock();
    match port {
        PORT_A => value & !PORT_A_A20 | if devices.a20 { PORT_A_A20 } else { 0 },
        KBC_DATA if devices.kbc == Kbc::ReadOutput => {
            devices.kbc = Kbc::Idle;
            value & !OUTPUT_A20 | if devices.a20 { OUTPUT_A20 } else { 0 }
        }
        _ => value,
    }
}

fn output_byte<H: Host>(machine: &Machine<H>, vcpu: &mut dyn Vcpu, port: u16, value: u8) {
    if hidden(machine, port) {
        return;
    }
    if port == KBC_COMMAND && post::begun(machine, vcpu) {
        post::reset(machine);
    }
    let mut forward = value;
    let mut devices = machine.devices.lock();
    let before = devices.a20;
    match (port, value) {
        (PORT_A, _) => {
            devices.a20 = value & PORT_A_A20 != 0;
            forward |= PORT_A_A20;
        }
        // Other commands with a byte of data. Those without leave D1h waiting for its own, on QEMU's 8042.
        (KBC_COMMAND, 0x60..=0x7f | 0xd2..=0xd4) => devices.kbc = Kbc::Idle,
        (KBC_COMMAND, 0xd0) if devices.kbc == Kbc::Idle => devices.kbc = Kbc::ReadOutput,
        (KBC_COMMAND, 0xd1) => devices.kbc = Kbc::WriteOutput,
        (KBC_COMMAND, 0xdd) => {
            devices.a20 = false;
            // "Disable A20" becomes "enable": the line itself stays up.
            forward = 0xdf;
        }
        (KBC_COMMAND, 0xdf) => devices.a20 = true,
        // F0h to FFh pulse the low bits that are 0: bit 1 would pull A20 down for a moment.
        (KBC_COMMAND, 0xf0..) => forward |= OUTPUT_A20,
        (KBC_DATA, _) if devices.kbc == Kbc::WriteOutput => {
            devices.kbc = Kbc::Idle;
            devices.a20 = value & OUTPUT_A20 != 0;
            forward |= OUTPUT_A20;
        }
        _ => {}
    }
    let after = devices.a20;
    drop(devices);
    machine.host.port_out(port, forward);
    if before != after {
        machine.nested.lock().set_a20(after);
        vcpu.flush();
    }
}
