//! The link survives anything: noise, floods, clients that go without a word. What was there before is there
//! afterwards: breakpoints, registers, memory, and a guest that runs.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{Test, inspect::Counting};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("link.hung-up", 180, hung_up),
        Test::new("link.noise", 180, noise),
        Test::new("link.flood", 180, || flood(1 << 16)),
        Test::new("link.flood-long", 900, || flood(1 << 20)).long(),
    ]
}

/// The bytes of the longest packet. The book's bound (the link, "When the line is bad"): from the end of rubbish to the
/// first right answer a client sends no more than these, and the `+` before them.
const PACKET: usize = 4096;

/// Bytes a second that a line takes at least: a UART of Bochs's has its baud rate, and the machine's time is slow.
const SLOWEST: u64 = 2_500;

/// The client's end of the line, in bytes, and what was sent since the last reply.
struct Raw(UnixStream, usize);

impl Raw {
    fn connect(guest: &Counting) -> Result<Self> {
        let stream = UnixStream::connect(guest.machine.link())?;
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self(stream, 0))
    }

    /// Sends bytes as they are.
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.1 += bytes.len();
        self.0.write_all(bytes).context("the line takes no more bytes")
    }

    fn packet(&mut self, body: &str) -> Result<()> {
        self.send(&framed(body))
    }

    /// What came within a moment of silence.
    fn silence(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => bail!("the emulator closed the line"),
                Ok(n) => all.extend_from_slice(&buffer[..n]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(all);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next packet that comes.
    fn reply(&mut self) -> Result<String> {
        let limit = Duration::from_secs(30 + self.1 as u64 / SLOWEST);
        let deadline = Instant::now() + limit;
        let mut text = Vec::new();
        while Instant::now() < deadline {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(1) => text.push(byte[0]),
                Ok(_) => bail!("the emulator closed the line"),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
            let sent = String::from_utf8_lossy(&text);
            if let Some((body, sum)) = sent.split_once('$').and_then(|(_, it)| it.split_once('#'))
                && sum.len() == 2
            {
                ensure!(framed(body).ends_with(sum.as_bytes()), "a damaged reply: {sent}");
                let body = body.to_owned();
                self.1 = 0;
                self.send(b"+")?;
                return Ok(body);
            }
        }
        bail!("no reply within {limit:?}, but {:?}", String::from_utf8_lossy(&text))
    }

    fn ask(&mut self, body: &str) -> Result<String> {
        self.packet(body)?;
        self.reply()
    }

    fn attach(&mut self) -> Result<()> {
        self.send(b"+")?;
        let features = self.ask("qSupported:swbreak+;hwbreak+")?;
        ensure!(features.starts_with(&format!("PacketSize={PACKET:x};")), "{features}");
        Ok(())
    }

    /// After rubbish, and what it brought itself: a packet of `len` bytes, sent once, is carried out.
    fn resynchronised(&mut self, len: usize) -> Result<()> {
        self.silence()?;
        // RAM that the guest does not use.
        let data = (len - 16) / 2;
        let packet = framed(&format!("M400000,{data:03x}:{}", "5a".repeat(data)));
        ensure!(packet.len() == len, "{} bytes", packet.len());
        self.send(b"+")?;
        self.send(&packet)?;
        let answer = self.reply().context("the first packet after rubbish")?;
        ensure!(answer == "OK", "the first packet after rubbish gives {answer}");
        let why = self.ask("?")?;
        ensure!(why.starts_with("T05"), "{why}");
        Ok(())
    }
}

fn framed(body: &str) -> Vec<u8> {
    let sum = body.bytes().fold(0_u8, u8::wrapping_add);
    format!("${body}#{sum:02x}").into_bytes()
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u8 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u8
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next()).collect()
    }
}

/// What a stopped guest is: its registers, its code and counters.
fn state(raw: &mut Raw, guest: &Counting) -> Result<[String; 3]> {
    let registers = raw.ask("g")?;
    let code = raw.ask(&format!("m{:x},40", guest.routine & !0x3f))?;
    Ok([registers, code, raw.ask(&format!("m{:x},10", guest.counter))?])
}

/// Attaches, and stops at a breakpoint that stays.
fn stopped(guest: &Counting) -> Result<(Raw, [String; 3])> {
    let mut raw = Raw::connect(guest)?;
    raw.attach()?;
    let answer = raw.ask(&format!("Z0,{:x},1", guest.routine + 1))?;
    ensure!(answer == "OK", "Z0 gives {answer}");
    let why = raw.ask("c")?;
    ensure!(why.contains("swbreak:"), "{why}");
    let state = state(&mut raw, guest)?;
    Ok((raw, state))
}

/// The guest is as it was, the breakpoint still hits, and without it the guest runs.
fn unharmed(mut raw: Raw, guest: &Counting, before: &[String; 3]) -> Result<()> {
    let now = state(&mut raw, guest)?;
    ensure!(now == *before, "the guest is another: {now:?}, before {before:?}");
    let why = raw.ask("c")?;
    ensure!(why.contains("swbreak:"), "the breakpoint does not hit: {why}");
    let answer = raw.ask(&format!("z0,{:x},1", guest.routine + 1))?;
    ensure!(answer == "OK", "z0 gives {answer}");
    ensure!(raw.ask("D")? == "OK", "no detach");
    drop(raw);
    guest.lives(&mut guest.attach()?)
}

