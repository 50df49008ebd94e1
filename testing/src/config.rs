//! The description of a PC, and how QEMU is told. How Bochs is: [`crate::bochs`].

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::{Machine, bochs};

/// Where the guest's console (COM2) goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Into a file read by [`Machine::console`].
    File,
    /// To the terminal of the person, with the emulator's own monitor behind Ctrl-A.
    Stdio,
}

/// A PC to be started.
#[derive(Clone, Debug)]
pub struct Config {
    /// The emulated CPU, as QEMU's `-cpu` takes it, or a model of Bochs.
    pub cpu: String,
    /// The directory with Bochs, if that is to be the emulator: the root of a Debian without the rest.
    pub bochs: Option<PathBuf>,
    /// Number of CPUs.
    pub smp: u32,
    /// RAM in MiB.
    pub memory: u64,
    /// Disks in the order the BIOS sees them: the image and whether writes to it are thrown away.
    pub disks: Vec<(PathBuf, bool)>,
    /// Where COM2 goes.
    pub console: Console,
    /// Count instructions: one instruction is one nanosecond of guest time.
    pub icount: bool,
    /// End the emulator when the guest resets the machine.
    pub no_reboot: bool,
    /// Pause instead of ending when the guest powers off, so that counters can still be read.
    pub no_shutdown: bool,
    /// Wait for `cont` over QMP before the first instruction.
    pub paused: bool,
    /// Offer QEMU's own gdb stub on [`Machine::qemu_gdb`]; [`Machine::outside`] needs it. Bochs has a debugger always.
    pub qemu_gdb: bool,
    /// Keep what is sent on COM1 for [`Machine::sent`]: it costs a write for each byte.
    pub keep_sent: bool,
    /// Files with one ACPI table each, added to the firmware's own.
    pub acpi_tables: Vec<PathBuf>,
    /// A USB stick, an image whose writes are thrown away, and the host controller it is at; the BIOS
    /// sees it before the disks.
    pub stick: Option<(PathBuf, Usb)>,
    /// The disks are at a SATA controller instead of an IDE one.
    pub sata: bool,
    /// A network card that the BIOS boots from first, by a network of one server that offers the files
    /// of this directory, and this one of them to boot.
    pub network: Option<(PathBuf, String)>,
    /// The firmware; without one QEMU's own.
    pub firmware: Option<PathBuf>,
    /// Further words for QEMU's command line, such as another device.
    pub extra: Vec<String>,
}

/// A USB host controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usb {
    /// USB 2.
    Ehci,
    /// USB 3.
    Xhci,
}

impl Config {
    /// An AMD machine with one CPU and 512 MiB that boots `disk`.
    pub fn amd(disk: PathBuf) -> Self {
        Self {
            cpu: "EPYC,+svm,+npt".into(),
            bochs: None,
            smp: 1,
            memory: 512,
            disks: vec![(disk, false)],
            console: Console::File,
            icount: false,
            no_reboot: false,
            no_shutdown: false,
            paused: false,
            qemu_gdb: false,
            keep_sent: true,
            acpi_tables: Vec::new(),
            stick: None,
            sata: false,
            network: None,
            firmware: None,
            extra: Vec::new(),
        }
    }

    /// Starts the emulator.
    ///
    /// # Errors
    /// When it cannot be started, or ends at once.
    pub fn start(self) -> Result<Machine> {
        let dir = tempfile::Builder::new().prefix("ramooflax-").tempdir()?;
        if let Some(root) = &self.bochs {
            let running = bochs::start(&self, root, dir.path())?;
            return Ok(Machine::bochs(running, dir, self.no_reboot));
        }
        let mut cmd = self.command(dir.path());
        if self.console == Console::File {
            use std::os::unix::process::CommandExt as _;
            // A group of its own: the Ctrl-C meant for gdb must not end the machine.
            cmd.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
            cmd.stderr(fs::File::create(dir.path().join("errors"))?);
        }
        let child = cmd.spawn().context("starting qemu-system-x86_64 (is it installed?)")?;
        Machine::started(child, dir)
    }

