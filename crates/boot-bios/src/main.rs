//! The BIOS loader: started by a multiboot boot loader, it reaches long mode, finds the resident
//! image among the boot modules and hands both to setup.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::panic::PanicInfo;
use core::ptr;

use firmware::acpi::{Rsdp, find_rsdp};
use firmware::multiboot::Info;
use firmware::options;
use handover::{Span, Uart};
use setup::{Boot, Console, Identity};

global_asm!(include_str!("entry.S"), options(att_syntax));

/// Everything of the loader: what was loaded, its tables and its stack.
fn own() -> Span {
    unsafe extern "C" {
        static __load_start: u8;
        static __bss_end: u8;
    }
    let (start, end) = (ptr::addr_of!(__load_start).addr(), ptr::addr_of!(__bss_end).addr());
    Span { base: start as u64, len: (end - start) as u64 }
}

/// Entered from `entry.S` in long mode with what the boot loader left in EAX and EBX.
#[unsafe(no_mangle)]
extern "C" fn boot(magic: u32, info: u32) -> ! {
    // SAFETY: `entry.S` maps the first 4 GiB to themselves and comes here once; the linker
    // script's symbols enclose the program; it runs alone, interrupts off.
    let mut memory = unsafe { Identity::new(own()) };
    let mut console = Console::new(&memory, Uart::default());
    let info = match Info::parse(&memory, magic, info) {
        Ok(info) => info,
        Err(error) => console.fatal(&format_args!(
            "{error}. Start it by GRUB's multiboot or multiboot2 command, iPXE or QEMU."
        )),
    };
    let options = match options::parse(info.command_line) {
        Ok(options) => options,
        Err(error) => console.fatal(&format_args!("{error}. Correct the command line.")),
    };
    let Some(module) = info.modules().first() else {
        console.fatal(
            &"no boot module was loaded. Expected: the resident image as the first module. Add it \
              to the boot entry: `module` with multiboot, `module2` with multiboot2.",
        )
    };
    let module = Span { base: module.start.into(), len: (module.end - module.start).into() };
    let rsdp = info.acpi_rsdp.and_then(Rsdp::parse).or_else(|| find_rsdp(&memory));
    let (map, drive) = (info.map, info.boot_drive);
    let mut console = Console::new(&memory, options.log);
    let Some(image) = memory.take_module(module) else {
        console.fatal(
            &"the boot module was loaded onto the loader or above 4 GiB. Expected: free memory. \
              Use another boot loader or a newer version of it.",
        )
    };
    let boot = Boot { map, rsdp, options, image, drive };
    let Err(error) = setup::start(&mut memory, boot, &mut console);
    console.fatal(&error)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // SAFETY: the mapping is as in `boot`, whose value is not used again.
    let memory = unsafe { Identity::new(own()) };
    Console::new(&memory, Uart::default()).fatal(info)
}
