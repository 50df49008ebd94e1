//! One call of a command: where its temporary files are, and how a signal ends it without leaving
//! files or processes behind.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{self, Command},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tempfile::TempDir;

/// What the thread that waits for signals must know.
#[derive(Debug, Default)]
struct Shared {
    /// The groups of processes that must not outlive us.
    groups: Mutex<BTreeSet<u32>>,
    /// Whether Ctrl-C is meant for another program on the same terminal.
    ctrl_c_is_anothers: AtomicBool,
    /// Whether a signal has come.
    ending: AtomicBool,
}

/// A call of a command.
#[derive(Debug)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    /// Holds all temporary files; goes with the session.
    _dir: TempDir,
}

impl Session {
    /// Moves all temporary files of this process into a directory of their own, which goes when the
    /// session ends or a signal ends the process.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub(crate) fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("ramooflax-").tempdir()?;
        let path = dir.path().to_owned();
        // It fails when there was one before: this is called once.
        let _ = tempfile::env::override_temp_dir(&path);
        let shared = Arc::<Shared>::default();
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let seen = Arc::clone(&shared);
        thread::spawn(move || {
            for signal in signals.forever() {
                if signal != SIGINT || !seen.ctrl_c_is_anothers.load(SeqCst) {
                    end(&seen, &path, signal);
                }
            }
        });
        Ok(Self { shared, _dir: dir })
    }

    /// Leaves Ctrl-C to the program that has the terminal from now on.
    pub(crate) fn leave_ctrl_c(&self) {
        self.shared.ctrl_c_is_anothers.store(true, SeqCst);
    }

    /// Lets a signal kill the group of processes `group`.
    pub(crate) fn kills(&self, group: u32) {
        self.stay_if_ending();
        self.shared.groups.lock().unwrap_or_else(PoisonError::into_inner).insert(group);
    }

    /// Lets a signal spare `group`, which has ended.
    pub(crate) fn spares(&self, group: u32) {
        self.stay_if_ending();
        self.shared.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(&group);
    }

    /// What was killed is no result to be reported.
    fn stay_if_ending(&self) {
        while self.shared.ending.load(SeqCst) {
            thread::park();
        }
    }
}

/// Kills a group of processes at once.
///
/// # Errors
/// When `kill` cannot be started.
pub(crate) fn kill_group(group: u32) -> Result<()> {
    Command::new("kill")
        .args(["-KILL", "--", &format!("-{group}")])
        .status()
        .map(drop)
        .context("starting kill")
}

/// Ends this process because of `signal`. Emulators and gdbs end with the process that started them.
fn end(shared: &Shared, dir: &Path, signal: i32) -> ! {
    shared.ending.store(true, SeqCst);
    for group in shared.groups.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // Nothing can be done about a failure but to go on cleaning up.
        let _ = kill_group(*group);
    }
    // What is being killed may still make files while the directory is emptied.
    for _ in 0..50 {
        let _ = fs::remove_dir_all(dir);
        if !dir.exists() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    process::exit(128 + signal)
}
