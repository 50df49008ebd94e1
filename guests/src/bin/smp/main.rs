//! No CPU runs without the VMM. The firmware's table lists either all CPUs, and then another one
//! must start by INIT and SIPI, or this one alone, and then no way of sending them may start any.
//! What a guest may do with its own local APIC works all the same.

#![no_std]
#![no_main]

mod apic;
mod madt;
mod own;
mod pit;
mod relocate;
mod start;
mod wake;

use guests::{pic, report, start as boot};

guests::guest!(main);
guests::assembly!("trampoline.S");
guests::labels!(trampoline_start, trampoline_nmi, trampoline_end);

fn main() {
    let _ = pic::mask_all();
    let cpus = madt::enabled_cpus();
    report::info(format_args!("madt.cpus {cpus}"));
    own::all();
    start::all(cpus > 1);
    if boot::has_word("wake") {
        wake::all(cpus > 1);
        return;
    }
    relocate::all(cpus > 1);
    // Now another CPU, if there is one, runs the trampoline and survives an NMI.
    own::nmi_to_all();
}
