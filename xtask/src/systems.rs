//! The table of real systems: software that nobody here wrote, each booted twice on the same machine,
//! bare and under the VMM, to a stated point; then what a person sees on the screen and on the serial port
//! must be the same.
//!
//! What may differ is named row by row, with the reason ([`Differs`]). A system that cannot be had, or
//! cannot be started by a BIOS, has its row too.

mod compare;
mod firmware;
mod linux;
mod mach;
mod memtest;
mod moros;
mod play;
mod rules;
mod small;
mod table;

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::Result;
use testing::Config;

use crate::machine_args::Cpu;

pub(crate) use play::run;
pub(crate) use table::Table;

/// One system: a row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System {
    /// What the test is called, after `system.`.
    pub(crate) name: &'static str,
    /// What it is, where it comes from and how far it is run, for the table.
    pub(crate) about: &'static str,
    /// Whether it is cheap enough for every run of the tests.
    pub(crate) quick: bool,
    /// How it is played, or why it is not.
    pub(crate) play: Result<Play, &'static str>,
}

/// How a system is started, driven and judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Play {
    /// Makes or fetches its boot files; may leave files in the directory.
    pub(crate) boot: BootFn,
    /// Changes the machine, the same one in both runs; may leave files in the directory.
    pub(crate) machine: fn(&mut Config, &Path) -> Result<()>,
    /// Takes from the bare machine what the VMM conceals, so that the guest is told the same.
    pub(crate) bare: fn(&mut Config),
    /// What happens until the stated point.
    pub(crate) steps: &'static [Step],
    /// Seconds that each of the two runs may take.
    pub(crate) limit: u64,
    /// What is compared at the stated point.
    pub(crate) compared: &'static [Compared],
    /// Whether the screen stays dark on Bochs, and is not compared there.
    pub(crate) dark_on_bochs: bool,
    /// Its steps on Bochs, where they are others.
    pub(crate) on_bochs: Option<&'static [Step]>,
    /// What may differ.
    pub(crate) differs: &'static [Differs],
}

/// Makes or fetches boot files; may leave files in the directory.
pub(crate) type BootFn = fn(&Path) -> Result<Boot>;

impl Play {
    /// A play with nothing but a boot: on the usual machine, to the first `steps`.
    pub(crate) const fn new(boot: BootFn, steps: &'static [Step]) -> Self {
        Self {
            boot,
            machine: |_, _| Ok(()),
            bare: |_| {},
            steps,
            limit: 60,
            compared: &[Compared::Screen],
            dark_on_bochs: false,
            on_bochs: None,
            differs: &[],
        }
    }

    /// The same with something else to boot.
    pub(crate) const fn boots(self, boot: fn(&Path) -> Result<Boot>) -> Self {
        Self { boot, ..self }
    }

    /// The same on a machine that `machine` changes.
    pub(crate) const fn on(self, machine: fn(&mut Config, &Path) -> Result<()>) -> Self {
        Self { machine, ..self }
    }

    /// The same with something taken from the bare machine.
    pub(crate) const fn bare(self, bare: fn(&mut Config)) -> Self {
        Self { bare, ..self }
    }

    /// The same with something else compared.
    pub(crate) const fn comparing(self, compared: &'static [Compared]) -> Self {
        Self { compared, ..self }
    }

    /// The same where nothing is seen on Bochs's screen.
    pub(crate) const fn dark_on_bochs(self) -> Self {
        Self { dark_on_bochs: true, ..self }
    }

    /// The same with other steps on Bochs.
    pub(crate) const fn on_bochs(self, steps: &'static [Step]) -> Self {
        Self { on_bochs: Some(steps), ..self }
    }

    /// The steps on this process's CPU.
    pub(crate) fn way(&self) -> &'static [Step] {
        self.on_bochs.filter(|_| Cpu::chosen().is_bochs()).unwrap_or(self.steps)
    }

    /// What is compared on this process's CPU.
    pub(crate) fn seen(&self) -> impl Iterator<Item = Compared> {
        let dark = self.dark_on_bochs && Cpu::chosen().is_bochs();
        self.compared.iter().copied().filter(move |what| !(dark && *what == Compared::Screen))
    }

    /// The same with another limit, in seconds.
    pub(crate) const fn within(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// The same where something may differ.
    pub(crate) const fn but(self, differs: &'static [Differs]) -> Self {
        Self { differs, ..self }
    }
}

/// What is on the disk, and how GRUB starts it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Boot {
    /// Files and their names in `/boot`.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// GRUB's commands up to its `boot`.
    pub(crate) commands: String,
    /// A second disk, unchanged by what runs.
    pub(crate) disk: Option<PathBuf>,
}

/// One thing that happens on the way to the stated point.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// This is awaited on the text screen.
    Screen(&'static str),
    /// This is awaited on the serial port.
    Serial(&'static str),
    /// This must not have come over the serial port.
    NotSerial(&'static str),
    /// This is typed; `<esc>` and the like are keys.
    Type(&'static str),
    /// The machine switches itself off.
    Off,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// The text screen, characters and colours, once it stands still.
    Screen,
    /// All that was written to COM2 since GRUB started the system.
    Serial,
    /// The same, in any order: what threads print as they come.
    Lines,
}

/// What may differ between the two runs. Patterns are regular expressions that are searched for in each
/// line; each one's groups are what may differ, or the whole of it if it has none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Differs {
    /// Values of time or chance: not compared.
    Varies {
        /// What is not compared.
        pattern: &'static str,
        /// Why no two runs agree on it, with or without the VMM.
        why: &'static str,
    },
    /// An amount of memory, less under the VMM by what it takes: exactly, but for the rounding of the one who
    /// prints it.
    Memory {
        /// The text around the number, which is its only group.
        pattern: &'static str,
        /// Bytes in one of what is counted.
        unit: f64,
        /// Units by which rounding may put it off.
        rounding: f64,
        /// Bytes that it is less by, from where the hole is: its size for one who uses all other memory.
        less: fn(&Range<u64>) -> u64,
    },
    /// Lines of a map of physical memory: the usable ranges must be the same less the hole and the low page,
    /// the others the same and these two. `less` by nothing else.
    Map {
        /// The line, with its groups `first`, `last`, `end` or `length` (hexadecimal digits), and `kind`.
        pattern: &'static str,
        /// What `kind` is for usable memory.
        usable: &'static str,
    },
    /// A line of this kind is in one run only, or in another place.
    Lines {
        /// What is in the line.
        pattern: &'static str,
        /// Why it differs by design.
        why: &'static str,
    },
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Varies { pattern, why } => write!(f, "`{pattern}`: {why}"),
            Self::Memory { pattern, .. } => {
                write!(f, "`{pattern}`: an amount of memory, by exactly what the VMM takes")
            }
            Self::Map { .. } => {
                f.write_str("the map of memory, by exactly the hole and the low page")
            }
            Self::Lines { pattern, why } => write!(f, "lines with `{pattern}`: {why}"),
        }
    }
}

/// All rows, in the order of the table.
pub(crate) fn all() -> Vec<System> {
    [
        mach::SYSTEMS,
        linux::SYSTEMS,
        moros::SYSTEMS,
        memtest::SYSTEMS,
        small::SYSTEMS,
        firmware::SYSTEMS,
    ]
    .concat()
}
