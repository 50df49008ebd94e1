//! How Bochs is told, and what stands between it and the harness.
//!
//! Bochs takes its configuration from a file and its commands from standard input, where Debian's build has
//! its debugger. A serial port is a TCP socket that serves one client for ever, so the link is bridged to a
//! socket like QEMU's.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::{
        linux::net::TcpStreamExt as _,
        unix::{
            net::{UnixListener, UnixStream},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail};

use crate::{Config, Console, debugger::Debugger};

/// Instructions in a second of the machine's time. A UART's byte, a timer's tick and a time-out are as many
/// instructions long as this says.
pub(crate) const IPS: u32 = 20_000_000;
/// How much longer things may take than in QEMU.
pub(crate) const BOCHS_IS_SLOWER: u32 = 4;
/// Its configuration, in the directory of a machine's files.
const CONFIGURATION: &str = "bochsrc";
/// Bochs keeps the rest of a larger memory in a file.
const MOST_HOST_MEMORY: u64 = 2048;

/// A running Bochs.
pub(crate) struct Bochs {
    pub(crate) child: Child,
    pub(crate) debugger: Debugger,
}

/// Starts it; its files and sockets are in `dir`.
pub(crate) fn start(config: &Config, root: &Path, dir: &Path) -> Result<Bochs> {
    if let Some(lacking) = lacking(config) {
        bail!("Bochs has no {lacking}");
    }
    let link = bridge(&dir.join("link.sock"), config.keep_sent.then(|| dir.join("link")))?;
    let console = match config.console {
        Console::File => None,
        Console::Stdio => Some(terminal()?),
    };
    fs::write(dir.join(CONFIGURATION), file(config, root, dir, link, console)?)?;
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    // Its own loader, for its C library may be newer than this computer's. `setpriv` so that it dies with us.
    let mut cmd = Command::new("setpriv");
    cmd.args(["--pdeathsig", "KILL"]).arg(libraries.join("ld-linux-x86-64.so.2"));
    cmd.arg("--library-path").arg(&libraries).arg(root.join("usr/bin/bochs-bin"));
    cmd.args(["-debugger", "-q", "-f"]).arg(dir.join(CONFIGURATION));
    cmd.env("LTDL_LIBRARY_PATH", libraries.join("bochs/plugins"));
    cmd.env("BXSHARE", root.join("usr/share/bochs"));
    cmd.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    cmd.stderr(File::create(dir.join("errors"))?);
    let mut child = cmd.spawn().context("starting Bochs")?;
    let debugger = Debugger::new(&mut child, !config.paused)?;
    Ok(Bochs { child, debugger })
}

/// Whether Bochs runs the machine whose link is the socket `link`.
pub(crate) fn is_at(link: &Path) -> bool {
    link.with_file_name(CONFIGURATION).exists()
}

/// What the machine asks for that Bochs has not.
fn lacking(config: &Config) -> Option<&'static str> {
    [
        (config.no_shutdown, "pause after power-off"),
        (!config.acpi_tables.is_empty(), "further ACPI tables"),
        (config.stick.is_some(), "BIOS that boots from USB"),
        (config.sata, "SATA controller"),
        (config.network.is_some(), "network to boot from"),
        (!config.extra.is_empty(), "words of QEMU's"),
    ]
    .into_iter()
    .find_map(|(asked, what)| asked.then_some(what))
}

/// The model in a name as QEMU's `-cpu` takes it, and what is added (`,+la57`) or taken away (`,-vmx`), as Bochs
/// says it.
fn cpu(name: &str) -> (&str, String) {
    let mut parts = name.split(',');
    let model = parts.next().unwrap_or_default();
    let of = |sign: char, parts: std::str::Split<'_, char>| -> String {
        parts.filter_map(|part| part.strip_prefix(sign)).collect::<Vec<_>>().join(",")
    };
    let mut features = String::new();
    for (sign, word) in [('+', "add_features"), ('-', "exclude_features")] {
        let names = of(sign, parts.clone());
        if !names.is_empty() {
            features += &format!(", {word}=\"{names}\"");
        }
    }
    (model, features)
}

