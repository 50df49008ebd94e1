//! What comes at the end of an instruction that a hypervisor may complete: the guest's own single step, its instruction
//! breakpoints, the shadow of MOV SS. Every line must be the same with and without one.

#![no_std]
#![no_main]

mod registers;
mod steps;
mod traps;

guests::guest!(main);

fn main() {
    steps::all();
    steps::behind_mov_ss();
    steps::breakpoints();
    registers::cr0();
    registers::cr4();
    registers::branches();
    guests::report::holds("events.finished", true);
}
