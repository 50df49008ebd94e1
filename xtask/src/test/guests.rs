//! The test guests of `guests/`: each proves facts about the machine, on the bare one too.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use testing::{Config, Machine};

use super::{
    Test,
    debian::PHENOM,
    refusal::{FeatureControl, firmware},
};
use crate::{
    facts,
    machine_args::Cpu,
    scene::{Guest, Scene},
};

const LIMIT: Duration = Duration::from_secs(60);

/// Values that differ by the CPU policy: SVM and the memory encryption that needs it (leaf
/// 8000_001Fh) are concealed.
const CONCEALED: &[&str] = &["svm.", "cpuid.8000001f.", "cpuid.xsave-on.8000001f."];

pub(super) fn tests(names: &[String]) -> Vec<Test> {
    // The others measure or wait for a debugger, and judge nothing; one has tests of its own.
    let judging =
        |name: &&String| !name.starts_with("bench-") && *name != "exits" && *name != "torture";
    let names = names.iter().filter(judging);
    let mut tests: Vec<Test> = names
        .flat_map(|name| {
            let (bare, under) = (name.clone(), name.clone());
            [
                Test::new(&format!("guest.{name}.bare"), 180, move || {
                    judge(&Scene::bare(guest(&bare))).map(drop)
                }),
                Test::new(&format!("guest.{name}"), 180, move || same(&under, |_| {})),
            ]
        })
        .collect();
    let other = |name: &str, scene: fn(Guest) -> Scene, adjust: fn(&mut Config)| {
        let guest = Guest::named(name.split('.').next().unwrap_or(name), "");
        Test::new(&format!("guest.{name}"), 180, move || {
            judge_on(&scene(guest.clone()), adjust).map(drop)
        })
    };
    // Another CPU is there, but must not run.
    tests.push(other("smp.two.bare", Scene::bare, |config| config.smp = 2));
    for (name, cpus, words) in [("two", 2, ""), ("eight", 8, ""), ("wake", 2, "wake")] {
        let test = move || taken(cpus, words);
        tests.push(Test::new(&format!("guest.smp.{name}"), 180, test));
    }
    // A CPU without 1 GiB pages, XSAVE, SMEP, FSGSBASE.
    tests.push(Test::new("guest.parity.phenom", 180, || {
        same("parity", |config| config.cpu = PHENOM.into())
    }));
    // What newer CPUs have: five-level paging, CET, WAITPKG, XSAVES, protection keys, user interrupts.
    for (name, adjust) in [
        ("skylake", (|config| config.cpu = "corei7_skylake_x".into()) as fn(&mut Config)),
        ("sapphire-rapids", |config| config.cpu = "sapphire_rapids".into()),
        ("arrow-lake", |config| config.cpu = "arrow_lake".into()),
    ] {
        tests.push(Test::new(&format!("guest.parity.{name}"), 180, move || same("parity", adjust)));
    }
    for name in ["modes.phenom", "hole.phenom"] {
        tests.push(other(name, Scene::under, |config| config.cpu = PHENOM.into()));
    }
    // Where the firmware leaves it to the OS the VMM switches VMX on.
    tests.push(Test::new("guest.uart.unlocked", 180, || {
        let mut prepared = Scene::under(guest("uart")).prepare()?;
        let bios = prepared.file("bios", &firmware(FeatureControl::Unlocked)?)?;
        prepared.config.firmware = Some(bios);
        verdict(&mut prepared.start()?).map(drop)
    }));
    for (name, adjust) in [
        ("4g", (|config| config.memory = 4096) as fn(&mut Config)),
        ("6g", |config| config.memory = 6144),
    ] {
        tests.push(Test::new(&format!("guest.hole.{name}"), 180, move || {
            found(&judge_on(&Scene::under(Guest::named("hole", "")), adjust)?)
        }));
    }
    tests
}

/// Each of so many CPUs is in the VMM before the guest runs, and stays there whatever the guest does.
fn taken(cpus: u32, words: &str) -> Result<()> {
    // TCG resets a CPU by an INIT whatever SVM says.
    let words = match words {
        "wake" if Cpu::chosen().is_bochs() => "wake init",
        _ => words,
    };
    let mut prepared = Scene::under(Guest::named("smp", words)).prepare()?;
    prepared.config.smp = cpus;
    let mut machine = prepared.start()?;
    verdict(&mut machine)?;
    let log = machine.log();
    ensure!(log.contains(&format!(" {cpus} of {cpus} CPU(s)")), "not all CPUs were taken:\n{log}");
    Ok(())
}

