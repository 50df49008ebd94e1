//! The GDB remote serial protocol, spoken without gdb (gdb manual, appendix E): for what is measured
//! on the wire, and for what gdb would never send.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// The byte that asks for a stop.
const CTRL_C: u8 = 0x03;
/// How long a stub may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// A session with a stub.
#[derive(Debug)]
pub struct Rsp {
    stream: UnixStream,
    input: Vec<u8>,
    at: usize,
    /// The `+` for the last reply, sent with the next packet; no-ack mode has none.
    owed: Option<u8>,
    no_ack: bool,
    features: Vec<String>,
    /// Bytes sent and received.
    count: (u64, u64),
}

impl Rsp {
    /// Connects to the stub that listens at `path` and begins a session.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn attach(path: &Path) -> Result<Self> {
        let mut rsp = Self::connect(path)?;
        rsp.introduce()?;
        Ok(rsp)
    }

    /// Connects to the stub that listens at `path`, and says nothing yet.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).with_context(|| format!("{}", path.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (input, features) = (Vec::new(), Vec::new());
        Ok(Self { stream, input, at: 0, owed: Some(b'+'), no_ack: false, features, count: (0, 0) })
    }

    /// Begins a session as gdb does, and switches acknowledgements off where the stub offers it. Also
    /// in the middle of another, as a new client would that found the line open.
    ///
    /// # Errors
    /// As [`Rsp::request`].
    pub fn introduce(&mut self) -> Result<()> {
        self.no_ack = false;
        let offered = self.request(b"qSupported:swbreak+;hwbreak+;vContSupported+")?;
        self.features = String::from_utf8_lossy(&offered).split(';').map(str::to_owned).collect();
        if self.offers("QStartNoAckMode+") {
            let said = self.request(b"QStartNoAckMode")?;
            if said != b"OK" {
                bail!("QStartNoAckMode gave {:?}", String::from_utf8_lossy(&said));
            }
            // For its `OK`.
            self.put(b"+")?;
            (self.owed, self.no_ack) = (None, true);
        }
        Ok(())
    }

    /// Whether the stub's `qSupported` names `feature`, sign included.
    pub fn offers(&self, feature: &str) -> bool {
        self.features.iter().any(|offered| offered == feature)
    }

    /// The longest packet the stub takes; what gdb assumes where it does not say.
    pub fn packet_size(&self) -> usize {
        let size = self.features.iter().find_map(|offered| offered.strip_prefix("PacketSize="));
        size.and_then(|hex| usize::from_str_radix(hex, 16).ok()).unwrap_or(400)
    }

    /// Bytes sent and received so far.
    pub fn count(&self) -> (u64, u64) {
        self.count
    }

    /// Sends a packet and gives the body of its reply, escapes and runs undone.
    ///
    /// # Errors
    /// When the stub is silent or hangs up, or the reply is damaged.
    pub fn request(&mut self, body: &[u8]) -> Result<Vec<u8>> {
        self.send(body)?;
        self.reply()
    }

    /// Sends a packet and waits for its acknowledgement only.
    ///
    /// # Errors
    /// As [`Rsp::request`].
    pub fn send(&mut self, body: &[u8]) -> Result<()> {
        let mut packet: Vec<u8> = self.owed.take().into_iter().collect();
        packet.extend(framed(body));
        self.put(&packet)?;
        while !self.no_ack {
            match self.byte()? {
                b'+' => break,
                // QEMU tells a new client that it was stopped for it.
                b'$' => drop(self.body()?),
                byte => bail!("{:?} was answered by {byte:#x}", String::from_utf8_lossy(body)),
            }
        }
        Ok(())
    }

    /// Asks the running guest to stop.
    ///
    /// # Errors
    /// When the stub has hung up.
    pub fn interrupt(&mut self) -> Result<()> {
        self.put(&[CTRL_C])
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the stub has hung up.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        self.count.0 += bytes.len() as u64;
        Ok(())
    }

    /// The next packet of the stub: its body, escapes and runs undone.
    ///
    /// # Errors
    /// As [`Rsp::request`].
    pub fn reply(&mut self) -> Result<Vec<u8>> {
        while self.byte()? != b'$' {}
        let body = self.body()?;
        if !self.no_ack {
            self.owed = Some(b'+');
        }
        Ok(body)
    }

    /// The rest of a packet that has begun.
    fn body(&mut self) -> Result<Vec<u8>> {
        let (mut body, mut sum) = (Vec::new(), 0_u8);
        loop {
            let byte = self.byte()?;
            if byte == b'#' {
                break;
            }
            sum = sum.wrapping_add(byte);
            if byte == b'}' {
                let escaped = self.byte()?;
                sum = sum.wrapping_add(escaped);
                body.push(escaped ^ 0x20);
            } else if byte == b'*' {
                // A run: so many more of the one before.
                let times = self.byte()?;
                sum = sum.wrapping_add(times);
                let before = body.last().copied().context("a run of nothing")?;
                body.resize(body.len() + usize::from(times.saturating_sub(29)), before);
            } else {
                body.push(byte);
            }
        }
        let digits = [self.byte()?, self.byte()?];
        let told = u8::from_str_radix(&String::from_utf8_lossy(&digits), 16);
        if told.as_ref() != Ok(&sum) {
            bail!("a reply with a wrong checksum: {:?}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    fn byte(&mut self) -> Result<u8> {
        if self.at == self.input.len() {
            self.input.resize(65536, 0);
            let read = match self.stream.read(&mut self.input) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    bail!("the stub was silent for {} s", PATIENCE.as_secs())
                }
                read => read?,
            };
            self.input.truncate(read);
            self.at = 0;
            self.count.1 += read as u64;
        }
        let byte = *self.input.get(self.at).context("the stub has hung up")?;
        self.at += 1;
        Ok(byte)
    }
}

