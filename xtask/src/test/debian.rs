//! Debian, from GRUB through SeaBIOS to a userland that computes and powers off.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testing::Config;

use super::Test;
use crate::{
    facts,
    menu::Multiboot,
    scene::{Guest, Scene},
};

const WORK: &str = "ramooflax.work ramooflax.iomem ramooflax.do=poweroff";
const LIMIT: Duration = Duration::from_secs(150);
const PHENOM: &str = "phenom,+svm,+npt";

pub(super) fn tests() -> Vec<Test> {
    let cloud = || Scene::under(Guest::named("cloud", WORK));
    let boots = |name: &str, scene: Scene, adjust: fn(&mut Config)| {
        Test::new(&format!("debian.{name}"), 300, move || boot(&scene, adjust).map(drop))
    };
    let mut one = cloud();
    if let Some((_, multiboot)) = &mut one.vmm {
        *multiboot = Multiboot::One;
    }
    vec![
        boots("bare", Scene::bare(Guest::named("cloud", WORK)), |_| {}),
        boots("cloud", cloud(), |_| {}),
        boots("cloud-4g", cloud(), |config| config.memory = 4096),
        boots("cloud-6g", cloud(), |config| config.memory = 6144),
        boots("amd64", Scene::under(Guest::named("amd64", WORK)), |_| {}),
        boots("multiboot1", one, |_| {}),
        boots("phenom", cloud(), |config| config.cpu = PHENOM.into()),
        Test::new("debian.memory", 300, memory),
        Test::new("debian.cpus", 300, cpus),
        boots("amd64-4g", Scene::under(Guest::named("amd64", WORK)), |c| c.memory = 4096).long(),
        boots("amd64-6g", Scene::under(Guest::named("amd64", WORK)), |c| c.memory = 6144).long(),
    ]
}

/// Boots to a power-off; gives all that the guest printed.
fn boot(scene: &Scene, adjust: fn(&mut Config)) -> Result<String> {
    let mut prepared = scene.prepare()?;
    // A reset instead of a power-off must not go unseen as another boot.
    prepared.config.no_reboot = true;
    adjust(&mut prepared.config);
    let mut machine = prepared.start()?;
    machine.wait_console("WORKLOAD OK", LIMIT)?;
    machine.wait_console("READY", LIMIT)?;
    let status = machine.wait_exit(Duration::from_secs(30))?;
    ensure!(status.success(), "the emulator ended with {status}{}", machine.tails());
    let console = machine.console();
    ensure!(console.contains("reboot: Power down"), "no power-off{}", machine.tails());
    Ok(console)
}

/// The guest has less memory by the VMM, all of it in one hole below 4 GiB that it knows as
/// reserved, but for what is reserved of conventional memory.
fn memory() -> Result<()> {
    for mib in [512, 4096, 6144] {
        let run = |scene: Scene| -> Result<String> {
            let mut prepared = scene.prepare()?;
            prepared.config.memory = mib;
            let mut machine = prepared.start()?;
            machine.wait_console("READY", LIMIT)
        };
        let words = "ramooflax.iomem";
        let bare = run(Scene::bare(Guest::named("cloud", words)))?;
        let under = run(Scene::under(Guest::named("cloud", words)))?;
        let taken = facts::ram(&bare)?.checked_sub(facts::ram(&under)?).context("RAM has grown")?;
        ensure!(taken > 0, "at {mib} MiB the guest has all of the memory, the VMM's too");
        let top = |console: &str, name: &str| {
            let below =
                facts::iomem(console).into_iter().filter(|(r, n)| r.end <= 1 << 32 && n == name);
            below.map(|(range, _)| range).max_by_key(|range| range.end)
        };
        let before = top(&bare, "System RAM").context("no RAM below 4 GiB")?.end;
        let after = top(&under, "System RAM").context("no RAM below 4 GiB")?.end;
        let hole = after..before;
        let reserved = facts::iomem(&under).into_iter().any(|(range, name)| {
            name == "Reserved" && range.start <= hole.start && range.end >= hole.end
        });
        ensure!(reserved, "at {mib} MiB {hole:#x?} is not reserved:\n{under}");
        let low =
            taken.checked_sub(hole.end - hole.start).context("the hole exceeds what is taken")?;
        ensure!(low <= 2 * 4096, "at {mib} MiB {low} bytes are missing outside the hole");
    }
    Ok(())
}

/// Until there is SMP the guest of a machine with two CPUs sees one.
fn cpus() -> Result<()> {
    let console = boot(&Scene::under(Guest::named("cloud", WORK)), |config| config.smp = 2)?;
    ensure!(console.contains(" cpus=1\n"), "more than one CPU:\n{console}");
    Ok(())
}
