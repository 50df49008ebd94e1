//! Packages of any suite and architecture of Debian, for what runs as a guest: found and checked by
//! apt's own tools, with lists and a status file of their own, so that nothing of this computer changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure as must};

use crate::{ensure, paths, sh};

/// Where a package comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Package<'a> {
    /// The suite: `bookworm`.
    pub(crate) suite: &'a str,
    /// The architecture: `amd64`, `i386`.
    pub(crate) arch: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
}

impl<'a> Package<'a> {
    /// The package `name` of `suite` for amd64.
    pub(crate) const fn amd64(suite: &'a str, name: &'a str) -> Self {
        Self { suite, arch: "amd64", name }
    }

    /// The package `name` of `suite` for i386.
    pub(crate) const fn i386(suite: &'a str, name: &'a str) -> Self {
        Self { suite, arch: "i386", name }
    }

    /// The directory with what the package holds, fetched and unpacked when it is not here yet.
    ///
    /// # Errors
    /// When the archive cannot be reached or has no such package.
    pub(crate) fn get(self) -> Result<PathBuf> {
        let apt = Apt::of(self.suite, self.arch)?;
        let _alone = paths::alone(&apt.dir)?;
        let to = apt.dir.join("unpacked").join(self.name);
        if !to.exists() {
            apt.fetch(self.name, &to).with_context(|| {
                format!(
                    "fetching {} of Debian {} failed. {}",
                    self.name,
                    self.suite,
                    ensure::NETWORK
                )
            })?;
        }
        Ok(to)
    }

    /// The directory with what the package and all that it depends on hold, as a program needs them that is to
    /// run with its own C library: without documents and translations.
    ///
    /// # Errors
    /// As [`Package::get`].
    pub(crate) fn with_dependencies(self) -> Result<PathBuf> {
        let apt = Apt::of(self.suite, self.arch)?;
        let _alone = paths::alone(&apt.dir)?;
        let to = apt.dir.join("unpacked").join(format!("{}+", self.name));
        if !to.exists() {
            apt.fetch_all(self.name, &to).with_context(|| {
                format!(
                    "fetching {} of Debian {} with what it needs failed. {}",
                    self.name,
                    self.suite,
                    ensure::NETWORK
                )
            })?;
        }
        Ok(to)
    }

    /// The version the archive has.
    ///
    /// # Errors
    /// When its lists are not here: fetch it first.
    pub(crate) fn version(self) -> Result<String> {
        let apt = Apt::of(self.suite, self.arch)?;
        let said = sh::output(apt.command("apt-cache").args(["policy", self.name]))?;
        let version = said.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
        version.map(str::to_owned).with_context(|| format!("{self:?} has no version: {said}"))
    }

    /// The one file of the package whose path in it satisfies `is`.
    ///
    /// # Errors
    /// As [`Package::get`], and when there is none.
    pub(crate) fn find(self, is: impl Fn(&str) -> bool) -> Result<PathBuf> {
        let root = self.get()?;
        let list = sh::output(Command::new("find").args([".", "-type", "f"]).current_dir(&root))?;
        let mut paths: Vec<&str> =
            list.lines().filter_map(|path| path.strip_prefix("./")).collect();
        paths.sort_unstable();
        let found = paths.iter().find(|path| is(path));
        let found = found.with_context(|| format!("{self:?} has no such file, only:\n{list}"))?;
        Ok(root.join(found))
    }

    /// The file of the package at `path`.
    ///
    /// # Errors
    /// As [`Package::find`].
    pub(crate) fn file(self, path: &str) -> Result<PathBuf> {
        self.find(|known| known == path)
    }

    /// The packages that this one depends on, by name: a meta package names the version that is current.
    ///
    /// # Errors
    /// When the archive cannot be reached.
    pub(crate) fn depends(self) -> Result<Vec<String>> {
        let apt = Apt::of(self.suite, self.arch)?;
        let _alone = paths::alone(&apt.dir)?;
        let query =
            || sh::output(apt.command("apt-cache").args(["depends", "--important", self.name]));
        let said = match query() {
            Ok(said) => said,
            Err(_) => {
                apt.update()?;
                query()?
            }
        };
        let names = said.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.map(|name| name.split(':').next().unwrap_or(name).to_owned()).collect())
    }
}

/// apt with a state of its own for one suite and one architecture.
struct Apt<'a> {
    dir: PathBuf,
    arch: &'a str,
}