/// `body`, in which what needs it is escaped, as a packet.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", body, format!("#{sum:02x}").as_bytes()].concat()
}

/// `data` as it stands in a packet with binary data.
pub fn escaped(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + data.len() / 32);
    for &byte in data {
        if matches!(byte, b'#' | b'$' | b'}' | b'*') {
            out.extend([b'}', byte ^ 0x20]);
        } else {
            out.push(byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::net::UnixListener, thread};

    /// A stub that says what it is told to say, whatever it is asked.
    fn session(bodies: &'static [&'static [u8]]) -> (Rsp, thread::JoinHandle<Vec<u8>>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stub");
        let listener = UnixListener::bind(&path).unwrap();
        let stub = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            let mut buf = [0; 256];
            for (n, body) in bodies.iter().enumerate() {
                let before = heard.iter().filter(|&&byte| byte == b'#').count();
                while heard.iter().filter(|&&byte| byte == b'#').count() == before {
                    let read = stream.read(&mut buf).unwrap();
                    heard.extend_from_slice(&buf[..read]);
                }
                let acknowledged = n < 2 || !bodies[0].starts_with(b"QStart");
                stream.write_all(if acknowledged { b"+" } else { b"" }).unwrap();
                stream.write_all(&framed(body)).unwrap();
            }
            heard
        });
        (Rsp::attach(&path).unwrap(), stub)
    }

    #[test]
    fn acknowledges_with_the_next_packet() {
        let (mut rsp, stub) = session(&[b"PacketSize=3e8", b"a}\x03b0* "]);
        assert_eq!((rsp.packet_size(), rsp.offers("x+")), (1000, false));
        assert_eq!(rsp.request(b"m0,3").unwrap(), b"a#b0000");
        assert_eq!(rsp.count().1, 19 + 12);
        assert!(stub.join().unwrap().ends_with(b"+$m0,3#fc"));
    }

    #[test]
    fn no_acknowledgements_where_offered() {
        let (mut rsp, stub) = session(&[b"QStartNoAckMode+", b"OK", b"1"]);
        assert_eq!(rsp.request(b"?").unwrap(), b"1");
        assert!(stub.join().unwrap().ends_with(b"$QStartNoAckMode#b0+$?#3f"));
    }

    #[test]
    fn escapes() {
        assert_eq!(escaped(b"a#b"), b"a}\x03b");
        assert_eq!(escaped(&(0..=255).collect::<Vec<u8>>()).len(), 260);
    }
}
