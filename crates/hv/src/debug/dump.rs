//! `xp`: physical memory as numbers, 16 bytes a line.
use core::fmt;
use wire::{Dump, Format};

/// Bytes of a line.
const LINE: u64 = 16;

/// Writes what is asked for; `read` fills all it is given or fails.
pub(crate) fn write(
    what: Dump,
    out: &mut dyn fmt::Write,
    mut read: impl FnMut(u64, &mut [u8]) -> bool,
) -> fmt::Result {
    let Dump { addr, count, format, size } = what;
    let size = u64::from(size.clamp(1, 8));
    let per_line = LINE.checked_div(size).unwrap_or(1);
    for n in 0..u64::from(count) {
        let at = n.checked_mul(size).and_then(|offset| addr.checked_add(offset));
        let mut bytes = [0; 8];
        let there = at
            .is_some_and(|at| bytes.get_mut(..size as usize).is_some_and(|bytes| read(at, bytes)));
        let first = n.checked_rem(per_line) == Some(0);
        if first && n != 0 {
            out.write_char('\n')?;
        }
        let (Some(at), true) = (at, there) else {
            if !first {
                out.write_char('\n')?;
            }
            let at = at.unwrap_or(u64::MAX);
            return writeln!(out, "{at:016x}: no memory of the guest's");
        };
        if first {
            write!(out, "{at:016x}:")?;
        }
        number(out, format, size, u64::from_le_bytes(bytes))?;
    }
    out.write_char('\n')
}

fn number(out: &mut dyn fmt::Write, format: Format, size: u64, value: u64) -> fmt::Result {
    let bits = (size as u32).wrapping_mul(8);
    let digits = (size as usize).wrapping_mul(2).wrapping_add(2);
    let octal = bits.div_ceil(3) as usize;
    match format {
        Format::Hexadecimal => write!(out, " {value:#0digits$x}"),
        Format::Octal => write!(out, " 0{value:0octal$o}"),
        Format::Unsigned => write!(out, " {value}"),
        Format::Decimal => {
            let unused = 64_u32.wrapping_sub(bits);
            write!(out, " {}", (value.wrapping_shl(unused) as i64).wrapping_shr(unused))
        }
        Format::Character => match char::from(value as u8) {
            c @ ' '..='~' if value < 0x80 => write!(out, " '{c}'"),
            _ => write!(out, " '\\x{value:02x}'"),
        },
    }
}
