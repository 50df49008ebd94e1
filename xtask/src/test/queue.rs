//! The queue of tests: each runs in a process of its own, so that one over its time limit can be ended with all
//! it started.

use std::{
    collections::BTreeMap,
    env, fs,
    fs::File,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{Test, named};
use crate::{
    machine_args::Cpu,
    session::{self, Session},
};

/// How much slower Bochs is than QEMU, at most.
const SLOWER: u64 = 4;

/// A test and the CPU it is to run on.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) cpu: Cpu,
    pub(super) test: &'a Test,
}

/// By a test's name, with the CPU's: what it said and whether it passed.
pub(super) type Said = BTreeMap<String, (String, bool)>;

/// Runs tests, `most` at a time; tells each as it ends, what it said only when it failed.
///
/// # Errors
/// When one cannot be started.
pub(super) fn run(most: usize, jobs: &[Job<'_>], session: &Session) -> Result<Said> {
    let tests: Vec<_> =
        jobs.iter().map(|job| (job.cpu, job.test.name.as_str(), job.test.limit)).collect();
    let queue = Mutex::new(tests.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let results = Mutex::new(Said::new());
    let work = || -> Result<()> {
        while let Some((cpu, name, limit)) = next() {
            let start = Instant::now();
            let (said, verdict) = in_a_process(name, limit, cpu, session)?;
            let name = named(cpu, name);
            let seconds = start.elapsed().as_secs_f64();
            match &verdict {
                None => println!("ok      {seconds:6.1} s  {name}"),
                Some(why) => {
                    println!("FAILED  {seconds:6.1} s  {name}\n{}\n{why}", said.trim_end())
                }
            }
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.insert(name, (said, verdict.is_none()));
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
