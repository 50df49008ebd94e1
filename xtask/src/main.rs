//! The one door of the project: `cargo xtask demo`, `image`, `test`, `run`, `bench`.
#![forbid(unsafe_code)]

mod analyst;
mod archive;
mod bench;
mod bochs;
#[cfg(test)]
mod book;
mod build;
mod debian;
mod demo;
mod disk;
mod ensure;
mod facts;
mod fuzz;
mod image;
mod initramfs;
mod machine_args;
mod menu;
mod paths;
mod pip;
mod run;
mod scene;
mod sector;
mod session;
mod sh;
mod systems;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use session::Session;

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
    /// Make a disk image for a USB stick that starts Ramooflax and then the machine's own disk.
    Image(image::ImageArgs),
    /// Run the tests that a change must pass.
    Test(test::TestArgs),
    /// Start a machine and use it.
    Run(run::RunArgs),
    /// Measure the figures the project lives by.
    Bench(bench::BenchArgs),
    /// Give hostile input to what reads it, guided by coverage.
    Fuzz(fuzz::FuzzArgs),
    /// Run one test in this process.
    #[command(hide = true)]
    TestOne {
        /// Its name.
        name: String,
        /// The CPU of its machines.
        #[arg(long, value_enum, default_value_t)]
        cpu: machine_args::Cpu,
    },
}

fn main() -> ExitCode {
    match dispatch(&Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &Command) -> Result<ExitCode> {
    if let Command::TestOne { name, cpu } = command {
        cpu.choose();
        // Whoever starts it has set up already, and cleans up.
        return test::one(name).map(|()| ExitCode::SUCCESS);
    }
    let session = Session::start()?;
    ensure::ensure()?;
    match command {
        Command::Test(args) => return test::test(args, &session),
        Command::Demo(args) => demo::demo(args, &session)?,
        Command::Image(args) => image::image(args)?,
        Command::Run(args) => run::run(args)?,
        Command::Bench(args) => bench::bench(args)?,
        Command::Fuzz(args) => fuzz::fuzz(args)?,
        Command::TestOne { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}
