//! The USB stick that stays in: it starts the VMM, and then the machine's own disk with no key pressed.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use testing::{Config, Machine, Usb};

use super::{Test, refusal};
use crate::{
    disk::{self, Contents},
    image,
    scene::{Guest, Prepared, Scene},
    sector::End,
};

const LIMIT: Duration = Duration::from_secs(150);
const SHORT: Duration = Duration::from_secs(60);
/// Bytes of a disk without anything; one of less than a cylinder cannot be read by every BIOS.
const BLANK: usize = 1 << 20;
/// What the VMM logs when the loader asks for it.
const NOTICED: &str = "the boot loader was started again";

pub(super) fn tests() -> Vec<Test> {
    let debian = |name: &str, usb, more: &'static str, adjust: fn(&mut Config)| {
        Test::new(&format!("stick.{name}"), 240, move || debian(usb, more, adjust))
    };
    vec![
        debian("debian", Usb::Xhci, "", |_| {}),
        debian("debian-ehci-sata", Usb::Ehci, "", |config| config.sata = true).long(),
        debian("debian-next", Usb::Xhci, "boot=next", |_| {}).long(),
        Test::new("stick.disks", 120, disks),
        Test::new("stick.unhooked", 120, unhooked),
        Test::new("stick.third-disk", 120, third_disk),
        Test::new("stick.second-choice", 120, second_choice),
        Test::new("stick.alone", 120, || stuck(None, "disk 81 cannot be read")),
        Test::new("stick.no-loader", 120, || {
            stuck(Some(&vec![0; BLANK]), "disk 81 has no boot sector")
        }),
        Test::new("stick.files-missing", 120, files_missing).long(),
    ]
}

fn sector(end: End) -> Result<Prepared> {
    Scene::bare(Guest::Sector(end)).prepare()
}

/// Waits for the words of the disk that boots by itself.
fn booted(machine: &mut Machine) -> Result<Vec<String>> {
    let console = machine.wait_console("END\n", SHORT)?;
    let lines = console.lines().map(str::to_owned).collect();
    ensure!(console.matches("SECTOR").count() == 1, "booted more than once:\n{console}");
    Ok(lines)
}

/// The machine's own disk is disk 80h in all that int 13h says, as if the disks were the other way round;
/// and the loader's probe is answered in real and protected mode, but not with paging and not after.
fn disks() -> Result<()> {
    let (under, bare) = (beside_stick(End::Halt, false)?, beside_stick(End::Halt, true)?);
    let [under_calls, bare_calls] = [&under, &bare].map(|lines| said(lines, "INT13"));
    ensure!(bare_calls.len() == 42, "int 13h was not asked: {bare:?}");
    ensure!(under_calls == bare_calls, "int 13h: {under_calls:#?}\nnot: {bare_calls:#?}");
    ensure!(under[0] == "SECTOR dl=80 ax=aa55 cs=0000 pnp=1 kib=0278", "{}", under[0]);
    let ud =
        ["real", "protected", "paging", "after", "real"].map(|mode| format!("PROBE {mode} ud"));
    ensure!(said(&bare, "PROBE") == ud, "on the bare machine: {bare:?}");
    let open = ["PROBE real answered", "PROBE protected answered"].map(str::to_owned);
    let probes = said(&under, "PROBE");
    ensure!(probes[..2] == open && probes[2..] == ud[2..], "under the VMM: {probes:?}");
    Ok(())
}

/// What the disk says, as the second of two, of which the first is the stick, or the first.
fn beside_stick(end: End, first: bool) -> Result<Vec<String>> {
    let mut prepared = sector(end)?;
    let stick = (prepared.stick_image("")?, true);
    prepared.config.disks.insert(usize::from(first), stick);
    booted(&mut prepared.start()?)
}

fn said(lines: &[String], of: &str) -> Vec<String> {
    lines.iter().filter(|line| line.starts_with(of)).cloned().collect()
}

/// The exchange of the disks is made anew if a BIOS has undone it.
fn unhooked() -> Result<()> {
    let (under, bare) = (beside_stick(End::Unhooked, false)?, beside_stick(End::Halt, true)?);
    let [under_calls, bare_calls] = [&under, &bare].map(|lines| said(lines, "INT13"));
    ensure!(under_calls == bare_calls, "int 13h: {under_calls:#?}\nnot: {bare_calls:#?}");
    ensure!(under[0].starts_with("SECTOR dl=80 ax=aa55"), "{}", under[0]);
    Ok(())
}

