//! Debian's kernels and the userland that goes with them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{archive::Package, build, initramfs, systems::Boot};

/// A kernel by the meta package that depends on its newest build: version numbers vanish from the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kernel(Package<'static>);

/// A file for the userland: where it goes, and where it is.
pub(super) type Extra = (String, PathBuf);

impl Kernel {
    /// The 64-bit kernel of `suite` that `meta` names.
    pub(super) const fn amd64(suite: &'static str, meta: &'static str) -> Self {
        Self(Package::amd64(suite, meta))
    }

    /// The 32-bit kernel of `suite` that `meta` names.
    pub(super) const fn i386(suite: &'static str, meta: &'static str) -> Self {
        Self(Package::i386(suite, meta))
    }

    /// A file of the kernel's package.
    ///
    /// # Errors
    /// When the archive cannot be reached or the package has no such file.
    pub(super) fn file(self, is: impl Fn(&str) -> bool) -> Result<PathBuf> {
        let Package { suite, arch, .. } = self.0;
        let mut name = self.0.name.to_owned();
        loop {
            // Since 7.1 the image package is a meta package too.
            let depends = Package { suite, arch, name: &name }.depends()?;
            let wanted = |name: &&String| {
                ["linux-image-", "linux-binary-"].iter().any(|prefix| name.starts_with(prefix))
            };
            match depends.into_iter().find(|name| wanted(&name)) {
                Some(next) => name = next,
                None => break,
            }
        }
        Package { suite, arch, name: &name }.find(is)
    }

    /// The bzImage.
    ///
    /// # Errors
    /// As [`Kernel::file`].
    pub(super) fn image(self) -> Result<PathBuf> {
        let image = |path: &str| path.rsplit('/').next().is_some_and(|n| n.starts_with("vmlinuz"));
        self.file(image)
    }

    /// The kernel with the small userland, which does what `words` say.
    ///
    /// # Errors
    /// As [`Kernel::file`], and when `dir` cannot be written to.
    pub(super) fn boot(self, dir: &Path, words: &str) -> Result<Boot> {
        self.boot_with(dir, words, &[])
    }

    /// The same with more files in the userland.
    ///
    /// # Errors
    /// As [`Kernel::boot`].
    pub(super) fn boot_with(self, dir: &Path, words: &str, extra: &[Extra]) -> Result<Boot> {
        let initrd = dir.join("initrd.img");
        build::write(&initrd, &initramfs::with(&self.busybox()?, extra)?)?;
        Ok(Boot {
            files: vec![(self.image()?, "vmlinuz".into()), (initrd, "initrd.img".into())],
            commands: format!(
                "linux /boot/vmlinuz console=ttyS1,115200 quiet nokaslr panic=-1 {words}\n\
                 initrd /boot/initrd.img"
            ),
            disk: None,
        })
    }

    /// The busybox that this kernel can run, of the suite whose tools the userland was written for.
    fn busybox(self) -> Result<PathBuf> {
        let package = Package { suite: "bookworm", arch: self.0.arch, name: "busybox-static" };
        package.find(|path| path.ends_with("bin/busybox")).context("the userland's busybox")
    }
}