impl<'a> Apt<'a> {
    fn of(suite: &str, arch: &'a str) -> Result<Self> {
        let dir = paths::cache()?.join("archive").join(format!("{suite}-{arch}"));
        let sources = dir.join("sources.list");
        fs::create_dir_all(&dir)?;
        let _alone = paths::alone(&dir)?;
        if !sources.exists() {
            for part in ["state/lists/partial", "cache/archives/partial", "unpacked", "none"] {
                fs::create_dir_all(dir.join(part))?;
            }
            fs::write(dir.join("state/status"), "")?;
            let (mirror, key) = (mirror()?, keyring()?);
            let options = format!("arch={arch} signed-by={} target=Packages", key.display());
            fs::write(&sources, format!("deb [{options}] {mirror} {suite} main\n"))?;
        }
        Ok(Self { dir, arch })
    }

    /// One of apt's commands, on this state alone.
    fn command(&self, tool: &str) -> Command {
        let mut cmd = Command::new(tool);
        let at = |name: &str| self.dir.join(name).display().to_string();
        for (option, value) in [
            ("Dir::State", at("state")),
            ("Dir::State::status", at("state/status")),
            ("Dir::Cache", at("cache")),
            ("Dir::Etc::sourcelist", at("sources.list")),
            ("Dir::Etc::sourceparts", at("none")),
            ("Dir::Etc::preferencesparts", at("none")),
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::Retries", "3".to_owned()),
            ("APT::Architecture", self.arch.to_owned()),
            ("APT::Architectures::", self.arch.to_owned()),
            // apt's own user need not be able to write here.
            ("APT::Sandbox::User", "root".to_owned()),
        ] {
            cmd.arg("-o").arg(format!("{option}={value}"));
        }
        cmd
    }

    fn update(&self) -> Result<()> {
        sh::output(self.command("apt-get").args(["update", "--quiet=2"])).map(drop)
    }

    fn fetch(&self, name: &str, to: &Path) -> Result<()> {
        let scratch = tempfile::tempdir_in(&self.dir)?;
        let download = || {
            let mut cmd = self.command("apt-get");
            cmd.args(["download", "--quiet=2", name]);
            sh::output(cmd.current_dir(scratch.path()))
        };
        if download().is_err() {
            // No lists yet, or they name versions that the mirror no longer has.
            self.update()?;
            download()?;
        }
        let packages: Vec<PathBuf> = fs::read_dir(scratch.path())?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .collect();
        must!(packages.len() == 1, "apt-get download brought {packages:?}");
        let unpacked = scratch.path().join("unpacked");
        for package in &packages {
            sh::output(Command::new("dpkg-deb").arg("-x").arg(package).arg(&unpacked))?;
        }
        fs::rename(&unpacked, to).with_context(|| format!("{}", to.display()))
    }

    /// Fetches `name` and all that it depends on, nothing of which counts as installed here.
    fn fetch_all(&self, name: &str, to: &Path) -> Result<()> {
        let scratch = tempfile::tempdir_in(&self.dir)?;
        let packages = scratch.path().join("packages");
        fs::create_dir_all(packages.join("partial"))?;
        let download = || {
            let mut cmd = self.command("apt-get");
            cmd.arg("-o").arg(format!("Dir::Cache::archives={}", packages.display()));
            cmd.args(["install", "--download-only", "--no-install-recommends"]);
            sh::output(cmd.args(["--yes", "--quiet=2", name]))
        };
        if download().is_err() {
            // No lists yet, or they name versions that the mirror no longer has.
            self.update()?;
            download()?;
        }
        let unpacked = scratch.path().join("unpacked");
        for entry in fs::read_dir(&packages)? {
            let package = entry?.path();
            if package.extension().is_some_and(|extension| extension == "deb") {
                sh::output(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked))?;
            }
        }
        for useless in ["doc", "man", "locale", "icons", "zoneinfo"] {
            let dir = unpacked.join("usr/share").join(useless);
            if dir.exists() {
                fs::remove_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
            }
        }
        fs::rename(&unpacked, to).with_context(|| format!("{}", to.display()))
    }
}

/// The mirror of Debian's archive that this computer uses.
pub(crate) fn mirror() -> Result<String> {
    let _alone = paths::alone(&paths::cache()?)?;
    ensure::update_lists_if_unknown(&["seabios"])?;
    let format = "$(LABEL) $(REPO_URI)";
    let said = sh::output(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    let mut mirrors = said.lines().filter_map(|line| line.strip_prefix("Debian "));
    let mirror = mirrors.next().with_context(|| {
        format!("this computer's apt knows no mirror of Debian's archive; its sources are:\n{said}")
    })?;
    Ok(mirror.to_owned())
}

/// The keys Debian signs its archive with.
fn keyring() -> Result<PathBuf> {
    let known = ["gpg", "pgp"]
        .map(|kind| PathBuf::from(format!("/usr/share/keyrings/debian-archive-keyring.{kind}")));
    let found = known.iter().find(|path| path.exists());
    found
        .cloned()
        .context("Debian's archive keys are missing: apt-get install debian-archive-keyring")
}
