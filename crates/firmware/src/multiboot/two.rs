//! Multiboot 2: a list of tags, each on an 8-byte boundary; 2.0, 3.6.
use super::{Error, Info, MAX_STRING, Module};
use crate::Phys;
use crate::le::u32_at;

/// Longest information believed, in bytes. Loaders copy ACPI's, SMBIOS's and UEFI's structures in.
const MAX_INFO: usize = 1 << 20;
/// Length of the fixed part before the first tag, and of a tag's type and size.
const HEADER: usize = 8;

const TAG_END: u32 = 0;
const TAG_COMMAND_LINE: u32 = 1;
const TAG_MODULE: u32 = 3;
const TAG_MEMORY: u32 = 4;
const TAG_BOOT_DEVICE: u32 = 5;
const TAG_MAP: u32 = 6;
const TAG_ACPI_OLD: u32 = 14;
const TAG_ACPI_NEW: u32 = 15;

/// Fills `out`; the result is `mem_lower` and `mem_upper` in KiB, if given.
pub(super) fn parse<'a, P: Phys + ?Sized>(
    mem: &'a P,
    at: u32,
    out: &mut Info<'a>,
) -> Result<Option<(u32, u32)>, Error> {
    let what = "information";
    let unreadable = Error::Unreadable { what, at };
    let header = mem.bytes(u64::from(at), HEADER).ok_or(unreadable)?;
    let total = u32_at(header, 0).map_or(0, |total| total as usize);
    if !(HEADER..=MAX_INFO).contains(&total) {
        return Err(Error::Malformed { what, at });
    }
    let info = mem.bytes(u64::from(at), total).ok_or(unreadable)?;

    let mut sizes = None;
    let mut offset = HEADER;
    // Bounded: every tag moves `offset` by at least 8.
    while let Some((kind, size, rest)) = info.get(offset..).and_then(head) {
        let at = at.saturating_add(u32::try_from(offset).unwrap_or(u32::MAX));
        let size = size as usize;
        let body = rest.get(HEADER..size).ok_or(Error::Malformed { what: "tag", at })?;
        tag(kind, body, at, out, &mut sizes)?;
        offset = offset.saturating_add(size.next_multiple_of(8));
    }
    Ok(sizes)
}

/// Type and size of the tag at the front, and all bytes from there; `None` at the end.
fn head(rest: &[u8]) -> Option<(u32, u32, &[u8])> {
    let (kind, size) = (u32_at(rest, 0)?, u32_at(rest, 4)?);
    (kind != TAG_END).then_some((kind, size, rest))
}

fn tag<'a>(
    kind: u32,
    body: &'a [u8],
    at: u32,
    out: &mut Info<'a>,
    sizes: &mut Option<(u32, u32)>,
) -> Result<(), Error> {
    let malformed = |what| Error::Malformed { what, at };
    let field = |offset, what| u32_at(body, offset).ok_or(malformed(what));
    match kind {
        TAG_COMMAND_LINE => {
            out.command_line = string(body).ok_or(malformed("command line"))?;
        }
        TAG_MODULE => {
            let what = "module";
            let (start, end) = (field(0, what)?, field(4, what)?);
            let string = body.get(8..).and_then(string).ok_or(malformed("module string"))?;
            out.add_module(Module { start, end, string }, at)?;
        }
        TAG_MEMORY => *sizes = Some((field(0, "memory sizes")?, field(4, "memory sizes")?)),
        TAG_BOOT_DEVICE => out.boot_drive = u8::try_from(field(0, "boot device")?).ok(),
        TAG_MAP => {
            let what = "memory map";
            let size = field(0, what)? as usize;
            if size < 20 {
                return Err(malformed(what));
            }
            let entries = body.get(8..).ok_or(malformed(what))?;
            entries.chunks_exact(size).try_for_each(|entry| out.add_entry(entry))?;
        }
        TAG_ACPI_OLD => out.acpi_rsdp = out.acpi_rsdp.or(Some(body)),
        TAG_ACPI_NEW => out.acpi_rsdp = Some(body),
        _ => {}
    }
    Ok(())
}

/// The string at the front, without its final 0.
fn string(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.iter().take(MAX_STRING).position(|byte| *byte == 0)?;
    bytes.get(..len)
}
