//! A machine that cannot run the VMM is told so in one clear line, on the screen and on the serial port, and
//! then boots without it.

use std::{
    fs, thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use handover::MAGIC;
use serde_json::json;
use testing::{Config, Gdb, Machine};

use super::{Test, stick};
use crate::{
    bochs,
    build::{self, Vmm},
    disk::{self, Contents},
    image,
    machine_args::Cpu,
    scene::{Guest, Prepared, Scene},
    sector::End,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Intel's Core 2, and its first Core i5: VMX before it had nested tables, and before it had real mode in a guest.
const PENRYN: &str = "core2_penryn_t9600";
const LYNNFIELD: &str = "corei5_lynnfield_750";
/// The log, and what the machine boots when it is said at once.
const OPTIONS: &str = "log=uart:0x3e8 boot=next";
/// What is said where no disk can be started.
const UNREADABLE: &str = "disk 81 cannot be read.";
/// What the loader says in the end if the machine boots.
const GOES_ON: &str = "not started. In 10 seconds or at a key, without it:";

pub(super) fn tests() -> Vec<Test> {
    let cpu = |name: &str, cpu: fn(Cpu) -> String, expected| {
        Test::new(&format!("refusal.{name}"), 120, move || {
            refuses(OPTIONS, expected, 1, |_| Ok(()), |config| config.cpu = cpu(Cpu::chosen()))
        })
    };
    let options = |name: &str, options: &'static str, expected, times| {
        Test::new(&format!("refusal.{name}"), 120, move || {
            refuses(options, expected, times, |_| Ok(()), |_| {})
        })
    };
    let module = |name: &str, expected, change: fn(&mut Contents) -> Result<()>| {
        Test::new(&format!("refusal.{name}"), 120, move || {
            refuses(OPTIONS, expected, 1, change, |_| {})
        })
    };
    vec![
        cpu("no-svm", |cpu| cpu.without("svm"), "this CPU has no SVM, or Ramooflax runs already"),
        cpu("no-npt", without_npt, "SVM but no nested paging"),
        cpu("no-vmx", |cpu| cpu.without("vmx"), "this CPU has no VMX, or Ramooflax runs already"),
        cpu("no-ept", |_| PENRYN.into(), "VMX but no extended page tables (EPT)"),
        cpu("no-unrestricted-guest", |_| LYNNFIELD.into(), "VMX but no unrestricted guest"),
        cpu("no-nx", |cpu| cpu.without("nx"), "this CPU offers no no-execute pages"),
        Test::new("refusal.svm-locked", 120, svm_locked),
        Test::new("refusal.vmx-locked", 120, vmx_locked),
        Test::new("refusal.no-long-mode", 120, no_long_mode),
        options("option", "nonsense boot=next", "option `nonsense`: unknown", 1),
        // Nothing sensible is said of what to boot: what the firmware boots is the loader once more.
        options("boot-option", "boot=second", "option `boot=second`: expected boot=int19", 2),
        Test::new("refusal.old-mark", 120, old_mark),
        Test::new("refusal.memory", 120, || {
            refuses(OPTIONS, "no room for the VMM", 1, |_| Ok(()), |config| config.memory = 4)
        }),
        module("module", "no boot module was loaded", |contents| {
            contents.menu = contents.menu.replace("module2 /boot/resident\n", "");
            Ok(())
        }),
        module("module-cut", "the boot module is damaged", |contents| {
            change_module(contents, |bytes| bytes.truncate(bytes.len() / 2))
        }),
        module("module-damaged", "the boot module is damaged", |contents| {
            change_module(contents, |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            })
        }),
        module("module-version", "a resident image of another build", |contents| {
            change_module(contents, |bytes| {
                let magic = MAGIC.to_le_bytes();
                let at = bytes.windows(8).position(|part| part == magic).unwrap_or_default();
                bytes[at] ^= 1;
            })
        }),
        module("module-other", "is not Ramooflax's resident image", |contents| {
            contents.files[1].0 = contents.files[0].0.clone();
            Ok(())
        }),
        Test::new("refusal.no-disk", 120, no_disk),
        Test::new("refusal.unheard", 120, unheard),
        Test::new("refusal.pause", 120, pause),
    ]
}

