//! GRUB's menu: no entry, no timeout, two passes.
//!
//! The first pass starts the VMM and notes in the environment block that the next one is the
//! second. The VMM starts its guest on `int 0x19`, the BIOS boots the disk again, and the second
//! pass loads the guest and notes that the next one, after a reset, is a first one again.

use crate::scene::Start;

/// How GRUB is to load the VMM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Multiboot {
    /// Multiboot 1.
    #[value(name = "1")]
    One,
    /// Multiboot 2.
    #[default]
    #[value(name = "2")]
    Two,
}

const HEAD: &str = "serial --port=0x2f8 --speed=115200\nterminal_output serial\nset pager=0\n";

/// The menu that runs `guest` (GRUB commands) under the VMM started as `vmm` says, or on the bare
/// machine when there is none.
pub(crate) fn menu(guest: &str, vmm: Option<&Start>) -> String {
    let Some(start) = vmm else {
        return format!("{HEAD}{guest}\nboot\n");
    };
    let (load, module) = match start.multiboot {
        Multiboot::One => ("multiboot", "module"),
        Multiboot::Two => ("multiboot2", "module2"),
    };
    let options = &start.options;
    let module = if start.module { format!("{module} /boot/resident\n") } else { String::new() };
    format!(
        "{HEAD}load_env\n\
         if [ \"$pass\" = 2 ]; then\n\
         set pass=1\n\
         save_env pass\n\
         {guest}\n\
         else\n\
         set pass=2\n\
         save_env pass\n\
         {load} /boot/ramooflax {options}\n\
         {module}\
         fi\n\
         boot\n"
    )
}
