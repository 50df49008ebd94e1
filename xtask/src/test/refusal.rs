//! A machine that cannot run the VMM is told so, in one clear line.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use testing::Config;

use super::Test;
use crate::scene::{Guest, Scene};

pub(super) fn tests() -> Vec<Test> {
    let test = |name: &str, option: &'static str, expected, adjust: fn(&mut Config)| {
        Test::new(&format!("refusal.{name}"), 180, move || {
            refuses(&Scene::under(Guest::named("uart", "")).option(option), expected, adjust)
        })
    };
    let mut moduleless = Scene::under(Guest::named("uart", ""));
    if let Some(vmm) = &mut moduleless.vmm {
        vmm.module = false;
    }
    vec![
        test("no-svm", "", "this CPU has no SVM", |config| config.cpu = "EPYC,-svm".into()),
        test("no-npt", "", "SVM but no nested paging", |config| {
            config.cpu = "EPYC,+svm,-npt".into();
        }),
        test("option", "nonsense", "option `nonsense`: unknown", |_| {}),
        test("memory", "", "no room for the VMM", |config| config.memory = 4),
        Test::new("refusal.module", 180, move || {
            refuses(&moduleless, "no boot module was loaded", |_| {})
        }),
    ]
}

/// The loader says `expected` and what to do, and no guest runs.
fn refuses(scene: &Scene, expected: &str, adjust: fn(&mut Config)) -> Result<()> {
    let mut prepared = scene.prepare()?;
    adjust(&mut prepared.config);
    let machine = prepared.start()?;
    let deadline = Instant::now() + Duration::from_secs(60);
    let said = loop {
        if let Some(said) = machine.refusal() {
            break said;
        }
        if Instant::now() > deadline {
            bail!("no refusal within 60 s{}", machine.tails());
        }
        thread::sleep(Duration::from_millis(50));
    };
    ensure!(said.contains(expected), "not {expected:?}, but: {said}");
    ensure!(said.contains("xpected"), "it does not say what was expected: {said}");
    ensure!(!machine.console().contains("VERDICT"), "a guest runs{}", machine.tails());
    Ok(())
}