/// The CPU without nested paging.
fn without_npt(cpu: Cpu) -> String {
    // Bochs has no name for that feature; a Turion has SVM alone.
    if cpu.is_bochs() { "turion64_tyler".to_owned() } else { cpu.without("npt") }
}

/// Changes the bytes of the second file, the resident image.
fn change_module(contents: &mut Contents, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let mut bytes = fs::read(&contents.files[1].0)?;
    change(&mut bytes);
    // In the directory of this test, which goes with it.
    let file = tempfile::NamedTempFile::new()?.into_temp_path().keep()?;
    fs::write(&file, bytes)?;
    contents.files[1].0 = file;
    Ok(())
}

/// A machine whose first disk starts Ramooflax as a stick does and whose second boots by itself.
pub(super) fn prepare(
    options: &str,
    change: impl FnOnce(&mut Contents) -> Result<()>,
) -> Result<Prepared> {
    let mut prepared = Scene::bare(Guest::Sector(End::Halt)).prepare()?;
    let Vmm { loader, stripped, .. } = build::vmm()?;
    let files = vec![(loader, "ramooflax".to_owned()), (stripped, "resident".to_owned())];
    let mut contents = Contents { menu: image::menu(options), files };
    change(&mut contents)?;
    let first = prepared.file("first.img", &[])?;
    disk::build(&first, &contents)?;
    prepared.config.disks.insert(0, (first, true));
    Ok(prepared)
}

/// The loader says `expected` `times` times, and then the machine's own disk boots.
fn refuses(
    options: &str,
    expected: &str,
    times: usize,
    change: impl FnOnce(&mut Contents) -> Result<()>,
    adjust: impl FnOnce(&mut Config),
) -> Result<()> {
    let mut prepared = prepare(options, change)?;
    adjust(&mut prepared.config);
    let mut machine = prepared.start()?;
    for time in 1..=times {
        let said = said(&machine, GOES_ON, time)?;
        ensure!(said.contains(expected), "not {expected:?}, but:\n{said}");
        ensure!(said.contains("xpected"), "it does not say what was expected:\n{said}");
        // At the top of the screen, which begins anew each time.
        stick::screen(&machine, expected)?;
        press(&machine)?;
    }
    native(&mut machine)
}

/// What was said on the serial port, once it ends with the `time`th `end`.
pub(super) fn said(machine: &Machine, end: &str, time: usize) -> Result<String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        for text in [machine.log(), machine.sent()] {
            if text.matches(end).count() >= time {
                return Ok(text);
            }
        }
        ensure!(Instant::now() < deadline, "no {end:?} on a serial port{}", machine.tails());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Presses a key. Bochs's machine waits out its ten seconds instead, which take it none.
pub(super) fn press(machine: &Machine) -> Result<()> {
    if Cpu::chosen().is_bochs() {
        return Ok(());
    }
    let key = json!({ "keys": [{ "type": "qcode", "data": "spc" }] });
    machine.qmp()?.execute("send-key", key).map(drop)
}

/// The machine's own disk boots, as disk 80h, without the VMM.
fn native(machine: &mut Machine) -> Result<()> {
    let console = machine.wait_console("END\n", LIMIT)?;
    ensure!(console.contains("SECTOR dl=80"), "not as disk 80h:\n{console}");
    ensure!(console.contains("PROBE real ud"), "under the VMM:\n{console}");
    // What a boot manager takes.
    ensure!(console.contains("kib=027e"), "not one KiB less:\n{console}");
    Ok(())
}

