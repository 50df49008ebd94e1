//! What the CPU says and does, printed for comparison with the same machine without the VMM.
//! Lines that begin with `svm.` differ by design: the VMM conceals SVM.

#![no_std]
#![no_main]

mod control;
mod features;
mod leaves;
mod msrs;
mod svm;

use guests::report;

guests::guest!(main);

fn main() {
    leaves::all("cpuid");
    leaves::osxsave();
    msrs::all();
    control::efer();
    control::registers();
    control::xsetbv();
    control::instructions();
    features::all();
    svm::all();
    for port in 0x3f8..0x400 {
        report::info(format_args!("port {port:x} {:x}", guests::cpu::inb(port)));
    }
    report::holds("parity.finished", true);
}