/// The guest looked for the hole by itself: it must have been there to be judged.
fn found(console: &str) -> Result<()> {
    ensure!(console.contains("INFO hole base "), "the guest found no hole:\n{console}");
    Ok(())
}

/// The guest `name`, told what the emulator does not survive, or what can be asked of it.
fn guest(name: &str) -> Guest {
    let words = match name {
        _ if !Cpu::chosen().is_bochs() => "",
        "smp" => "aligned",
        "nmi" => "exact",
        // Its SVM writes no DR6 when #DB exits, and the VMM takes this one for a step.
        "tasks" if Cpu::chosen() != Cpu::Intel => "unsure",
        _ => "",
    };
    Guest::named(name, words)
}

/// Passes under the VMM, and every value it reports is the one the bare machine has.
fn same(name: &str, adjust: fn(&mut Config)) -> Result<()> {
    let under = judge_on(&Scene::under(guest(name)), adjust)?;
    if name == "hole" {
        found(&under)?;
    }
    let values = |console: &str| -> Vec<String> {
        let concealed = |line: &String| CONCEALED.iter().any(|name| line.starts_with(name));
        let found = facts::values(console).into_iter().filter(|line| !concealed(line));
        found.map(|line| without_vmx(&line)).collect()
    };
    if let Some(svm) = facts::values(&under).iter().find(|line| line.starts_with("svm.cpuid.bit:"))
    {
        ensure!(svm.ends_with(" 0"), "SVM is not concealed: {svm}");
    }
    let under = values(&under);
    if under.is_empty() {
        return Ok(());
    }
    let bare = values(&judge_on(&Scene::bare(guest(name)), adjust)?);
    let differ = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter().filter(|line| !other.contains(line)).cloned().collect()
    };
    let (here, there) = (differ(&under, &bare), differ(&bare, &under));
    ensure!(
        here.is_empty() && there.is_empty(),
        "with the VMM:\n{}\nwithout it:\n{}",
        here.join("\n"),
        there.join("\n")
    );
    Ok(())
}

/// What CPUID leaf 1 says, but for VMX and SMX (bits 5 and 6 of ECX) and the debug store (2 and 4, and 21 of EDX), which a
/// guest is not told of.
fn without_vmx(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        [name, value, eax, ebx, ecx, edx] if name.ends_with(".00000001.0:") => {
            let without =
                |word, bits: u32| u32::from_str_radix(word, 16).map_or(0, |it| it & !bits);
            let (ecx, edx) =
                (without(ecx, 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6), without(edx, 1 << 21));
            format!("{name} {value} {eax} {ebx} {ecx:08x} {edx:08x}")
        }
        _ => line.to_owned(),
    }
}

/// Runs a scene to its verdict, and gives the console when that is good.
fn judge(scene: &Scene) -> Result<String> {
    judge_on(scene, |_| {})
}

/// As [`judge`], on a machine that `adjust` changes.
fn judge_on(scene: &Scene, adjust: fn(&mut Config)) -> Result<String> {
    let mut prepared = scene.prepare()?;
    adjust(&mut prepared.config);
    verdict(&mut prepared.start()?)
}

/// Waits for the verdict, and gives the console when that is good.
fn verdict(machine: &mut Machine) -> Result<String> {
    let verdict = |all: &str| all.contains("VERDICT PASS\n") || all.contains("VERDICT FAIL\n");
    let console = machine.wait_console_for("a verdict", LIMIT, verdict)?;
    if let Some(refusal) = machine.refusal() {
        bail!("the VMM was not started: {refusal}");
    }
    let failed: Vec<&str> = console.lines().filter(|line| line.contains(": FAIL")).collect();
    ensure!(
        failed.is_empty() && console.contains("VERDICT PASS\n"),
        "{}{}",
        failed.join("\n"),
        machine.tails()
    );
    Ok(console)
}
