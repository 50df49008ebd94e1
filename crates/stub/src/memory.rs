//! The packets that read and write memory: what `gdbstub` does not check, and what it does not know.

use crate::{Output, PACKET, Target, reply};

/// Reads memory at a guest-physical address, or at a linear one as `cpu` translates it.
pub(crate) fn read(
    target: &mut dyn Target,
    cpu: usize,
    physical: bool,
    addr: u64,
    out: &mut [u8],
) -> usize {
    match physical {
        true => target.read_physical(addr, out),
        false => target.read_memory(cpu, addr, out),
    }
}

/// Writes where [`read`] reads.
pub(crate) fn write(
    target: &mut dyn Target,
    cpu: usize,
    physical: bool,
    addr: u64,
    data: &[u8],
) -> bool {
    match physical {
        true => target.write_physical(addr, data),
        false => target.write_memory(cpu, addr, data),
    }
}

/// Whether `m`'s `addr,length` asks for what fits a reply. `gdbstub` reads a longer range piece by
/// piece for as long as it is told to, which is for ever if the length says so.
pub(crate) fn readable(range: &[u8]) -> bool {
    parse(range).is_some_and(|(_, len)| len <= PACKET as u64 / 2)
}

/// Whether what follows the letter of `M` or `X` has as many bytes as it says. `gdbstub` ignores the length,
/// and a packet cut short would be taken for the whole.
pub(crate) fn writable(packet: &[u8], binary: bool) -> bool {
    let mut parts = packet.splitn(2, |&byte| byte == b':');
    let (Some(range), Some(data)) = (parts.next(), parts.next()) else { return false };
    // An escape and what it escapes are one byte.
    let (escapes, open) = data.iter().fold((0_usize, false), |(count, open), &byte| {
        let opens = byte == b'}' && !open;
        (count.saturating_add(usize::from(opens)), opens)
    });
    let given = match binary {
        true if open => return false,
        true => data.len().saturating_sub(escapes),
        false if data.len() & 1 != 0 => return false,
        false => data.len() / 2,
    };
    parse(range).is_some_and(|(_, len)| len == given as u64)
}

/// Answers `x` (gdb 16 and later) of `range` by a packet of `longest` bytes at most, with `scratch` to work
/// in. `false` if the range makes no sense.
pub(crate) fn binary(
    target: &mut dyn Target,
    (cpu, physical): (usize, bool),
    (range, longest): (&[u8], usize),
    scratch: &mut [u8],
    out: &mut dyn Output,
) -> bool {
    let Some((addr, len)) = parse(range) else { return false };
    // If none is escaped: `$b`, `#` and the checksum are the rest of the packet.
    let most = longest.saturating_sub(5);
    let len = usize::try_from(len).unwrap_or(most).min(most);
    let Some(room) = scratch.get_mut(..len) else { return false };
    match read(target, cpu, physical, addr, room) {
        0 if len != 0 => reply::send(out, format_args!("E0e")),
        // Fewer than asked for say how far the memory goes, or what a packet holds.
        read => reply::binary(out, b'b', room.get(..read).unwrap_or_default(), longest),
    }
    true
}

/// `addr,length`.
pub(crate) fn parse(range: &[u8]) -> Option<(u64, u64)> {
    let mut parts = range.splitn(2, |&byte| byte == b',');
    Some((hex(parts.next()?)?, hex(parts.next()?)?))
}

/// A number of at most 16 hexadecimal digits.
pub(crate) fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        Some(value << 4 | u64::from(char::from(digit).to_digit(16)?))
    })
}
