//! `cargo xtask test`: what a change must pass.
//!
//! There is one list of tests for all CPUs. What the emulator of one lacks for some is in [`lacks`].

mod attach;
mod bochs;
mod broken;
mod deaf;
mod debian;
mod debuggers;
mod fault;
mod figures;
mod gdb;
mod grub;
mod guests;
mod host;
mod image;
mod inspect;
mod lacks;
mod lines;
mod link;
mod network;
mod once;
mod queue;
mod refusal;
mod refused;
mod reset;
mod steps;
mod stick;
mod systems;
mod time;
mod torture;

use std::{collections::BTreeMap, process::ExitCode, thread};

use anyhow::{Result, bail};
use clap::Args;

use self::queue::Job;
use crate::{build, machine_args::Cpu, session::Session};

/// Options of `test`.
#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// Also the long ones.
    #[arg(long)]
    full: bool,
    /// Print the names and do nothing.
    #[arg(long)]
    list: bool,
    /// Only the test of this name, or all in a group of this name: `gdb` is `gdb.memory` and so on.
    /// May be given more than once. Long ones too.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The CPU of the machines; if not given, one of each vendor: amd, then intel. May be given more than once.
    #[arg(long, value_enum)]
    cpu: Vec<Cpu>,
}

impl TestArgs {
    /// The CPUs to test on, the first one first.
    fn cpus(&self) -> &[Cpu] {
        if self.cpu.is_empty() { &[Cpu::Amd, Cpu::Intel] } else { &self.cpu }
    }
}

/// One test.
pub(crate) struct Test {
    /// How it is called, the room first: `host.fmt`.
    pub(crate) name: String,
    /// Seconds it may take.
    pub(crate) limit: u64,
    /// Whether it is left out unless asked for.
    pub(crate) long: bool,
    /// What it does.
    pub(crate) run: Box<dyn Fn() -> Result<()>>,
}

impl Test {
    fn new(name: &str, limit: u64, run: impl Fn() -> Result<()> + 'static) -> Self {
        Self { name: name.to_owned(), limit, long: false, run: Box::new(run) }
    }

    fn long(self) -> Self {
        Self { long: true, ..self }
    }
}

/// All tests, the quick ones first.
fn all() -> Result<Vec<Test>> {
    let mut tests = host::tests();
    tests.extend(image::tests());
    tests.extend(figures::tests());
    tests.extend(bochs::tests());
    tests.extend(refusal::tests());
    tests.extend(broken::tests());
    tests.extend(guests::tests(&build::test_guests()?));
    tests.extend(debian::tests());
    tests.extend(reset::tests());
    tests.extend(stick::tests());
    tests.extend(network::tests());
    tests.extend(grub::tests());
    tests.extend(gdb::tests());
    tests.extend(attach::tests());
    tests.extend(refused::tests());
    tests.extend(inspect::tests());
    tests.extend(steps::tests());
    tests.extend(lines::tests());
    tests.extend(debuggers::tests());
    tests.extend(link::tests());
    tests.extend(fault::tests());
    tests.extend(deaf::tests());
    tests.extend(time::tests());
    tests.extend(once::tests());
    tests.extend(systems::tests());
    tests.extend(torture::tests());
    Ok(tests)
}

/// Whether `--only asked` means the test `name`: it is its name, or the beginning of it up to a dot.
fn means(asked: &str, name: &str) -> bool {
    name.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What is to be run, on which CPUs, and what cannot be.
struct Plan<'a> {
    /// Alone: what uses all processors by itself, or measures.
    alone: Vec<Job<'a>>,
    /// As many at a time as there are processors.
    together: Vec<Job<'a>>,
    /// Tests that nobody asked for, or that are named in `lacks`.
    left: usize,
}

