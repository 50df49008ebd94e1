//! Multiboot 1: a structure of fixed offsets, whose flags say which fields count; 0.6.96, 3.3.
use super::{Error, Info, MAX_MODULES, MAX_STRING, Module};
use crate::Phys;
use crate::le::u32_at;

/// Bytes of the structure that are looked at.
const INFO: usize = 52;
/// Longest memory map believed, in bytes.
const MAX_MAP: usize = 64 << 10;

const HAS_MEMORY: u32 = 1;
const HAS_BOOT_DEVICE: u32 = 1 << 1;
const HAS_COMMAND_LINE: u32 = 1 << 2;
const HAS_MODULES: u32 = 1 << 3;
const HAS_MAP: u32 = 1 << 6;

fn bytes<'a, P: Phys + ?Sized>(
    mem: &'a P,
    at: u32,
    len: usize,
    what: &'static str,
) -> Result<&'a [u8], Error> {
    mem.bytes(u64::from(at), len).ok_or(Error::Unreadable { what, at })
}

/// The string at `at`, without its final 0; address 0 stands for none.
fn string<'a, P: Phys + ?Sized>(
    mem: &'a P,
    at: u32,
    what: &'static str,
) -> Result<&'a [u8], Error> {
    if at == 0 {
        return Ok(&[]);
    }
    // Byte by byte: what follows the string may not be there.
    for len in 0..MAX_STRING {
        let here = u64::from(at).saturating_add(len as u64);
        match mem.bytes(here, 1) {
            Some([0]) => return bytes(mem, at, len, what),
            Some(_) => {}
            None => return Err(Error::Unreadable { what, at }),
        }
    }
    Err(Error::Malformed { what, at })
}

/// Fills `out`; the result is `mem_lower` and `mem_upper` in KiB, if given.
pub(super) fn parse<'a, P: Phys + ?Sized>(
    mem: &'a P,
    at: u32,
    out: &mut Info<'a>,
) -> Result<Option<(u32, u32)>, Error> {
    let info = bytes(mem, at, INFO, "information")?;
    let field = |offset| u32_at(info, offset).unwrap_or(0);
    let has = |flag| field(0) & flag != 0;

    if has(HAS_BOOT_DEVICE) {
        let [.., drive] = field(12).to_le_bytes();
        out.boot_drive = Some(drive);
    }
    if has(HAS_COMMAND_LINE) {
        out.command_line = string(mem, field(16), "command line")?;
    }
    if has(HAS_MODULES) {
        for index in (0..field(20)).take(MAX_MODULES) {
            let at = field(24).saturating_add(index.saturating_mul(16));
            let entry = bytes(mem, at, 16, "module")?;
            let field = |offset| u32_at(entry, offset).unwrap_or(0);
            let string = string(mem, field(8), "module string")?;
            out.add_module(Module { start: field(0), end: field(4), string }, at)?;
        }
    }
    if has(HAS_MAP) {
        map(mem, field(48), field(44) as usize, out)?;
    }
    Ok(has(HAS_MEMORY).then(|| (field(4), field(8))))
}

/// Reads the map: each entry begins with its own length, which does not count itself.
fn map<'a, P: Phys + ?Sized>(
    mem: &'a P,
    at: u32,
    len: usize,
    out: &mut Info<'a>,
) -> Result<(), Error> {
    let malformed = Error::Malformed { what: "memory map", at };
    if len > MAX_MAP {
        return Err(malformed);
    }
    let mut rest = bytes(mem, at, len, "memory map")?;
    while let Some((size, tail)) = rest.split_first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        let (entry, next) = tail.split_at_checked(size).ok_or(malformed)?;
        if size < 20 {
            return Err(malformed);
        }
        out.add_entry(entry)?;
        rest = next;
    }
    Ok(())
}
