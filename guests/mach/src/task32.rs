//! The task for a 32-bit GNU Mach: assembly, as there is no Rust for 32-bit programs in the toolchain. It is
//! linked as a 64-bit program at a low address and then made a 32-bit file, which changes no byte of it.
#![no_std]
#![no_main]

use core::{arch::global_asm, panic::PanicInfo};

global_asm!(include_str!("task32.S"), options(att_syntax, raw));

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
