//! The USB stick that stays in: it starts the VMM, and then the machine's own disk with no key pressed.

use std::time::Duration;

use anyhow::{Result, ensure};
use testing::{Config, Usb};

use super::Test;
use crate::scene::{Guest, Scene};

const LIMIT: Duration = Duration::from_secs(150);

pub(super) fn tests() -> Vec<Test> {
    let debian = |name: &str, usb, more: &'static str, adjust: fn(&mut Config)| {
        Test::new(&format!("stick.{name}"), 240, move || debian(usb, more, adjust))
    };
    vec![
        debian("debian", Usb::Xhci, "", |_| {}),
        debian("debian-ehci-sata", Usb::Ehci, "", |config| config.sata = true),
        debian("debian-next", Usb::Xhci, "boot=next", |_| {}),
    ]
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
    let noticed = log.contains("the boot loader was started again");
    ensure!(noticed == more.is_empty(), "not as asked for:\n{log}");
    machine.wait_exit(Duration::from_secs(60)).map(drop)
}
