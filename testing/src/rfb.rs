//! Keys for Bochs: its display is an RFB server (RFC 6143), whose client has the keyboard.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::keys;

/// Between two keys: the keyboard's buffer is short, and the guest slow.
const PAUSE: Duration = Duration::from_millis(150);

/// The port at which the process `pid` listens: Bochs listens at no other than its display's. It takes the first that
/// is free, and says so in its log as information, which it cannot be let report: [`crate::bochs`].
///
/// # Errors
/// When it listens at none, or is gone.
fn port(pid: u32) -> Result<u16> {
    let mut sockets = Vec::new();
    for file in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // One that is closed meanwhile is none.
        let Ok(target) = fs::read_link(file?.path()) else { continue };
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        sockets.extend(inode.map(str::to_owned));
    }
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    listening(&table, &sockets).context("Bochs listens at no port for a display")
}

/// The port at which one of `sockets`, by their inodes, listens, by Linux's `table` of TCP sockets (proc(5)).
fn listening(table: &str, sockets: &[String]) -> Option<u16> {
    const LISTEN: &str = "0A";
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = *words.as_slice() else { return None };
        let ours = state == LISTEN && sockets.iter().any(|socket| socket == inode);
        let (_, port) = local.split_once(':').filter(|_| ours)?;
        u16::from_str_radix(port, 16).ok()
    })
}

/// Presses and releases the keys of `chords`, by QEMU's names, in the Bochs that is the process `pid`.
///
/// # Errors
/// When a key is unknown, or Bochs does not take them.
pub(crate) fn press(pid: u32, chords: &[Vec<String>]) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port(pid)?))?;
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
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_listener_of_the_process_is_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 00000000:170D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41 1 0\n\
             1: 0100007F:8000 0100007F:9000 01 00000000:00000000 00:00000000 00000000     0        0 42 1 0\n\
             2: 00000000:170E 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 43 1 0\n";
        let of = |inodes: &[&str]| {
            let inodes: Vec<String> = inodes.iter().map(|inode| (*inode).to_owned()).collect();
            super::listening(table, &inodes)
        };
        assert_eq!(of(&["42", "43"]), Some(0x170e));
        assert_eq!(of(&["42", "4"]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn linux_lists_sockets_so() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(super::port(std::process::id()).unwrap(), port);
    }
}
