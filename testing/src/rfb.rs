//! Keys for Bochs: its display is an RFB server (RFC 6143), whose client has the keyboard.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::keys;

/// Between two keys: the keyboard's buffer is short, and the guest slow.
const PAUSE: Duration = Duration::from_millis(150);

/// The port of the display, as Bochs's log `said` has it.
///
/// # Errors
/// When it says nothing of one.
fn port(said: &str) -> Result<u16> {
    let line = said.lines().find_map(|line| line.split_once("listening for connections on port "));
    let (_, port) = line.context("Bochs listens at no port for a display")?;
    Ok(port.trim().parse()?)
}

/// Presses and releases the keys of `chords`, by QEMU's names; `said` is Bochs's log.
///
/// # Errors
/// When a key is unknown, or Bochs does not take them.
pub(crate) fn press(said: &str, chords: &[Vec<String>]) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port(said)?))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    handshake(&mut stream).context("the display of Bochs")?;
    // Nothing is asked for, and what comes nevertheless is not to block the machine.
    let mut shown = stream.try_clone()?;
    let reader = thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(1..) = shown.read(&mut bytes) {}
    });
    for chord in chords {
        for (down, key) in
            chord.iter().map(|key| (1, key)).chain(chord.iter().rev().map(|key| (0, key)))
        {
            let symbol = keys::symbol(key).with_context(|| format!("no key symbol for {key}"))?;
            // KeyEvent, 7.5.4.
            let [a, b, c, d] = symbol.to_be_bytes();
            stream.write_all(&[4, down, 0, 0, a, b, c, d])?;
        }
        thread::sleep(PAUSE);
    }
    stream.shutdown(std::net::Shutdown::Both)?;
    let _ = reader.join();
    Ok(())
}

/// The messages until the client may send keys, of version 3.3 without a password (7.1 to 7.3).
fn handshake(stream: &mut TcpStream) -> Result<()> {
    let mut version = [0; 12];
    stream.read_exact(&mut version)?;
    ensure!(version.starts_with(b"RFB 003."), "it speaks {:?}", String::from_utf8_lossy(&version));
    stream.write_all(b"RFB 003.003\n")?;
    let mut security = [0; 4];
    stream.read_exact(&mut security)?;
    ensure!(u32::from_be_bytes(security) == 1, "it wants a password: {security:?}");
    // The display need not be shared.
    stream.write_all(&[0])?;
    // Width, height, pixel format, length of the name; the name.
    let mut server = [0; 24];
    stream.read_exact(&mut server)?;
    let [.., a, b, c, d] = server;
    let mut name = vec![0; u32::from_be_bytes([a, b, c, d]).min(4096) as usize];
    stream.read_exact(&mut name)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_port_is_in_the_log() {
        let said = "00000000000i[RFB   ] Trying port 5901\n\
                    00000000000i[RFB   ] listening for connections on port 5901\n";
        assert_eq!(super::port(said).unwrap(), 5901);
        assert!(super::port("").is_err());
    }
}
