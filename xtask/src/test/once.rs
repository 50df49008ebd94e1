//! Under TCG an interrupt reaches the guest once, whatever kicks the emulated CPU meanwhile.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use serde_json::json;

use super::Test;
use crate::scene::{Guest, Scene};

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("vmm.interrupt-once", 180, once)]
}

/// Half of the time the guest is in a handler. Stopping the emulator kicks the CPU there; an interrupt noted
/// as still to be raised would be delivered instead, and the emulator wait for ever.
fn once() -> Result<()> {
    let mut machine = Scene::under(Guest::named("exits", "long")).prepare()?.start()?;
    machine.wait_console("READY", Duration::from_secs(60))?;
    let mut qmp = machine.qmp()?;
    for _ in 0..300 {
        qmp.execute("stop", json!({}))?;
        qmp.execute("cont", json!({}))?;
        thread::sleep(Duration::from_millis(12));
    }
    let console = machine.console();
    ensure!(!console.contains("NESTED"), "the handler was entered in itself:\n{console}");
    Ok(())
}