/// SVM switched off by the firmware. The emulator has no such firmware: a debugger changes what the loader reads
/// from VM_CR.
fn svm_locked() -> Result<()> {
    const SVMDIS: u64 = 1 << 4;
    // mov ecx, VM_CR; rdmsr
    const READ: [u8; 7] = [0xb9, 0x14, 0x01, 0x01, 0xc0, 0x0f, 0x32];
    const LOADED_AT: usize = 0x20_0000;
    let loader = fs::read(build::vmm()?.loader)?;
    let find = |bytes: &[u8]| loader.windows(bytes.len()).position(|part| part == bytes);
    let read = find(&READ).context("the loader reads no VM_CR")?;
    // The header says where it is loaded and where itself lies.
    let header = find(&0x1bad_b002_u32.to_le_bytes()).context("no multiboot header")?;
    let address = u32::from_le_bytes(loader[header + 12..header + 16].try_into()?) as usize;
    ensure!(address >= LOADED_AT, "the header lies at {address:#x}");
    let after = address + read - header + READ.len();

    let mut prepared = prepare(OPTIONS, |_| Ok(()))?;
    prepared.config.qemu_gdb = true;
    prepared.config.paused = true;
    let mut machine = prepared.start()?;
    let mut gdb = Gdb::attach(&machine.qemu_gdb())?;
    gdb.command(&format!("hbreak *{after:#x}"))?;
    gdb.command("continue")?;
    ensure!(gdb.value("$rip")? == after as u64, "VM_CR was not read");
    gdb.command(&format!("set var $rax = $rax | {SVMDIS}"))?;
    gdb.command("delete")?;
    gdb.command("detach")?;
    let said = said(&machine, GOES_ON, 1)?;
    ensure!(said.contains("SVM is switched off by the firmware"), "but: {said}");
    stick::screen(&machine, "SVM is switched off by the firmware")?;
    press(&machine)?;
    native(&mut machine)
}

/// VMX switched off by the firmware.
fn vmx_locked() -> Result<()> {
    const EXPECTED: &str = "VMX is switched off and locked by the firmware";
    let mut prepared = prepare(OPTIONS, |_| Ok(()))?;
    prepared.config.firmware = Some(prepared.file("bios", &firmware(FeatureControl::Locked)?)?);
    let mut machine = prepared.start()?;
    let said = said(&machine, GOES_ON, 1)?;
    ensure!(said.contains(EXPECTED) && said.contains("Switch on VT-x"), "but: {said}");
    stick::screen(&machine, EXPECTED)?;
    press(&machine)?;
    native(&mut machine)
}

/// What a firmware leaves in IA32_FEATURE_CONTROL (SDM 3C, 23.7).
#[derive(Clone, Copy)]
pub(super) enum FeatureControl {
    /// Nothing: it is for the OS.
    Unlocked = 0,
    /// VMX off, for good.
    Locked = 1,
}

/// Bochs's BIOS, which would switch VMX on, with another opinion on that.
pub(super) fn firmware(leaves: FeatureControl) -> Result<Vec<u8>> {
    // mov ecx, IA32_FEATURE_CONTROL; rdmsr; or eax, 5; wrmsr
    const SWITCH_ON: [u8; 12] = [0xb9, 0x3a, 0, 0, 0, 0x0f, 0x32, 0x83, 0xc8, 0x05, 0x0f, 0x30];
    let mut bios = fs::read(bochs::root()?.join("usr/share/bochs/BIOS-bochs-latest"))?;
    let at = bios.windows(SWITCH_ON.len()).position(|part| part == SWITCH_ON);
    bios[at.context("this BIOS does not switch VMX on")? + 9] = leaves as u8;
    Ok(bios)
}

/// A 32-bit CPU: said before there is anything but 32-bit code, which boots what the firmware boots, and then
/// the next disk.
fn no_long_mode() -> Result<()> {
    const EXPECTED: &str = "it has no 64-bit long mode. Expected: a 64-bit AMD or Intel CPU";
    let mut prepared = prepare(OPTIONS, |_| Ok(()))?;
    prepared.config.cpu = match Cpu::chosen() {
        Cpu::Intel => "core_duo_t2400_yonah".into(),
        cpu if cpu.is_bochs() => "athlon_xp".into(),
        _ => "qemu32".into(),
    };
    let mut machine = prepared.start()?;
    for time in 1..=2 {
        let said = said(&machine, "The firmware boots on in 10 seconds or at a key.", time)?;
        ensure!(said.contains(EXPECTED), "but:\n{said}");
        stick::screen(&machine, EXPECTED)?;
        press(&machine)?;
    }
    native(&mut machine)
}

