//! The Debian guests: kernels nobody here wrote, found by the names of their meta packages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{ensure, paths, sh};

/// Guest names and the meta packages that depend on their newest kernel.
const KERNELS: &[(&str, &str)] =
    &[("cloud", "linux-image-cloud-amd64"), ("amd64", "linux-image-amd64")];

/// A kernel and the userland that goes with it.
#[derive(Clone, Debug)]
pub(crate) struct Debian {
    /// The bzImage.
    pub(crate) kernel: PathBuf,
    /// busybox, statically linked.
    pub(crate) busybox: PathBuf,
}

/// The names of the Debian guests.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    KERNELS.iter().map(|(name, _)| *name)
}

/// The guest `name`, downloaded when it is not here yet.
///
/// # Errors
/// When Debian's archive cannot be reached.
pub(crate) fn get(name: &str) -> Result<Debian> {
    let cache = paths::cache()?;
    let _alone = paths::alone(&cache)?;
    let kernel = cache.join(name).join("vmlinuz");
    let busybox = cache.join("busybox");
    if !kernel.exists() || !busybox.exists() {
        download(&cache)?;
    }
    Ok(Debian { kernel, busybox })
}

/// Fetches everything in one call: each call of apt reads all lists again.
fn download(cache: &Path) -> Result<()> {
    let metas: Vec<&str> = KERNELS.iter().map(|(_, meta)| *meta).collect();
    ensure::update_lists_if_unknown(&metas)?;
    if fetch(cache, &metas).is_err() {
        // The lists may name versions that the mirror no longer has.
        ensure::update_lists()?;
        fetch(cache, &metas)
            .with_context(|| format!("fetching Debian's kernels failed. {}", ensure::NETWORK))?;
    }
    Ok(())
}

fn fetch(cache: &Path, metas: &[&str]) -> Result<()> {
    let images = metas.iter().map(|meta| image_of(meta)).collect::<Result<Vec<_>>>()?;
    println!("fetching Debian packages: busybox-static {}", images.join(" "));
    let scratch = tempfile::tempdir_in(cache)?;
    sh::visible(
        Command::new("apt-get")
            .args(["download", "busybox-static"])
            .args(&images)
            .current_dir(scratch.path()),
    )?;
    for (image, (name, _)) in images.iter().zip(KERNELS) {
        let unpacked = unpack(scratch.path(), image)?;
        let kernel = fs::read_dir(unpacked.join("boot"))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| {
                path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz-"))
            })
            .with_context(|| format!("{image} holds no /boot/vmlinuz-*"))?;
        fs::create_dir_all(cache.join(name))?;
        fs::rename(kernel, cache.join(name).join("vmlinuz"))?;
    }
    let unpacked = unpack(scratch.path(), "busybox-static")?;
    // Debian 13 has merged /bin into /usr/bin.
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| unpacked.join(path));
    let busybox = busybox.iter().find(|path| path.exists()).context("no busybox unpacked")?;
    fs::rename(busybox, cache.join("busybox"))?;
    Ok(())
}

/// The package that `meta` depends on: its name carries a version that changes with every update.
fn image_of(meta: &str) -> Result<String> {
    let depends = sh::output(Command::new("apt-cache").args(["depends", "--important", meta]))?;
    let image = depends.lines().find_map(|l| l.trim().strip_prefix("Depends: "));
    Ok(image.with_context(|| format!("{meta} depends on no kernel:\n{depends}"))?.to_owned())
}

fn unpack(dir: &Path, package: &str) -> Result<PathBuf> {
    let prefix = format!("{package}_");
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)) {
            let to = dir.join(package);
            sh::output(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&to))?;
            return Ok(to);
        }
    }
    bail!("apt-get download brought no {package}")
}
