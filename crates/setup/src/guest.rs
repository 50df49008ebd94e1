//! The firmware's tables as the guest shall find them: no other CPU, no UART of ours.

use firmware::acpi::{Rsdp, fadt, madt, spcr};
use firmware::{ApicIds, Phys, PhysMut, bda, mp_table};
use handover::{Options, Reset};

use crate::console::Console;
use crate::error::Error;

/// How many CPUs the machine has, this one included: those the MADT lists. Without one, the larger of
/// what the MP table lists and `threads`, this processor's own (`AMD APM 3, E.4.7`): rather one
/// too many than one that is started unnoticed.
///
/// # Errors
/// [`Error::Firmware`] if a MADT makes no sense. An MP table that does not counts for nothing.
pub(crate) fn count_cpus<M: Phys + ?Sized>(
    memory: &M,
    rsdp: Option<&Rsdp>,
    threads: u32,
) -> Result<u32, Error> {
    let listed = match rsdp {
        Some(rsdp) => madt::count_cpus(memory, rsdp)?,
        None => 0,
    };
    Ok(match listed {
        0 => mp_table::count_cpus(memory).unwrap_or(0).max(threads),
        _ => listed,
    })
}

/// The local APIC IDs of the CPUs that can be started, this one's, `own`, first: those of the MADT; without one, those of the
/// MP table. Where a table makes no sense [`count_cpus`] or [`conceal`] says so.
pub(crate) fn apic_ids<M: Phys + ?Sized>(
    memory: &M,
    rsdp: Option<&Rsdp>,
    own: u8,
    ids: &mut ApicIds<'_>,
) {
    ids.add(own.into());
    let listed = rsdp.is_some_and(|rsdp| {
        madt::count_cpus(memory, rsdp).is_ok_and(|count| count != 0)
            && madt::apic_ids(memory, rsdp, ids).is_ok()
    });
    if !listed {
        let _ = mp_table::apic_ids(memory, ids);
    }
}

/// Disables every CPU but the one with `apic_id`, hides the UARTs of `options`; returns the reset
/// register of the FADT.
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
) -> Result<Reset, Error> {
    let mut reset = Reset::default();
    let keep = u32::from(apic_id);
    if let Some(rsdp) = rsdp {
        madt::disable_other_cpus(memory, rsdp, keep)?;
        if let Some(fadt) = fadt::find(memory, rsdp) {
            let (port, value) = fadt.reset.unwrap_or_default();
            reset = Reset { port, value };
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
    Ok(reset)
}

#[cfg(test)]
#[path = "guest_tests.rs"]
mod tests;
