//! Bytes of memory a second, and what they cost on the line.

use anyhow::{Result, ensure};
use testing::{Rsp, escaped};

use super::{
    BenchArgs,
    rivals::{Rivals, unhex},
    rows::Row,
};

/// Guest-physical memory that nobody misses any more: the guest does not run on.
const AT: u64 = 0x1000_0000;
/// How much of it.
const LEN: usize = 64 << 10;
/// Bytes of a packet besides what it carries: `$`, `#`, the checksum.
const FRAME: usize = 4;

/// Reads and writes of guest-physical memory that does not compress, against the emulator's own stub, which
/// knows only hexadecimal digits; and of all bytes on the line the share that is memory, which is what
/// counts on a line of 11,520 bytes a second.
pub(super) fn rate(args: &BenchArgs) -> Result<Vec<Row>> {
    let data = noise();
    let mut rivals = Rivals::start(args)?;
    for side in [&mut rivals.ours, &mut rivals.theirs] {
        side.turn(&mut |rsp| {
            let said = rsp.request(b"Qqemu.PhyMemMode:1")?;
            ensure!(said == b"OK", "no physical memory: {:?}", String::from_utf8_lossy(&said));
            Ok(0)
        })?;
    }
    let mut rows = Vec::new();
    // The share is what stock clients' choice of packets allows: gdb asks for half a packet at a time.
    for (part, work, rival, share) in [
        ("X", write as Work, write_hex as Work, 0.95),
        ("x", read as Work, read_hex as Work, 0.95),
        ("m", read_hex as Work, read_hex as Work, 0.48),
    ] {
        let mut on_the_line = (0, 0);
        let (ours, theirs) = rivals.compare(
            &mut |rsp| {
                let (sent, received) = rsp.count();
                let moved = work(rsp, &data)?;
                let (sent_then, received_then) = rsp.count();
                on_the_line.0 += moved;
                on_the_line.1 += sent_then - sent + received_then - received;
                Ok(moved)
            },
            // It is so much faster that once would be over in no time.
            &mut |rsp| (0..8).map(|_| rival(rsp, &data)).sum(),
        )?;
        rows.push(Row::new("mem.rate", part, "cloud", ours, "bytes/s").against(theirs));
        let (moved, all) = on_the_line;
        let row = Row::new(
            "mem.rate",
            &format!("{part} share"),
            "cloud",
            moved as f64 / all as f64,
            "of the line",
        );
        rows.push(row.at_least(share));
    }
    Ok(rows)
}

/// Moves all of the data: gives how much that was.
type Work = fn(&mut Rsp, &[u8]) -> Result<u64>;

fn write(rsp: &mut Rsp, data: &[u8]) -> Result<u64> {
    let room = rsp.packet_size() - FRAME - HEAD;
    let mut done = 0;
    while done < data.len() {
        // As much as fits with its escapes, which no more than double it.
        let mut len = room.min(data.len() - done);
        while escaped(&data[done..done + len]).len() > room {
            len -= 1;
        }
        let piece = escaped(&data[done..done + len]);
        let head = format!("X{:x},{len:x}:", AT + done as u64);
        accepted(rsp, &[head.as_bytes(), &piece].concat())?;
        done += len;
    }
    Ok(done as u64)
}

/// The longest `X10000000,fff:`.
const HEAD: usize = 14;

fn write_hex(rsp: &mut Rsp, data: &[u8]) -> Result<u64> {
    let room = (rsp.packet_size() - FRAME - HEAD) / 2;
    for (n, piece) in data.chunks(room).enumerate() {
        let digits: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
        let body = format!("M{:x},{:x}:{digits}", AT + (n * room) as u64, piece.len());
        accepted(rsp, body.as_bytes())?;
    }
    Ok(data.len() as u64)
}

fn accepted(rsp: &mut Rsp, body: &[u8]) -> Result<()> {
    let said = rsp.request(body)?;
    ensure!(said == b"OK", "a write gave {:?}", String::from_utf8_lossy(&said));
    Ok(())
}

fn read(rsp: &mut Rsp, data: &[u8]) -> Result<u64> {
    let mut done = 0;
    while done < data.len() {
        let asked = (data.len() - done).min(rsp.packet_size());
        let said = rsp.request(format!("x{:x},{asked:x}", AT + done as u64).as_bytes())?;
        let Some(piece) = said.strip_prefix(b"b") else {
            anyhow::bail!("a read gave {:?}", String::from_utf8_lossy(&said));
        };
        // Fewer than asked for is what fits.
        ensure!(!piece.is_empty() && data[done..].starts_with(piece), "not what was written");
        done += piece.len();
    }
    Ok(done as u64)
}

fn read_hex(rsp: &mut Rsp, data: &[u8]) -> Result<u64> {
    let room = (rsp.packet_size() - FRAME) / 2;
    for (n, wanted) in data.chunks(room).enumerate() {
        let body = format!("m{:x},{:x}", AT + (n * room) as u64, wanted.len());
        let piece = unhex(&rsp.request(body.as_bytes())?)?;
        ensure!(piece == wanted, "{} bytes, not what was written", piece.len());
    }
    Ok(data.len() as u64)
}

/// Bytes that do not compress (xorshift, Marsaglia 2003).
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..LEN).map(|_| word()).collect()
}
