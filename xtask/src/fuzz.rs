//! `cargo xtask fuzz`: the targets of `fuzz/`, driven by libFuzzer with the coverage of the crates.

use std::{
    collections::VecDeque,
    fs,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::{build, ensure, paths, sh};

/// How many run at the same time.
const AT_ONCE: usize = 2;
/// The longest input in bytes: longer than the longest packet.
const MAX_LEN: usize = 8192;
/// Seconds that one input may take, and MiB of memory.
const INPUT_SECONDS: u64 = 10;
const INPUT_MEMORY: u64 = 1024;
/// What makes the compiler count edges and comparisons, as `cargo fuzz` has it. Only crates without unsafe
/// code are fuzzed: no address sanitizer, which needs another compiler.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Options of `fuzz`.
#[derive(Args, Debug)]
pub(crate) struct FuzzArgs {
    /// How long each target runs.
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    minutes: f64,
    /// Only this target. May be given more than once.
    #[arg(long, value_name = "TARGET")]
    only: Vec<String>,
    /// Give this one input to the target of `--only`, and no others.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// A target at work.
struct Run {
    name: &'static str,
    child: Child,
    said: PathBuf,
    start: Instant,
}

/// What became of a target.
struct Outcome {
    name: &'static str,
    minutes: f64,
    inputs: u64,
    edges: u64,
    features: u64,
    crash: Option<PathBuf>,
    clean: bool,
    said: PathBuf,
}

/// Fuzzes; fails when an input breaks a target.
///
/// # Errors
/// When there is no such target, it does not compile, or it was broken.
pub(crate) fn fuzz(args: &FuzzArgs) -> Result<()> {
    for name in &args.only {
        let known: Vec<&str> = fuzz::TARGETS.iter().map(|target| target.name).collect();
        ensure!(
            fuzz::target(name).is_some(),
            "no target is called {name}; expected one of: {}",
            known.join(", ")
        );
    }
    ensure::cpp()?;
    let program = program()?;
    if let Some(file) = &args.input {
        let [name] = args.only.as_slice() else { bail!("--input needs one --only") };
        return sh::visible(Command::new(program).arg(file).env("FUZZ_TARGET", name));
    }
    let chosen = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    let mut waiting: VecDeque<_> =
        fuzz::TARGETS.iter().filter(|target| chosen(target.name)).collect();
    let (mut running, mut done) = (Vec::new(), Vec::new());
    while !(waiting.is_empty() && running.is_empty()) {
        while running.len() < AT_ONCE {
            let Some(target) = waiting.pop_front() else { break };
            println!("{}: {} min", target.name, args.minutes);
            running.push(start(&program, target, args.minutes)?);
        }
        thread::sleep(Duration::from_millis(200));
        for index in (0..running.len()).rev() {
            if let Some(status) = running[index].child.try_wait()? {
                done.push(outcome(running.swap_remove(index), status.success())?);
            }
        }
    }
    table(&done)
}

/// Builds the program that libFuzzer drives.
fn program() -> Result<PathBuf> {
    println!("building the targets");
    let host = sh::output(ensure::rustc().arg("-vV").current_dir(paths::root()))?;
    let host =
        host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    // With a target named, build scripts and macros are compiled without the flags.
    let dir = folder("")?;
    sh::output(
        build::cargo()
            .args(["build", "--quiet", "--package", "fuzz", "--features", "libfuzzer"])
            .args(["--profile", "fuzz", "--target", host])
            .env("CARGO_TARGET_DIR", &dir)
            .env("RUSTFLAGS", COVERAGE),
    )?;
    Ok(dir.join(host).join("fuzz/fuzz"))
}

/// A folder of what fuzzing leaves, made when missing.
fn folder(name: &str) -> Result<PathBuf> {
    let dir = paths::target().join("fuzz").join(name);
    fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
    Ok(dir)
}

/// Starts one target on its seeds and on what earlier runs found.
fn start(program: &Path, target: &'static fuzz::Target, minutes: f64) -> Result<Run> {
    let corpus = folder(&format!("corpus/{}", target.name))?;
    for (index, seed) in (target.seeds)().iter().enumerate() {
        build::write(&corpus.join(format!("seed-{index}")), seed)?;
    }
    let crashes = folder("crashes")?;
    let said = folder("logs")?.join(format!("{}.log", target.name));
    let log = File::create(&said)?;
    // `setpriv` so that it ends with us even when we are killed without warning.
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .arg(format!("-max_total_time={:.0}", (minutes * 60.0).max(1.0)))
        .arg(format!("-max_len={MAX_LEN}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={INPUT_MEMORY}"))
        .arg(format!("-artifact_prefix={}/{}-", crashes.display(), target.name))
        .args(["-print_final_stats=1", "-reload=0"])
        .arg(corpus)
        .env("FUZZ_TARGET", target.name)
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(Run { name: target.name, child, said, start: Instant::now() })
}

/// Reads from its log what a target did.
fn outcome(run: Run, clean: bool) -> Result<Outcome> {
    let text = String::from_utf8_lossy(&fs::read(&run.said)?).into_owned();
    let field = |line: &str, name: &str| -> Option<u64> {
        line.split_once(name)?.1.split_whitespace().next()?.parse().ok()
    };
    let last = |name: &str| text.lines().rev().find_map(|line| field(line, name)).unwrap_or(0);
    let crash = text
        .lines()
        .find_map(|line| line.split_once("Test unit written to ").map(|(_, file)| file));
    Ok(Outcome {
        name: run.name,
        minutes: run.start.elapsed().as_secs_f64() / 60.0,
        inputs: last("stat::number_of_executed_units:"),
        edges: last(" cov: "),
        features: last(" ft: "),
        crash: crash.map(PathBuf::from),
        clean,
        said: run.said,
    })
}

/// The closing table; an error when a target was broken.
fn table(done: &[Outcome]) -> Result<()> {
    println!(
        "\n{:<10} {:>7} {:>13} {:>7} {:>9}  crashes",
        "target", "minutes", "inputs", "edges", "features"
    );
    for one in done {
        println!(
            "{:<10} {:>7.1} {:>13} {:>7} {:>9}  {}",
            one.name,
            one.minutes,
            one.inputs,
            one.edges,
            one.features,
            if one.clean { "none".to_owned() } else { "BROKEN".to_owned() }
        );
    }
    let broken: Vec<&Outcome> = done.iter().filter(|one| !one.clean).collect();
    for one in &broken {
        println!("\n{} was broken; all it said is in {}", one.name, one.said.display());
        if let Some(file) = &one.crash {
            println!(
                "the input is {0}; see it again by\n  cargo xtask fuzz --only {1} --input {0}\n\
                      and once it is mended keep it as a test in fuzz/crashers/{1}/",
                file.display(),
                one.name
            );
        }
    }
    std::io::stdout().flush()?;
    ensure!(broken.is_empty(), "{} of {} targets were broken", broken.len(), done.len());
    Ok(())
}
