//! A scene: which guest on which machine, with or without the VMM. Everything that runs an emulator
//! starts from one.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use tempfile::TempDir;
use testing::{Config, Machine, Usb};

use crate::{
    build::{self, Vmm},
    debian,
    disk::{self, Contents},
    image, initramfs,
    machine_args::Cpu,
    menu::{self, Multiboot},
    sector::{self, End},
    systems::Boot,
};

/// The port and speed of the link, as the VMM's command line takes them.
const LINK: &str = "link=uart:0x3f8,115200 log=uart:0x3e8";

/// What the machine boots in its last pass.
#[derive(Clone, Debug)]
pub(crate) enum Guest {
    /// A Debian kernel by name; the words go onto its command line.
    Debian(&'static str, String),
    /// A test guest of `guests/` by name; the words go onto its command line.
    Test(String, String),
    /// A disk of the person's, unchanged by what runs.
    Disk(PathBuf),
    /// The disk that boots by itself, and how it ends; on the bare machine only.
    Sector(End),
    /// A real system of the table.
    System(Boot),
}

impl Guest {
    /// Finds a guest by name; `words` go onto its command line.
    pub(crate) fn named(name: &str, words: &str) -> Self {
        match debian::names().find(|known| *known == name) {
            Some(known) => Self::Debian(known, words.to_owned()),
            None => Self::Test(name.to_owned(), words.to_owned()),
        }
    }
}

/// A guest and how the VMM is started, `None` for the bare machine.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// What is booted in the end.
    pub(crate) guest: Guest,
    /// How the VMM is started.
    pub(crate) vmm: Option<Start>,
}

/// How the VMM is started.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// Its options.
    pub(crate) options: String,
    /// The protocol that loads it.
    pub(crate) multiboot: Multiboot,
    /// Whether the resident image is loaded with the loader.
    pub(crate) module: bool,
}

impl Default for Start {
    fn default() -> Self {
        Self { options: LINK.to_owned(), multiboot: Multiboot::default(), module: true }
    }
}

impl Scene {
    /// `guest` under the VMM.
    pub(crate) fn under(guest: Guest) -> Self {
        Self { guest, vmm: Some(Start::default()) }
    }

    /// `guest` on the bare machine.
    pub(crate) fn bare(guest: Guest) -> Self {
        Self { guest, vmm: None }
    }

    /// The same with another option for the VMM.
    pub(crate) fn option(mut self, option: &str) -> Self {
        if let Some(start) = &mut self.vmm {
            start.options.push(' ');
            start.options.push_str(option);
        }
        self
    }

    /// Builds and downloads what the scene needs, and makes its disk.
    ///
    /// # Errors
    /// When something does not compile, cannot be fetched or written.
    pub(crate) fn prepare(&self) -> Result<Prepared> {
        let dir = tempfile::Builder::new().prefix("ramooflax-disk-").tempdir()?;
        let mut files = Vec::new();
        let mut second = None;
        let guest = match &self.guest {
            Guest::Debian(name, words) => {
                let debian = debian::get(name)?;
                let initrd = dir.path().join("initrd.img");
                build::write(&initrd, &initramfs::build(&debian.busybox, &build::costs()?)?)?;
                files.push((debian.kernel, "vmlinuz".to_owned()));
                files.push((initrd, "initrd.img".to_owned()));
                format!(
                    "linux /boot/vmlinuz console=ttyS1,115200 quiet panic=-1 {words}\n\
                     initrd /boot/initrd.img"
                )
            }
            Guest::Test(name, words) => {
                files.push((build::test_guest(name)?, "guest".to_owned()));
                format!("multiboot /boot/guest {words}")
            }
            Guest::Disk(file) => {
                if !file.exists() {
                    bail!("there is no disk {}", file.display());
                }
                second = Some(file.clone());
                "drivemap -s hd0 hd1\nset root=(hd1)\nchainloader +1".to_owned()
            }
            Guest::Sector(end) => {
                ensure!(self.vmm.is_none(), "it boots by itself: put in a stick");
                let mut config = Config::amd(sector::disk(dir.path(), *end)?);
                Cpu::chosen().put(&mut config)?;
                return Ok(Prepared { config, vmm: None, dir });
            }
            Guest::System(boot) => {
                files.extend(boot.files.iter().cloned());
                second.clone_from(&boot.disk);
                boot.commands.clone()
            }
        };
        let vmm = match &self.vmm {
            Some(_) => Some(build::vmm()?),
            None => None,
        };
        if let Some(vmm) = &vmm {
            files.push((vmm.loader.clone(), "ramooflax".to_owned()));
            files.push((vmm.stripped.clone(), "resident".to_owned()));
        }
        let image = dir.path().join("disk.img");
        disk::build(&image, &Contents { menu: menu::menu(&guest, self.vmm.as_ref()), files })?;
        let mut config = Config::amd(image);
        Cpu::chosen().put(&mut config)?;
        config.disks.extend(second.map(|file| (file, true)));
        Ok(Prepared { config, vmm, dir })
    }
}

/// A scene whose disk is made.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The machine, to be adjusted before [`Prepared::start`].
    pub(crate) config: Config,
    /// The VMM on the disk.
    pub(crate) vmm: Option<Vmm>,
    dir: TempDir,
}

impl Prepared {
    /// Puts in a USB stick as `cargo xtask image` makes it, with `more` options. Where the BIOS boots from no USB
    /// device it is the first disk, which it would be all the same for who asks the BIOS.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn insert_stick(&mut self, usb: Usb, more: &str) -> Result<()> {
        let image = self.stick_image(more)?;
        self.insert(image, usb);
        Ok(())
    }

    /// As [`Prepared::insert_stick`], with the image `image`.
    pub(crate) fn insert(&mut self, image: PathBuf, usb: Usb) {
        if self.config.bochs.is_some() {
            self.config.disks.insert(0, (image, true));
        } else {
            self.config.stick = Some((image, usb));
        }
    }

    /// The image of such a stick.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn stick_image(&self, more: &str) -> Result<PathBuf> {
        let file = self.dir.path().join("stick.img");
        image::write(&file, &format!("{LINK} {more}"))?;
        Ok(file)
    }

    /// A file of `bytes` that goes when the machine goes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let file = self.dir.path().join(name);
        build::write(&file, bytes)?;
        Ok(file)
    }

    /// Starts the machine; the disk goes when it goes.
    ///
    /// # Errors
    /// When the emulator does not start.
    pub(crate) fn start(self) -> Result<Machine> {
        let mut machine = self.config.start()?;
        machine.keep(self.dir);
        Ok(machine)
    }
}