/// A disk that is neither the first nor the second.
fn third_disk() -> Result<()> {
    let mut prepared = sector(End::Halt)?;
    let blank = prepared.file("blank.img", &vec![0; BLANK])?;
    prepared.config.disks.insert(0, (blank, true));
    prepared.insert_stick(Usb::Xhci, "boot=disk:0x82")?;
    let mut machine = prepared.start()?;
    let lines = booted(&mut machine)?;
    ensure!(lines[0].starts_with("SECTOR dl=80"), "{}", lines[0]);
    let other = "INT13 82 42 f=0200 0001 0001 7b82 00000000".to_owned();
    ensure!(lines.contains(&other), "disk 82h is not the stick: {lines:#?}");
    // Its own two questions.
    let asked = machine.log().matches(NOTICED).count();
    ensure!(asked == 2, "it was not started at once:\n{}", machine.log());
    Ok(())
}

/// The firmware starts the machine's own disk, which starts the stick: that is disk 81h, and the next disk
/// is 80h.
fn second_choice() -> Result<()> {
    let mut prepared = sector(End::Halt)?;
    let own = prepared.file("own.img", &[])?;
    // Two times to the stick; the third time the machine's own system would start.
    let menu = "serial --port=0x2f8 --speed=115200\nterminal_output serial\nload_env\n\
        if [ \"$pass\" = 3 ]; then\necho THIRD $root\nhalt\nfi\n\
        if [ \"$pass\" = 2 ]; then\nset pass=3\nelse\nset pass=2\nfi\nsave_env pass\n\
        set root=(hd1)\nchainloader +1\nboot\n";
    disk::build(&own, &Contents { menu: menu.to_owned(), files: Vec::new() })?;
    let stick = prepared.stick_image("")?;
    prepared.config.disks = vec![(own, false), (stick, true)];
    let mut machine = prepared.start()?;
    machine.wait_console("THIRD hd0,msdos1", SHORT)?;
    ensure!(machine.log().contains(NOTICED), "not by the loader:\n{}", machine.log());
    Ok(())
}

/// Where there is no next disk it is said on the screen and in the log, and the firmware goes on.
fn stuck(second: Option<&[u8]>, expected: &str) -> Result<()> {
    let mut prepared = sector(End::Halt)?;
    let second = second.map(|bytes| prepared.file("blank.img", bytes)).transpose()?;
    prepared.config.disks = second.into_iter().map(|file| (file, true)).collect();
    prepared.insert_stick(Usb::Xhci, "")?;
    let mut machine = prepared.start()?;
    let told = format!("{expected}, the firmware goes on");
    refusal::said(&machine, &told, 1)?;
    let log = machine.log();
    ensure!(log.contains(NOTICED), "not under the VMM:\n{log}");
    refusal::gives_up(&mut machine, &format!("Ramooflax: {expected}. Expected: "))
}

/// A stick without its files: GRUB says so, and starts the machine's own disk.
fn files_missing() -> Result<()> {
    let mut prepared = sector(End::Halt)?;
    let first = prepared.file("first.img", &[])?;
    disk::build(&first, &Contents { menu: image::menu(""), files: Vec::new() })?;
    prepared.insert(first, Usb::Xhci);
    let mut machine = prepared.start()?;
    screen(&machine, "Ramooflax was not loaded: the files on this disk are damaged.")?;
    let lines = booted(&mut machine)?;
    ensure!(lines[0].starts_with("SECTOR dl=80"), "not as disk 80h: {}", lines[0]);
    Ok(())
}

/// Waits for `text` on the screen, in whatever lines.
pub(super) fn screen(machine: &Machine, text: &str) -> Result<()> {
    let plain = |text: &str| text.split_whitespace().collect::<String>();
    let deadline = Instant::now() + SHORT;
    while !plain(&machine.screen()?.to_string()).contains(&plain(text)) {
        ensure!(Instant::now() < deadline, "no {text:?} on:\n{}", machine.screen()?);
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Debian on the machine's own disk reaches its userland under the VMM.
fn debian(usb: Usb, more: &str, adjust: fn(&mut Config)) -> Result<()> {
    let guest = Guest::named("cloud", "ramooflax.do=poweroff");
    let mut prepared = Scene::bare(guest).prepare()?;
    adjust(&mut prepared.config);
    prepared.insert_stick(usb, more)?;
    let mut machine = prepared.start()?;
    machine.wait_console("USERLAND", LIMIT)?;
    let log = machine.log();
    ensure!(log.matches("guest starts at").count() == 1, "not once under the VMM:\n{log}");
    let noticed = log.contains(NOTICED);
    ensure!(noticed == more.is_empty(), "not as asked for:\n{log}");
    machine.wait_exit(Duration::from_secs(60)).map(drop)
}
