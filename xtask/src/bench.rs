//! `cargo xtask bench`: the figures the project lives by, measured or absent.

mod boot;
mod exits;
mod memory;
mod rivals;
mod rows;
mod step;
pub(crate) mod stop;

use anyhow::{Result, bail};
use clap::Args;

use crate::machine_args::{Cpu, Firmware, Link};
use rows::Row;
pub(crate) use rows::qemu_version;

/// Options of `bench`.
#[derive(Args, Debug, Default)]
pub(crate) struct BenchArgs {
    /// The CPU.
    #[arg(long, value_enum, default_value_t)]
    cpu: Cpu,
    /// The firmware.
    #[arg(long, value_enum, default_value_t)]
    firmware: Firmware,
    /// The link.
    #[arg(long, value_enum, default_value_t)]
    link: Link,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Only this figure; may be given more than once.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

impl BenchArgs {
    /// For this process's CPU.
    pub(crate) fn chosen() -> Self {
        Self { cpu: Cpu::chosen(), ..Self::default() }
    }
}

/// How one figure is measured: it gives one row or more.
type Measure = fn(&BenchArgs) -> Result<Vec<Row>>;

const FIGURES: &[(&str, Measure)] = &[
    ("cpuid.cost", boot::cpuid_cost),
    ("syscall.cost", boot::syscall_cost),
    ("fault.cost", boot::fault_cost),
    ("boot.exits", boot::exits),
    ("boot.instructions", boot::instructions),
    ("ram.taken", boot::ram_taken),
    ("image.size", boot::image_size),
    ("idle.exits", exits::idle),
    ("load.exits", exits::load),
    ("stop.latency", stop::latency),
    ("step.rate", step::rate),
    ("mem.rate", memory::rate),
];

/// Rates that are taken in turns with QEMU's own gdb stub.
const AGAINST_QEMU: [&str; 2] = ["step.rate", "mem.rate"];

/// Measures.
///
/// # Errors
/// When a figure is unknown, cannot be measured or misses its target.
pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    for name in &args.only {
        if !FIGURES.iter().any(|(known, _)| known == name) {
            let known: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
            bail!("no figure is called {name}; there are: {}", known.join(", "));
        }
    }
    if args.cpu.is_bochs() {
        crate::bochs::root()?;
    }
    let emulator = args.cpu.emulator()?;
    if !args.json {
        println!("{emulator}, {}, {}, {}", args.cpu, args.firmware, args.link);
        println!("{}", rows::HEAD);
    }
    let (mut failed, mut missed) = (Vec::new(), Vec::new());
    for (name, measure) in FIGURES {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == name) {
            continue;
        }
        if args.cpu.is_bochs() && AGAINST_QEMU.contains(name) {
            eprintln!("{name}: left out, Bochs has no gdb stub to compare with");
            continue;
        }
        match measure(args) {
            Ok(rows) => {
                for row in rows {
                    if row.missed() {
                        missed.push(row.title());
                    }
                    println!("{}", if args.json { row.json(args, &emulator) } else { row.text() });
                }
            }
            Err(error) => {
                eprintln!("{name}: {error:#}");
                failed.push(*name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    if !missed.is_empty() {
        bail!("missed: {}", missed.join(", "));
    }
    Ok(())
}

/// Measures the figure `name` on this process's CPU, for a test.
///
/// # Errors
/// As [`bench`].
pub(crate) fn judge(name: &str) -> Result<()> {
    bench(&BenchArgs { only: vec![name.to_owned()], ..BenchArgs::chosen() })
}
