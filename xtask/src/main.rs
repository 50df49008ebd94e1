//! The one door of the project: `cargo xtask demo`, `test`, `run`, `bench`.
#![forbid(unsafe_code)]

mod analyst;
mod bench;
mod build;
mod debian;
mod demo;
mod disk;
mod ensure;
mod facts;
mod initramfs;
mod machine_args;
mod menu;
mod paths;
mod run;
mod scene;
mod sh;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, runs, tests and measures Ramooflax.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// See it work: Debian under Ramooflax, stopped and read by a stock gdb.
    Demo(demo::DemoArgs),
    /// Run the tests that a change must pass.
    Test(test::TestArgs),
    /// Start a machine and use it.
    Run(run::RunArgs),
    /// Measure the figures the project lives by.
    Bench(bench::BenchArgs),
    /// Run one test in this process.
    #[command(hide = true)]
    TestOne {
        /// Its name.
        name: String,
    },
}

fn main() -> ExitCode {
    match dispatch(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &Command) -> Result<()> {
    match command {
        // It shows its set-up as one of its steps.
        Command::Demo(args) => demo::demo(args),
        Command::Test(args) => ensure::ensure().and_then(|()| test::test(args)),
        Command::Run(args) => ensure::ensure().and_then(|()| run::run(args)),
        Command::Bench(args) => ensure::ensure().and_then(|()| bench::bench(args)),
        // Whoever starts it has set up already.
        Command::TestOne { name } => test::one(name),
    }
}
