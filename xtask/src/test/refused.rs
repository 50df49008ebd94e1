//! A guest that the CPU refuses to run: explained, frozen, and put right by the analyst.

use std::time::Duration;

use anyhow::{Result, ensure};
use testing::Gdb;

use super::{Test, fault::after};
use crate::scene::{Guest, Scene};

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("gdb.refused", 180, refused)]
}

/// States that VMX does not enter (SDM 3C, 26.3.1.2): the register, bits to change in it, and the check's name.
const STATES: &[(&str, u64, &str)] = &[
    ("cs_attr", 1, "CS: the type is no accessed code"),
    ("cs_attr", 3 << 5, "CS: the DPL is not SS's"),
    ("ss_attr", 1, "SS: the type is no accessed writable data"),
    ("ldtr_attr", 1, "LDTR: the type is no LDT"),
];

fn refused() -> Result<()> {
    let mut machine = Scene::under(Guest::named("exits", "")).prepare()?.start()?;
    let console = machine.wait_console("READY", Duration::from_secs(60))?;
    let counter = after(&console, "counter ")?;
    let mut gdb = Gdb::attach(&machine.link())?;
    for (register, bits, check) in STATES {
        let old = gdb.value(&format!("${register}"))?;
        gdb.command(&format!("set var ${register} = {:#x}", old ^ bits))?;
        let rip = gdb.value("$rip")?;
        let said = gdb.command("continue")?;
        let why = format!(
            "the CPU refused to run the guest: VM entry failed: invalid guest state: {check}"
        );
        ensure!(said.contains(&why) && said.contains("SIGABRT"), "{register} gave: {said}");
        let log = machine.log();
        ensure!(log.contains(&format!("{why}; frozen")), "the log has not {check:?}:\n{log}");
        let told = gdb.command("monitor log")?;
        ensure!(told.contains(&why), "the link's log has not {check:?}:\n{told}");
        // Nothing has moved, and it is still there to be looked at; once more the same.
        ensure!(gdb.value("$rip")? == rip, "the guest ran");
        let said = gdb.command("stepi")?;
        ensure!(said.contains(check), "a step gave: {said}");
        gdb.command(&format!("set var ${register} = {old:#x}"))?;
        let count = |gdb: &mut Gdb| gdb.value(&format!("*(long *) {counter:#x}"));
        let before = count(&mut gdb)?;
        let said = gdb.interrupt_after("continue", Duration::from_secs(2))?;
        ensure!(said.contains("SIGINT"), "Ctrl-C gave: {said}");
        ensure!(count(&mut gdb)? > before, "the guest did not go on");
    }
    ensure!(!machine.console().contains("VERDICT"), "the guest saw it");
    gdb.command("detach").map(drop)
}