/// Sorts out what `args` ask for, CPU after CPU; says what cannot run there.
fn plan<'a>(tests: &'a [Test], args: &TestArgs) -> Plan<'a> {
    let mut plan = Plan { alone: Vec::new(), together: Vec::new(), left: 0 };
    for (nth, cpu) in args.cpus().iter().copied().enumerate() {
        let chosen = |test: &Test| match args.only.as_slice() {
            [] => args.full || !(test.long || lacks::long(cpu, &test.name)),
            only => only.iter().any(|asked| means(asked, &test.name)),
        };
        let mut lacking = BTreeMap::new();
        for test in tests {
            let elsewhere = lacks::no_cpu(&test.name) && cpu != Cpu::default();
            if elsewhere && nth > 0 {
                // It has been counted.
            } else if elsewhere || !chosen(test) {
                plan.left += 1;
            } else if let Some((group, what)) = lacks::what(cpu, &test.name) {
                plan.left += 1;
                lacking.insert(group, what);
            } else if ["host", "bench"].iter().any(|group| means(group, &test.name)) {
                plan.alone.push(Job { cpu, test });
            } else {
                plan.together.push(Job { cpu, test });
            }
        }
        for (group, what) in lacking {
            println!("skipped           {}: {what}", named(cpu, group));
        }
    }
    plan
}

/// Runs the tests; the exit code says whether all passed.
///
/// # Errors
/// When a test cannot be started or none is called as asked for.
pub(crate) fn test(args: &TestArgs, session: &Session) -> Result<ExitCode> {
    let tests = all()?;
    if args.list {
        list(&tests, args);
        return Ok(ExitCode::SUCCESS);
    }
    for asked in &args.only {
        if !tests.iter().any(|test| means(asked, &test.name)) {
            bail!("no test and no group is called {asked}; `cargo xtask test --list` prints them");
        }
    }
    let Plan { alone, together, left } = plan(&tests, args);
    if alone.iter().chain(&together).any(|job| job.cpu.is_bochs()) {
        // Before many ask for it at the same time.
        crate::bochs::root()?;
    }
    let mut said = queue::run(1, &alone, session)?;
    said.extend(queue::run(thread::available_parallelism()?.get(), &together, session)?);

    for cpu in args.cpus() {
        let of = |name: &str| said.get(&named(*cpu, name)).map(|(said, _)| said.as_str());
        if tests.iter().any(|test| means("system", &test.name) && of(&test.name).is_some()) {
            print!("\n{}\n", systems::table(of));
        }
    }
    let passed = said.values().filter(|(_, ok)| *ok).count();
    let failed = said.len() - passed;
    println!("{passed} passed, {failed} failed, {left} skipped");
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints the names, and what keeps which from running.
fn list(tests: &[Test], args: &TestArgs) {
    for cpu in args.cpus().iter().copied() {
        for test in tests.iter().filter(|test| cpu == Cpu::default() || !lacks::no_cpu(&test.name))
        {
            let lacks = lacks::what(cpu, &test.name);
            let lacks =
                lacks.map(|(_, what)| format!(" (not on this CPU: {what})")).unwrap_or_default();
            let long = if test.long || lacks::long(cpu, &test.name) { " (long)" } else { "" };
            println!("{}{long}{lacks}", named(cpu, &test.name));
        }
    }
}

/// How a test is called in what is printed: on the default CPU by its name alone.
fn named(cpu: Cpu, name: &str) -> String {
    if cpu == Cpu::default() { name.to_owned() } else { format!("{cpu} {name}") }
}

/// Runs the test `name` in this process.
///
/// # Errors
/// When it fails or there is none of that name.
pub(crate) fn one(name: &str) -> Result<()> {
    match all()?.iter().find(|test| test.name == name) {
        Some(test) => (test.run)(),
        None => bail!("there is no test {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::means;

    #[test]
    fn only_takes_a_name_or_a_group() {
        assert!(means("guest.hole", "guest.hole") && means("guest.hole", "guest.hole.4g"));
        assert!(means("guest", "guest.hole.4g"));
        assert!(!means("guest.ho", "guest.hole") && !means("debian.cloud", "debian.cloud-4g"));
    }
}