/// The configuration file.
fn file(
    config: &Config,
    root: &Path,
    dir: &Path,
    link: u16,
    console: Option<u16>,
) -> Result<String> {
    let share = root.join("usr/share").display().to_string();
    let at = |name: &str| dir.join(name).display().to_string();
    let bios = match &config.firmware {
        Some(file) => file.display().to_string(),
        None => format!("{share}/bochs/BIOS-bochs-latest"),
    };
    let console = match console {
        None => format!("mode=file, dev={}", at("console")),
        Some(port) => format!("mode=socket-client, dev=localhost:{port}"),
    };
    let (model, features) = cpu(&config.cpu);
    // No clock of the host's where runs are compared.
    let time = if config.icount { "1767225600" } else { "utc" };
    // A guest that names no line for the second PIC gets on with it on a real one (GNU Mach's 64-bit kernel of 2022), and
    // so it does with a command that the keyboard's controller does not know, or an odd address in the local APIC, the
    // I/O APIC or the HPET.
    // The signal handler of the debugger logs that it was called, as information of no module, and waits for ever if it
    // came while something was being logged. So information of the system module alone is reported: resets. What
    // errors the CPU reports is silenced for its amount: Linux makes it log twice a tick, for MSRs it has not.
    let each =
        |what: &dyn Fn(u32) -> String| (0..config.smp).map(what).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "cpu: count={smp}:1:1, model={model}, ips={IPS}, reset_on_triple_fault=1{features}\n\
         memory: guest={memory}, host={host}\n\
         clock: sync=none, time0={time}\n\
         port_e9_hack: enabled=1\n\
         romimage: file={bios}\n\
         vgaromimage: file={share}/vgabios/vgabios.bin\n\
         display_library: rfb, options=\"timeout=0\"\n\
         sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy\n\
         com1: enabled=1, mode=socket-client, dev=localhost:{link}\n\
         com2: enabled=1, {console}\n\
         com3: enabled=1, mode=file, dev={log}\n\
         log: {said}\n\
         panic: action=report, pic=report, keyboard=report, {apics}, ioapic=report, hpet=report\n\
         error: action=report, {cpus}\n\
         info: action=ignore, pc_system=report\ndebug: action=ignore\n\
         boot: disk\n",
        smp = config.smp,
        apics = each(&|n| format!("apic{n}=report")),
        cpus = each(&|n| format!("cpu{n}=ignore")),
        memory = config.memory,
        host = config.memory.min(MOST_HOST_MEMORY),
        log = at("log"),
        said = at("bochs"),
    );
    for channel in 0..config.disks.len().div_ceil(2) {
        let (one, two, irq) = [(0x1f0, 0x3f0, 14), (0x170, 0x370, 15)]
            .get(channel)
            .context("Bochs has no place for so many disks")?;
        writeln!(text, "ata{channel}: enabled=1, ioaddr1={one:#x}, ioaddr2={two:#x}, irq={irq}")?;
    }
    for (index, (path, scratch)) in config.disks.iter().enumerate() {
        let place = if index % 2 == 0 { "master" } else { "slave" };
        let mode = match scratch {
            false => "flat".to_owned(),
            true => format!("volatile, journal={}", at(&format!("disk{index}"))),
        };
        let path = path.display();
        writeln!(text, "ata{}-{place}: type=disk, path={path}, mode={mode}", index / 2)?;
    }
    Ok(text)
}

/// Listens for Bochs's serial port and at the socket `path`; gives the port it is to connect to. What it
/// sends goes to who is connected there, and into the file `kept`.
fn bridge(path: &Path, kept: Option<PathBuf>) -> Result<u16> {
    let outside = UnixListener::bind(path).with_context(|| format!("{}", path.display()))?;
    let inside = TcpListener::bind(("127.0.0.1", 0))?;
    let port = inside.local_addr()?.port();
    let path = path.to_owned();
    thread::spawn(move || {
        let Ok((machine, _)) = inside.accept() else { return };
        let client = Arc::<Mutex<Option<UnixStream>>>::default();
        let (Ok(()), Ok(from_machine)) = (machine.set_nodelay(true), machine.try_clone()) else {
            return;
        };
        let ended = Arc::<AtomicBool>::default();
        let (there, over) = (Arc::clone(&client), Arc::clone(&ended));
        thread::spawn(move || {
            to_client(from_machine, &there, kept.as_deref());
            // The machine is gone: the other thread wakes, and finds that so.
            over.store(true, Ordering::Release);
            let _ = UnixStream::connect(path);
        });
        from_clients(&machine, &outside, &client, &ended);
    });
    Ok(port)
}

/// What the machine sends, until it ends.
fn to_client(mut machine: TcpStream, client: &Mutex<Option<UnixStream>>, kept: Option<&Path>) {
    let mut file = kept.and_then(|path| File::create(path).ok());
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = machine.read(&mut bytes) {
        // Bochs sends each byte by itself and holds the next one until this one is acknowledged, for which this side
        // would wait 40 ms: once in every reply, so for each step of the analyst's. It does not last longer.
        let _ = machine.set_quickack(true);
        let Some(bytes) = bytes.get(..count) else { return };
        if let Some(file) = &mut file {
            let _ = file.write_all(bytes);
        }
        // Nobody there, or gone meanwhile: it is lost, as on a cable.
        if let Some(client) = &*client.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = (&*client).write_all(bytes);
        }
    }
}

/// What clients send, one after the other.
fn from_clients(
    mut machine: &TcpStream,
    outside: &UnixListener,
    client: &Mutex<Option<UnixStream>>,
    ended: &AtomicBool,
) {
    let set = |to| *client.lock().unwrap_or_else(PoisonError::into_inner) = to;
    for stream in outside.incoming() {
        let Ok(mut stream) = stream else { return };
        set(stream.try_clone().ok());
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            if machine.write_all(bytes.get(..count).unwrap_or_default()).is_err() {
                return;
            }
        }
        set(None);
        if ended.load(Ordering::Acquire) {
            return;
        }
    }
}

/// A serial port that is this terminal; gives the port Bochs is to connect to.
fn terminal() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        let Ok((machine, _)) = listener.accept() else { return };
        if let Ok(mut to_machine) = machine.try_clone() {
            thread::spawn(move || std::io::copy(&mut std::io::stdin(), &mut to_machine));
        }
        let (mut machine, mut out) = (machine, std::io::stdout());
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = machine.read(&mut bytes) {
            let _ = out.write_all(bytes.get(..count).unwrap_or_default());
            let _ = out.flush();
        }
    });
    Ok(port)
}

#[cfg(test)]
mod tests {
    #[test]
    fn features_of_a_cpu() {
        let (model, features) = super::cpu("corei7_haswell_4770,-vmx,+la57,-pcid");
        assert_eq!(model, "corei7_haswell_4770");
        assert_eq!(features, ", add_features=\"la57\", exclude_features=\"vmx,pcid\"");
        assert_eq!(super::cpu("ryzen"), ("ryzen", String::new()));
    }
}