/// Clients go in the middle of a packet, of a reply, of a step; the next one goes on where they were.
fn hung_up() -> Result<()> {
    let guest = Counting::start()?;
    let (mut raw, before) = stopped(&guest)?;
    let change = framed(&format!("M{:x},8:0000000000000000", guest.counter));
    for part in 1..change.len() {
        raw.send(&change[..part])?;
        drop(raw);
        // It is another client, and says nothing of it: who does gets a machine without breakpoints.
        raw = Raw::connect(&guest)?;
        let why = raw.ask("?")?;
        ensure!(why.starts_with("T05"), "after {part} bytes: {why}");
    }
    for last in ["g", "m200000,400", "qXfer:features:read:target.xml:0,ffb", "?"] {
        raw.packet(last)?;
        drop(raw);
        thread::sleep(Duration::from_millis(100));
        raw = Raw::connect(&guest)?;
        raw.silence()?;
        let why = raw.ask("?")?;
        ensure!(why.starts_with("T05"), "hung up after {last}: {why}");
    }
    unharmed(raw, &guest, &before)
}

/// Packets with a bit turned over, halves of packets, bytes from nowhere, packets without an end: the next whole
/// packet is answered.
fn noise() -> Result<()> {
    let guest = Counting::start()?;
    let (mut raw, before) = stopped(&guest)?;
    let mut random = Random(1);
    let at = guest.counter;
    let changes = [
        format!("M{at:x},8:0000000000000000"),
        "P0=1122334455667788".into(),
        "P10=0000000000000000".into(),
        format!("z0,{:x},1", guest.routine + 1),
        format!("Z1,{:x},1", guest.routine),
        "Qqemu.PhyMemMode:1".into(),
        "qRcmd,7265736574".into(),
        "vCont;s:1".into(),
        "c".into(),
        "D".into(),
        "k".into(),
    ];
    for round in 0..200 {
        let mut packet = framed(&changes[round % changes.len()]);
        match round % 4 {
            // One bit, but so that no other packet comes about, nor the same with a digit in capitals.
            0 | 1 => {
                let place = 1 + usize::from(random.next()) % (packet.len() - 1);
                packet[place] ^= 1 << (random.next() & 7);
                let digit = place + 2 >= packet.len() && packet[place].is_ascii_alphabetic();
                if digit || matches!(packet[place], b'$' | b'#') {
                    continue;
                }
            }
            2 => packet.truncate(1 + usize::from(random.next()) % (packet.len() - 1)),
            _ => {
                packet = random.bytes(64);
                packet.retain(|byte| *byte != b'#');
            }
        }
        raw.send(&packet)?;
        if round % 10 == 9 {
            raw.resynchronised(32).with_context(|| format!("round {round}"))?;
        }
    }
    for len in [4_096, 4_097, 100_000] {
        let long = [&b"$M0,0:"[..], &vec![b'0'; len], b"#00"].concat();
        raw.send(&long)?;
        raw.resynchronised(PACKET).with_context(|| format!("after a packet of {len} bytes"))?;
    }
    unharmed(raw, &guest, &before)
}

/// Some kilobytes, or a megabyte, as fast as the line takes them: with nobody attached, while the guest runs, while it stands still.
fn flood(size: usize) -> Result<()> {
    let guest = Counting::start()?;
    let mut random = Random(2);
    // Nobody is attached, and nobody is greeted: Ctrl-C means nothing, and there is no whole packet.
    let mut raw = Raw::connect(&guest)?;
    let mut bytes = random.bytes(size);
    bytes.retain(|byte| *byte != b'#');
    raw.send(&bytes)?;
    drop(raw);
    guest.lives(&mut guest.attach()?)?;

    // It runs, towards a breakpoint it does not reach; a client that floods has no more to say than Ctrl-C.
    let mut raw = Raw::connect(&guest)?;
    raw.attach()?;
    let unreached = guest.routine + 0x0a;
    let answer = raw.ask(&format!("Z0,{unreached:x},1"))?;
    ensure!(answer == "OK", "Z0 gives {answer}");
    raw.packet("c")?;
    raw.silence()?;
    bytes.retain(|byte| *byte != 3);
    raw.send(&bytes)?;
    raw.silence()?;
    raw.send(&[3])?;
    let why = raw.reply()?;
    // Short, for a client that has not looked at registers.
    ensure!(matches!(why.get(..3), Some("S02" | "T02")), "Ctrl-C after the flood gives {why}");
    let count = |raw: &mut Raw| raw.ask(&format!("m{:x},8", guest.ticks));
    let before = count(&mut raw)?;
    raw.packet("c")?;
    thread::sleep(Duration::from_secs(1));
    raw.silence()?;
    raw.send(&[3])?;
    raw.reply()?;
    ensure!(count(&mut raw)? != before, "the guest does not go on");
    let answer = raw.ask(&format!("z0,{unreached:x},1"))?;
    ensure!(answer == "OK", "the breakpoint is gone: {answer}");
    ensure!(raw.ask("D")? == "OK", "no detach");
    drop(raw);

    // It stands still: the same rubbish.
    let (mut raw, before) = stopped(&guest)?;
    raw.send(&bytes)?;
    raw.resynchronised(PACKET).context("after the flood")?;
    unharmed(raw, &guest, &before)
}
