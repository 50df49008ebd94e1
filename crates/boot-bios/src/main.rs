//! The BIOS loader: started by a multiboot boot loader, it reaches long mode, finds the resident
//! image among the boot modules and hands both to setup.
#![no_std]
#![no_main]

mod native;

use core::arch::global_asm;
use core::fmt;
use core::panic::PanicInfo;
use core::ptr;

use firmware::acpi::{Rsdp, find_rsdp};
use firmware::multiboot::Info;
use firmware::options::{self, BootFrom};
use handover::{ANSWER, PROBE, Span, Uart};
use setup::{Boot, Console, Identity, next};

global_asm!(
    include_str!("entry.S"),
    PROBE = const PROBE,
    ANSWER = const ANSWER,
    ENTRY = const next::ENTRY,
    PROTECTED = const next::PROTECTED,
    PAUSE = const native::PAUSE,
    options(att_syntax)
);

/// Everything of the loader: what was loaded, its tables and its stack.
fn own() -> Span {
    unsafe extern "C" {
        static __load_start: u8;
        static __bss_end: u8;
    }
    let (start, end) = (ptr::addr_of!(__load_start).addr(), ptr::addr_of!(__bss_end).addr());
    Span { base: start as u64, len: (end - start) as u64 }
}

/// Entered from `entry.S` in long mode with what the boot loader left in EAX and EBX, and the far pointer by
/// which a VMM that runs already answered; 0 if there is none.
#[unsafe(no_mangle)]
extern "C" fn boot(magic: u32, info: u32, next_disk: u32) -> ! {
    // SAFETY: `entry.S` maps the first 4 GiB to themselves and comes here once; the linker
    // script's symbols enclose the program; it runs alone, interrupts off.
    let mut memory = unsafe { Identity::new(own()) };
    let mut otherwise = Otherwise::default();
    attempt(&mut memory, magic, info, next_disk, &mut otherwise);
    native::boot(&mut memory, &otherwise);
    Console::new(&memory, Uart::default()).fatal(&"no conventional memory to go on from")
}

/// What is known for the case that there will be no VMM.
#[derive(Default)]
struct Otherwise {
    /// Where the log would have gone.
    log: Uart,
    /// What the machine boots.
    from: BootFrom,
    /// The drive that this was started from.
    drive: Option<u8>,
    /// The UART that messages went to.
    uart: u16,
}

impl Otherwise {
    /// Shows why there will be no VMM, and what happens now. Halts a machine that has been changed.
    fn tell(&mut self, memory: &Identity, why: &dyn fmt::Display) {
        let mut console = Console::new(memory, self.log);
        if memory.changed() {
            console.fatal(why);
        }
        self.uart = console.refuse(why);
        match next::disk(self.from, self.drive) {
            None => console.line(
                &"not started. In 10 seconds or at a key, without it: what the firmware boots; the \
                  next disk if that was this once more.",
            ),
            Some(disk) => console.line(&format_args!(
                "not started. In 10 seconds or at a key, without it: disk {disk:#x}."
            )),
        }
    }
}

/// Starts the VMM, or, under one, the next disk. Returns when that cannot be done, and it was said why.
fn attempt(
    memory: &mut Identity,
    magic: u32,
    info: u32,
    next_disk: u32,
    otherwise: &mut Otherwise,
) {
    let at_least = Info::at_least(memory, magic, info);
    otherwise.drive = at_least.boot_drive;
    otherwise.from = options::boot_at_least(at_least.command_line);
    if let Ok(options) = options::parse(at_least.command_line) {
        otherwise.log = options.vmm.log;
    }
    if next_disk != 0 {
        return native::under_vmm(memory, next_disk, otherwise);
    }
    let info = match Info::parse(memory, magic, info) {
        Ok(info) => info,
        Err(error) => {
            let why = format_args!(
                "{error}. Start it by GRUB's multiboot or multiboot2 command, iPXE or QEMU; if it was, \
                 by another of them, and report this machine."
            );
            return otherwise.tell(memory, &why);
        }
    };
    let options = match options::parse(info.command_line) {
        Ok(options) => options,
        Err(error) => {
            return otherwise.tell(memory, &format_args!("{error}. Correct the command line."));
        }
    };
    let Some(module) = info.modules().first() else {
        return otherwise.tell(
            memory,
            &"no boot module was loaded. Expected: the resident image as the first module. Add it \
              to the boot entry: `module` with multiboot, `module2` with multiboot2.",
        );
    };
    let module = Span { base: module.start.into(), len: (module.end - module.start).into() };
    let rsdp = info.acpi_rsdp.and_then(Rsdp::parse).or_else(|| find_rsdp(memory));
    let (map, drive) = (info.map, info.boot_drive);
    let Some(image) = memory.take_module(module) else {
        return otherwise.tell(
            memory,
            &"the boot module was loaded onto the loader or above 4 GiB. Expected: free memory. \
              Use another boot loader or a newer version of it.",
        );
    };
    let mut console = Console::new(memory, options.vmm.log);
    let boot = Boot { map, rsdp, options, image, drive };
    let Err(error) = setup::start(memory, boot, &mut console);
    otherwise.tell(memory, &error);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // SAFETY: the mapping is as in `boot`, whose value is not used again.
    let memory = unsafe { Identity::new(own()) };
    Console::new(&memory, Uart::default()).fatal(info)
}
