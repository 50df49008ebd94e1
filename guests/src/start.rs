//! From the multiboot entry to the guest's own code.

use crate::{cpu, exception, low, report};

crate::assembly!("boot.S");
crate::labels!(boot_pml4, boot_pdpt, boot_pd);

const CMDLINE_MAX: usize = 256;
static CMDLINE: cpu::Racy<([u8; CMDLINE_MAX], usize)> = cpu::Racy::new(([0; CMDLINE_MAX], 0));

unsafe extern "Rust" {
    fn guest_main();
}

/// Copies the command line before anything overwrites it: QEMU keeps it near 9500h.
fn keep_cmdline(info: u64) {
    const HAS_CMDLINE: u32 = 1 << 2;
    if cpu::read32(info) & HAS_CMDLINE == 0 {
        return;
    }
    let address = u64::from(cpu::read32(info + 16));
    let mut text = [0; CMDLINE_MAX];
    let mut n = 0;
    while n < CMDLINE_MAX && cpu::read8(address + n as u64) != 0 {
        text[n] = cpu::read8(address + n as u64);
        n += 1;
    }
    CMDLINE.set((text, n));
}

/// Calls `f` with every word of the command line. QEMU puts the file's name first, GRUB does not.
fn any_word(mut f: impl FnMut(&str) -> bool) -> bool {
    let (text, n) = CMDLINE.get();
    core::str::from_utf8(&text[..n]).is_ok_and(|t| t.split_whitespace().any(&mut f))
}

/// Whether the loader's command line holds `word`.
#[must_use]
pub fn has_word(word: &str) -> bool {
    any_word(|w| w == word)
}

/// The hexadecimal number after `prefix` in the command line.
#[must_use]
pub fn number(prefix: &str) -> Option<u64> {
    let mut found = None;
    any_word(|w| {
        found = w.strip_prefix(prefix).and_then(|w| u64::from_str_radix(w, 16).ok());
        found.is_some()
    });
    found
}

// SAFETY: the one definition of the symbol that boot.S calls.
#[unsafe(no_mangle)]
extern "C" fn guest_start(info: u64) -> ! {
    keep_cmdline(info);
    report::init();
    low::install();
    exception::install();
    // SAFETY: defined by `guest!` in each binary.
    unsafe { guest_main() };
    report::verdict()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    report::fail(format_args!("panic: {info}"));
    report::verdict()
}