    /// QEMU's command line; its files and sockets are in `dir`.
    fn command(&self, dir: &Path) -> Command {
        let at = |name: &str| dir.join(name).display().to_string();
        // `setpriv` so that the emulator dies with us even when we are killed without warning; by
        // TERM where it must give the terminal back as it was.
        let end = if self.console == Console::Stdio { "TERM" } else { "KILL" };
        let mut cmd = Command::new("setpriv");
        cmd.args(["--pdeathsig", end, "qemu-system-x86_64"]);
        // SMM inside an SVM guest is broken under TCG, hence smm=off.
        cmd.args(["-machine", "pc,smm=off,memory-backend=ram", "-cpu", &self.cpu]);
        cmd.args(["-display", "none", "-nodefaults", "-vga", "std", "-smp", &self.smp.to_string()]);
        // Nothing reserved: a machine may have more RAM than the host as long as it does not use it.
        let memory = format!("{}M", self.memory);
        cmd.args(["-object", &format!("memory-backend-ram,id=ram,size={memory},reserve=off")]);
        cmd.args(["-m", &memory]);
        let threads = if self.smp > 1 && !self.icount { "multi" } else { "single" };
        cmd.args(["-accel", &format!("tcg,thread={threads}")]);
        self.drives(&mut cmd);
        if let Some((dir, file)) = &self.network {
            // Restricted: nothing of it leaves the emulator.
            let net = format!("user,id=net,restrict=on,tftp={},bootfile={file}", dir.display());
            cmd.args(["-netdev", &net, "-device", "e1000,netdev=net,bootindex=0"]);
        }
        let socket = |id: &str| {
            format!("socket,id={id},path={},server=on,wait=off", at(&format!("{id}.sock")))
        };
        // The log holds what was said while nobody was connected, such as the loader's complaints.
        let kept = format!(",logfile={},logappend=on", at("link"));
        let link = format!("{}{}", socket("link"), if self.keep_sent { &kept } else { "" });
        cmd.args(["-chardev", &link, "-serial", "chardev:link"]);
        match self.console {
            Console::File => cmd.args(["-serial", &format!("file:{}", at("console"))]),
            Console::Stdio => cmd.args(["-serial", "mon:stdio"]),
        };
        cmd.args(["-serial", &format!("file:{}", at("log"))]);
        cmd.args(["-chardev", &socket("qmp"), "-mon", "chardev=qmp,mode=control"]);
        for table in &self.acpi_tables {
            cmd.args(["-acpitable", &format!("file={}", table.display())]);
        }
        if let Some(firmware) = &self.firmware {
            cmd.arg("-bios").arg(firmware);
        }
        cmd.args(&self.extra);
        if self.qemu_gdb {
            cmd.args(["-chardev", &socket("qemu-gdb"), "-gdb", "chardev:qemu-gdb"]);
        }
        for (wanted, flag) in [
            (self.no_reboot, "-no-reboot"),
            (self.no_shutdown, "-no-shutdown"),
            (self.paused, "-S"),
        ] {
            if wanted {
                cmd.arg(flag);
            }
        }
        if self.icount {
            // No clock and no random number of the host's, so that two runs count the same.
            cmd.args(["-icount", "shift=0,sleep=off", "-seed", "1"]);
            cmd.args(["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
        }
        cmd
    }

    /// The part of the command line that is about drives.
    fn drives(&self, cmd: &mut Command) {
        if self.sata {
            cmd.args(["-device", "ahci,id=sata"]);
        }
        for (i, (path, scratch)) in self.disks.iter().enumerate() {
            let scratch = if *scratch { "on" } else { "off" };
            let file = format!("file={},format=raw,snapshot={scratch}", path.display());
            if self.sata {
                let device = format!("ide-hd,bus=sata.{i},drive=disk{i},bootindex={}", i + 1);
                cmd.args(["-drive", &format!("{file},if=none,id=disk{i}"), "-device", &device]);
            } else {
                cmd.args(["-drive", &format!("{file},if=ide,index={i}")]);
            }
        }
        if let Some((path, usb)) = &self.stick {
            let controller = match usb {
                Usb::Ehci => "usb-ehci,id=usb",
                Usb::Xhci => "qemu-xhci,id=usb",
            };
            let file = format!("file={},format=raw,snapshot=on", path.display());
            cmd.args(["-device", controller, "-drive", &format!("{file},if=none,id=stick")]);
            cmd.args(["-device", "usb-storage,bus=usb.0,drive=stick,bootindex=0"]);
        }
    }
}
