//! `cargo xtask test`: what a change must pass.
//!
//! Each test is a function run in a process of its own, so that one over its time limit can be
//! ended with all it started.

mod attach;
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
mod refusal;
mod reset;
mod stick;
mod systems;
mod time;
mod torture;

use std::{
    collections::BTreeMap,
    env, fs,
    fs::File,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    bochs, build,
    machine_args::Cpu,
    session::{self, Session},
};

/// How much slower Bochs is than QEMU, at most.
const SLOWER: u64 = 4;

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
    /// The CPU of the machines.
    #[arg(long, value_enum, default_value_t)]
    cpu: Cpu,
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
    tests.extend(inspect::tests());
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

/// Runs the tests; the exit code says whether all passed.
///
/// # Errors
/// When a test cannot be started or none is called as asked for.
pub(crate) fn test(args: &TestArgs, session: &Session) -> Result<ExitCode> {
    let tests = all()?;
    if args.list {
        for test in tests {
            let lacks = lacks::what(args.cpu, &test.name);
            let lacks = lacks.map(|what| format!(" (not on this CPU: {what})")).unwrap_or_default();
            println!("{}{}{lacks}", test.name, if test.long { " (long)" } else { "" });
        }
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = |test: &Test| match args.only.as_slice() {
        [] => args.full || !test.long,
        only => only.iter().any(|asked| means(asked, &test.name)),
    };
    for asked in &args.only {
        if !tests.iter().any(|test| means(asked, &test.name)) {
            bail!("no test and no group is called {asked}; `cargo xtask test --list` prints them");
        }
    }
    let (run, mut left): (Vec<&Test>, Vec<&Test>) = tests.iter().partition(|test| chosen(test));
    let (run, cannot): (Vec<&Test>, Vec<&Test>) =
        run.into_iter().partition(|test| lacks::what(args.cpu, &test.name).is_none());
    for test in &cannot {
        let what = lacks::what(args.cpu, &test.name).unwrap_or_default();
        println!("skipped           {}: {what}", test.name);
    }
    left.extend(cannot);
    if args.cpu.is_bochs() {
        // Before many ask for it at the same time.
        bochs::root()?;
    }
    // What uses all processors by itself, or measures, runs alone.
    let (alone, together): (Vec<&Test>, Vec<&Test>) = run
        .into_iter()
        .partition(|test| ["host", "bench"].iter().any(|group| means(group, &test.name)));
    let mut said = at_a_time(1, &alone, args.cpu, session)?;
    said.extend(at_a_time(thread::available_parallelism()?.get(), &together, args.cpu, session)?);

    if said.keys().any(|name| means("system", name)) {
        print!("\n{}\n", systems::table(|name| said.get(name).map(|(said, _)| said.as_str())));
    }
    let passed = said.values().filter(|(_, ok)| *ok).count();
    let failed = said.len() - passed;
    println!("{passed} passed, {failed} failed, {} skipped", left.len());
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs tests, `most` at a time; tells each as it ends, what it said only when it failed. Gives by name what it said
/// and whether it passed.
fn at_a_time(
    most: usize,
    tests: &[&Test],
    cpu: Cpu,
    session: &Session,
) -> Result<BTreeMap<String, (String, bool)>> {
    let tests: Vec<_> = tests.iter().map(|test| (test.name.as_str(), test.limit)).collect();
    let queue = Mutex::new(tests.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let results = Mutex::new(BTreeMap::new());
    let work = || -> Result<()> {
        while let Some((name, limit)) = next() {
            let start = Instant::now();
            let (said, verdict) = in_a_process(name, limit, cpu, session)?;
            let seconds = start.elapsed().as_secs_f64();
            match &verdict {
                None => println!("ok      {seconds:6.1} s  {name}"),
                Some(why) => {
                    println!("FAILED  {seconds:6.1} s  {name}\n{}\n{why}", said.trim_end())
                }
            }
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.insert(name.to_owned(), (said, verdict.is_none()));
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..most).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(done) => done,
            Err(_) => bail!("a test's watcher panicked"),
        })
    })?;
    Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner))
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

/// What the test said, and how it failed if it did.
fn in_a_process(
    name: &str,
    limit: u64,
    cpu: Cpu,
    session: &Session,
) -> Result<(String, Option<String>)> {
    let limit = if cpu.is_bochs() { limit * SLOWER } else { limit };
    // It outlives the process, which may be killed before it has cleaned up.
    let dir = tempfile::Builder::new().prefix("test-").tempdir()?;
    let output = tempfile::NamedTempFile::new()?;
    let file = File::options().append(true).open(output.path())?;
    // `setpriv` so that it ends with us even when we are killed without warning.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(env::current_exe()?)
        .args(["test-one", "--cpu", &cpu.to_string(), name])
        .env("TMPDIR", dir.path())
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .process_group(0)
        .spawn()?;
    session.kills(child.id());
    let deadline = Instant::now() + Duration::from_secs(limit);
    let verdict = loop {
        if let Some(status) = child.try_wait()? {
            break (!status.success()).then(|| format!("({status})"));
        }
        if Instant::now() > deadline {
            // The whole group: a cargo, for one, does not end with its parent. Emulators and gdb do.
            session::kill_group(child.id())?;
            child.wait()?;
            break Some(format!("(over its time limit of {limit} s)"));
        }
        thread::sleep(Duration::from_millis(20));
    };
    session.spares(child.id());
    let said = fs::read(output.path()).unwrap_or_default();
    Ok((String::from_utf8_lossy(&said).into_owned(), verdict))
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
