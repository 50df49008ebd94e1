//! The memory testers: memtest86 and memtest86+.

use std::path::Path;

use anyhow::Result;
use testing::Config;

use super::{Differs, Play, Step, System, small::linux16};

pub(super) const SYSTEMS: &[System] = &[
    System {
        name: "memtest86+-6.10",
        about: "memtest86+ 6.10 (bookworm), to its menu",
        quick: true,
        play: Ok(Play::new(
            |_| linux16("bookworm", "memtest86+", "boot/memtest86+x64.bin"),
            &[Step::Screen("Testing:"), Step::Type("<f1>"), Step::Screen("Exit menu")],
        )
        .on(small_on_bochs)
        .but(MEMTEST)),
    },
    System {
        name: "memtest86+-6.10-pass",
        about: "memtest86+ 6.10 (bookworm), through all of 64 MiB",
        quick: false,
        play: Ok(Play::new(
            |_| linux16("bookworm", "memtest86+", "boot/memtest86+x64.bin"),
            &[Step::Screen("Pass:  1 "), Step::Type("<f1>"), Step::Screen("Exit menu")],
        )
        .but(MEMTEST_PASS)
        .within(900)
        .on(|config, _| {
            config.memory = 64;
            Ok(())
        })),
    },
    System {
        name: "memtest86+-8.10",
        about: "memtest86+ 8.10 (sid), to its menu",
        quick: false,
        play: Ok(Play::new(
            |_| linux16("sid", "memtest86+", "boot/mt86+x64"),
            &[Step::Screen("Testing:"), Step::Type("<f1>"), Step::Screen("Exit menu")],
        )
        .on(small_on_bochs)
        .but(MEMTEST)),
    },
    System {
        name: "memtest86+-7.20-ia32",
        about: "memtest86+ 7.20 (trixie), 32-bit, to its menu",
        quick: false,
        play: Ok(Play::new(
            |_| linux16("trixie", "memtest86+", "boot/memtest86+ia32.bin"),
            &[Step::Screen("Testing:"), Step::Type("<f1>"), Step::Screen("Exit menu")],
        )
        .on(small_on_bochs)
        .but(MEMTEST)),
    },
    System {
        name: "memtest86+-5.01",
        about: "memtest86+ 5.01 (bullseye), to its menu, entered during the first test",
        quick: false,
        play: Ok(Play::new(
            |_| linux16("bullseye", "memtest86+", "boot/memtest86+.bin"),
            &[Step::Screen("1 Active"), Step::Type("c"), Step::Screen("Settings")],
        )
        .on(more_on_bochs)
        .but(MEMTEST)
        .within(180)),
    },
    System {
        name: "memtest86-4.3.7",
        about: "memtest86 4.3.7 (bullseye), to its menu, entered during the first test",
        quick: false,
        play: Ok(Play::new(
            |_| linux16("bullseye", "memtest86", "boot/memtest86.bin"),
            &[Step::Screen("CPUs_Active:     1"), Step::Type("c"), Step::Screen("Settings")],
        )
        .on(small_on_bochs)
        .but(MEMTEST)
        .within(150)),
    },
];

/// Too small a memory for its speed to be measured, which Bochs takes minutes for.
fn small_on_bochs(config: &mut Config, _: &Path) -> Result<()> {
    if config.bochs.is_some() {
        config.memory = 64;
    }
    Ok(())
}

/// This one measures the speed of any memory, by copying as far as 65 MiB without a look at the map: the hole is not there.
fn more_on_bochs(config: &mut Config, _: &Path) -> Result<()> {
    if config.bochs.is_some() {
        config.memory = 128;
    }
    Ok(())
}

/// The same in the middle of a later test, whose name the menu covers in part.
const MEMTEST_PASS: &[Differs] = &{
    let mut all = [MEMTEST[0]; MEMTEST.len() + 3];
    let mut n = 0;
    while n < MEMTEST.len() {
        all[n] = MEMTEST[n];
        n += 1;
    }
    all[n] = Differs::Varies { pattern: r"([^ ][^│]{0,18}\])$", why: "the end of a test's name" };
    all[n + 1] =
        Differs::Varies { pattern: r"^Using: (All Cores|Core #0)", why: "as the test wants" };
    all[n + 2] = Differs::Varies { pattern: r"Status: Pass +([-\\|/])$", why: "a spinner" };
    all
};

/// What memtest86 and memtest86+ show of time and speed.
const MEMTEST: &[Differs] = &[
    Differs::Varies { pattern: r"^(?:CLK\S*|CPU Clk ): +(\d+) ?MHz", why: "measured" },
    Differs::Varies {
        pattern: r"^(?:L\d Cache|Memory  ): +\d+[KM]B?([^│|]{0,13})",
        why: "a speed measured",
    },
    Differs::Memory {
        pattern: r"^Memory  : +(\d+)M",
        unit: 1048576.0,
        rounding: 1.0,
        less: |hole| hole.end - hole.start,
    },
    Differs::Varies {
        pattern: r"[│|] ((?:Pass|Test) *\d*%.*|Test #.*|Testing:.*|Pattern:.*)$",
        why: "how far the test is",
    },
    Differs::Varies { pattern: r"Time:? +([\d:]+)", why: "time" },
    Differs::Varies { pattern: r"State: (.)", why: "a spinner" },
];
