//! Ramooflax in the menu of an installed GRUB: the snippet of `dist/grub.d`, run as `grub-mkconfig` runs it, its
//! result started from the disk that also holds the system.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    Test,
    refusal::{press, said},
};
use crate::{
    build,
    disk::{self, Contents},
    machine_args::Cpu,
    paths,
    scene::{Guest, Prepared, Scene},
    sector::End,
    sh,
};

const LIMIT: Duration = Duration::from_secs(90);
/// What `grub-probe` and `grub-mkrelpath` say of an installed system, here of the disk that is made.
const PROBE: &str = "#! /bin/sh\ncase \"$*\" in\n*target=device*) echo /dev/sda1;;\n\
    *target=partmap*) echo msdos;;\n*target=fs_uuid*) echo 524D-4F46;;\n*target=fs*) echo fat;;\n\
    *target=abstraction*) ;;\n*target=hints_string*) echo --hint=hd0,msdos1;;\nesac\n";
const RELATIVE: &str = "#! /bin/sh\necho /boot\n";
/// The installed system: it says which pass this is, and resets the machine.
const SYSTEM: &str = "menuentry System --id system {\nserial --port=0x2f8 --speed=115200\n\
    terminal_output serial\necho SYSTEM $root\nreboot\n}\n";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("grub.installed", 180, installed),
        Test::new("grub.refused", 180, refused),
        Test::new("grub.files-missing", 30, files_missing),
    ]
}

/// Runs one script of a `grub.d` directory; its output, and what it warned of.
fn run(script: &Path, dir: &Path) -> Result<(String, String)> {
    let out = Command::new("sh")
        .arg(script)
        .env("pkgdatadir", "/usr/share/grub")
        .env("grub_probe", dir.join("probe"))
        .env("grub_mkrelpath", dir.join("relative"))
        .env("RAMOOFLAX_CONFIG", dir.join("default"))
        .envs([("GRUB_DEFAULT", "ramooflax"), ("GRUB_TIMEOUT", "1")])
        .env("GRUB_TERMINAL_OUTPUT", "console")
        .output()
        .with_context(|| format!("{}", script.display()))?;
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(out.status.success(), "{}: {errors}", script.display());
    Ok((String::from_utf8(out.stdout)?, errors))
}

/// The directory that stands for the installed system.
fn installation(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    for (name, text) in [("probe", PROBE), ("relative", RELATIVE)] {
        let file = dir.join(name);
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    let options = "RAMOOFLAX_OPTIONS='link=uart:0x3f8,115200 log=uart:0x3e8'";
    let defaults = format!("RAMOOFLAX_DIR={}\nRAMOOFLAX_ENTRY=system\n{options}\n", dir.display());
    fs::write(dir.join("default"), defaults).context("the defaults")
}

fn snippet() -> std::path::PathBuf {
    paths::root().join("dist/grub.d/41_ramooflax")
}

/// A machine of one disk with GRUB, Ramooflax as its default entry, and a system.
fn prepare() -> Result<Prepared> {
    let mut prepared = Scene::bare(Guest::Sector(End::Halt)).prepare()?;
    let vmm = build::vmm()?;
    let loader = prepared.file("ramooflax", &fs::read(vmm.loader)?)?;
    let resident = prepared.file("resident", &fs::read(vmm.stripped)?)?;
    let dir = loader.parent().context("a file has a directory")?;
    installation(dir)?;
    let (head, _) = run(Path::new("/etc/grub.d/00_header"), dir)?;
    let (entry, warnings) = run(&snippet(), dir)?;
    ensure!(warnings.is_empty(), "{warnings}");
    let menu = format!("{head}{SYSTEM}{entry}");
    let file = prepared.file("grub.cfg", menu.as_bytes())?;
    sh::output(Command::new("grub-script-check").arg(&file))?;
    let files = vec![(loader, "ramooflax".to_owned()), (resident, "resident".to_owned())];
    let own = prepared.file("own.img", &[])?;
    disk::build(&own, &Contents { menu, files })?;
    prepared.config.disks = vec![(own, false)];
    Ok(prepared)
}

/// With no key pressed: GRUB, the VMM, the same GRUB, the system; which resets the machine, and all
/// begins anew.
fn installed() -> Result<()> {
    let mut machine = prepare()?.start()?;
    let systems = |all: &str| all.matches("SYSTEM hd0,msdos1").count();
    machine.wait_console_for("the system twice", LIMIT, |all| systems(all) > 1)?;
    let log = machine.log();
    let starts = log.matches("guest starts at").count();
    ensure!(starts >= 2, "the system ran without the VMM:\n{log}");
    Ok(())
}

/// Where the VMM is refused the same GRUB boots the system without it.
fn refused() -> Result<()> {
    let mut prepared = prepare()?;
    Cpu::without_extension(&mut prepared.config);
    let mut machine = prepared.start()?;
    let said = said(&machine, "In 10 seconds or at a key, without it:", 1)?;
    let expected =
        if Cpu::chosen().is_intel() { "this CPU has no VMX" } else { "this CPU has no SVM" };
    ensure!(said.contains(expected), "but: {said}");
    press(&machine)?;
    machine.wait_console("SYSTEM hd0,msdos1", LIMIT).map(drop)
}

/// Without its files there is no entry, and `update-grub` says why.
fn files_missing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    installation(dir.path())?;
    let (entry, warnings) = run(&snippet(), dir.path())?;
    ensure!(entry.is_empty(), "an entry without files: {entry}");
    ensure!(warnings.contains("Expected: both of its files there."), "it says: {warnings}");
    Ok(())
}
