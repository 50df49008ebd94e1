//! The firmware's tables as the guest shall find them: no other CPU, no UART of ours.

use firmware::acpi::{Rsdp, fadt, madt, spcr};
use firmware::{PhysMut, bda, mp_table};
use handover::{Options, Reset};

use crate::console::Console;
use crate::error::Error;

/// What the tables say about switching the machine off.
pub(crate) struct Power {
    /// The reset register.
    pub(crate) reset: Reset,
    /// The PM1a control port; 0 = none.
    pub(crate) pm1a_cnt: u16,
}

/// Disables every CPU but the one with `apic_id`, hides the UARTs of `options`, and reads the FADT.
///
/// # Errors
/// [`Error::Firmware`] if the MADT cannot be changed: a guest that starts another CPU would have
/// one without a VMM. What only old systems read is reported on `console` instead: an MP table
/// lies in write-protected memory as a rule, and is passed over by whoever finds a MADT.
pub(crate) fn conceal<M: PhysMut + ?Sized>(
    memory: &mut M,
    console: &mut Console,
    rsdp: Option<&Rsdp>,
    apic_id: u8,
    options: &Options,
) -> Result<Power, Error> {
    let mut power = Power { reset: Reset::default(), pm1a_cnt: 0 };
    let keep = u32::from(apic_id);
    if let Some(rsdp) = rsdp {
        madt::disable_other_cpus(memory, rsdp, keep)?;
        if let Some(fadt) = fadt::find(memory, rsdp) {
            let (port, value) = fadt.reset.unwrap_or_default();
            power = Power { reset: Reset { port, value }, pm1a_cnt: fadt.pm1a_cnt };
        }
    }
    if let Err(error) = mp_table::disable_other_cpus(memory, keep) {
        console.line(&format_args!(
            "{error}. A guest that ignores ACPI will find CPUs in the MP table that must not run."
        ));
    }
    for uart in [options.link, options.log].iter().filter(|uart| uart.port != 0) {
        bda::hide_uart(memory, uart.port);
        if let Some(Err(error)) = rsdp.map(|rsdp| spcr::hide_spcr(memory, rsdp, uart.port)) {
            console.line(&format_args!("{error}. The guest can see the UART {:#x}.", uart.port));
        }
    }
    Ok(power)
}