/// A mark that a firmware has kept over a reset is none: the loader is started twice, as without it.
fn old_mark() -> Result<()> {
    let mut prepared = prepare("boot=second", |_| Ok(()))?;
    prepared.config.qemu_gdb = true;
    let mut machine = prepared.start()?;
    said(&machine, GOES_ON, 1)?;
    let mut outside = machine.outside()?;
    // crates/setup: next.S; 40:6C counts the ticks, 18.2 a second.
    let long_ago = (outside.word(0x46c, 4)? as u32).wrapping_sub(20000);
    let mark = [0x3178_466d, long_ago].map(u32::to_le_bytes).concat();
    outside.write(0x4f0, &mark)?;
    outside.go()?;
    press(&machine)?;
    said(&machine, GOES_ON, 2)?;
    press(&machine)?;
    native(&mut machine)
}

/// Nothing else to boot: that is said too, and the firmware goes on.
fn no_disk() -> Result<()> {
    let mut prepared = prepare(OPTIONS, |_| Ok(()))?;
    prepared.config.disks.truncate(1);
    Cpu::without_extension(&mut prepared.config);
    let mut machine = prepared.start()?;
    said(&machine, GOES_ON, 1)?;
    press(&machine)?;
    gives_up(&mut machine, UNREADABLE)?;
    let said = said(&machine, "The firmware goes on.", 1)?;
    ensure!(said.contains("Ramooflax: disk 81 cannot be read."), "but: {said}");
    Ok(())
}

/// What starts a disk finds none, says so on the screen, and leaves the machine to its firmware.
pub(super) fn gives_up(machine: &mut Machine, told: &str) -> Result<()> {
    if !machine.is_bochs() {
        stick::screen(machine, told)?;
        press(machine)?;
        return stick::screen(machine, "No bootable device");
    }
    // It does not stand there for long by the host's clock: until int 18h. Bochs's BIOS gives up there.
    let mut outside = machine.outside()?;
    let (offset, segment) = (outside.word(0x18 * 4, 2)?, outside.word(0x18 * 4 + 2, 2)?);
    outside.run_to((segment << 4) + offset)?;
    drop(outside);
    stick::screen(machine, told)?;
    machine.outside()?.go()?;
    machine.wait_exit(LIMIT)?;
    let panics = machine.errors();
    ensure!(panics.contains("No bootable device"), "the firmware says: {panics}");
    Ok(())
}

/// What starts a disk tells a VMM why it cannot, and goes on where none listens any more. Here there never was one: a
/// debugger takes away the serial port, which is how it knows.
fn unheard() -> Result<()> {
    let mut prepared = prepare(OPTIONS, |_| Ok(()))?;
    prepared.config.disks.truncate(1);
    Cpu::without_extension(&mut prepared.config);
    prepared.config.qemu_gdb = true;
    let mut machine = prepared.start()?;
    said(&machine, GOES_ON, 1)?;
    let mut outside = machine.outside()?;
    // crates/setup: next.rs, UART; it lies below the end of conventional memory.
    let uart = ((outside.word(0x413, 2)? - 1) << 10) + 16;
    let port = outside.word(uart, 2)?;
    ensure!(port == 0x3e8, "not the log's port: {port:#x}");
    outside.write(uart, &[0, 0])?;
    outside.go()?;
    press(&machine)?;
    gives_up(&mut machine, UNREADABLE)
}

/// With nobody at the keyboard.
fn pause() -> Result<()> {
    let mut prepared = prepare(OPTIONS, |_| Ok(()))?;
    Cpu::without_extension(&mut prepared.config);
    let mut machine = prepared.start()?;
    said(&machine, GOES_ON, 1)?;
    let since = now(&machine)?;
    native(&mut machine)?;
    let waited = now(&machine)?.saturating_sub(since);
    ensure!(waited > Duration::from_secs(5), "the message stood for {waited:?} only");
    Ok(())
}

/// The time: the machine's where that is not the host's.
fn now(machine: &Machine) -> Result<Duration> {
    if !machine.is_bochs() {
        return Ok(SystemTime::now().duration_since(UNIX_EPOCH)?);
    }
    machine.debugger()?.time()
}
