//! The resident image: checking the ELF module and laying it out at its run address.
//!
//! The module comes through the boot loader and may be truncated or another file altogether, so
//! everything it says is checked before the first byte is written.

use core::fmt;

use elf::ElfBytes;
use elf::abi;
use elf::dynamic::DynamicTable;
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::parse::ParseError;
use elf::segment::ProgramHeader;

/// Bytes in a page: the unit segments are protected in.
const PAGE: u64 = 4096;

/// Most loadable segments an image may have; static PIE links have four or five.
const MAX_SEGMENTS: usize = 16;

/// The largest image taken, bytes in memory. Larger means a file that is no resident image.
const MAX_LEN: u64 = 64 << 20;

/// Bytes of one `Elf64_Relr`.
const RELR_LEN: u64 = 8;
/// Packed relative relocations (gABI, "Dynamic Section"): where the table is, its bytes, those of an entry.
const DT_RELR: i64 = 36;
const DT_RELRSZ: i64 = 35;
const DT_RELRENT: i64 = 37;

/// One loadable segment, addresses relative to the image's first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts, bytes from the image's start; any alignment.
    pub start: u64,
    /// Bytes in memory.
    pub len: u64,
    /// Where its bytes lie in the file.
    pub(crate) file: u64,
    /// How many of them; the rest is zero.
    pub(crate) file_len: u64,
    /// Writable (`PF_W`).
    pub write: bool,
    /// Executable (`PF_X`).
    pub execute: bool,
}

impl Segment {
    /// First page, bytes from the image's start.
    #[must_use]
    pub const fn first_page(&self) -> u64 {
        self.start & !(PAGE - 1)
    }

    /// End of the last page, bytes from the image's start.
    #[must_use]
    pub const fn end_page(&self) -> u64 {
        (self.start + self.len).next_multiple_of(PAGE)
    }

    /// Whether `len` bytes at `at` lie inside.
    fn contains(&self, at: u64, len: u64) -> bool {
        at >= self.start && at.checked_add(len).is_some_and(|end| end <= self.start + self.len)
    }
}

/// Why a module is not a resident image that can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not a 64-bit little-endian ELF file, or cut short.
    NotElf,
    /// Another machine or not position-independent.
    NotStaticPie,
    /// It asks for a dynamic linker, shared libraries, thread-local storage or relocations other than packed relative ones.
    NeedsLinker,
    /// A segment, the dynamic section or the relocation table is outside its bounds, overlaps
    /// another or is misaligned.
    BadLayout,
    /// A segment is both writable and executable.
    WriteAndExecute,
    /// A relocation changes bytes outside the image's segments, at this address.
    RelocationTarget(u64),
    /// The entry point is not in an executable segment.
    BadEntry,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotElf => f.write_str("it is no 64-bit ELF file or is cut short"),
            Error::NotStaticPie => f.write_str("it is no static PIE for x86-64"),
            Error::NeedsLinker => f.write_str("it needs a dynamic linker"),
            Error::BadLayout => f.write_str("its segments or tables overlap or lie outside it"),
            Error::WriteAndExecute => f.write_str("a segment is both writable and executable"),
            Error::RelocationTarget(at) => write!(f, "a relocation at {at:#x} is outside of it"),
            Error::BadEntry => f.write_str("its entry point is not in executable code"),
        }
    }
}

impl From<ParseError> for Error {
    fn from(_: ParseError) -> Self {
        Error::NotElf
    }
}

/// A checked image, ready to be laid out.
#[derive(Debug)]
pub struct Image<'a> {
    file: &'a [u8],
    segments: [Segment; MAX_SEGMENTS],
    count: usize,
    /// The link address of the image's first byte.
    base: u64,
    len: u64,
    entry: u64,
    relr: &'a [u8],
}

impl<'a> Image<'a> {
    /// Checks `file` completely: afterwards [`Image::load`] only fails for want of room.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn parse(file: &'a [u8]) -> Result<Self, Error> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file)?;
        if elf.ehdr.class != Class::ELF64 {
            return Err(Error::NotElf);
        }
        if elf.ehdr.e_machine != abi::EM_X86_64 || elf.ehdr.e_type != abi::ET_DYN {
            return Err(Error::NotStaticPie);
        }
        let headers = elf.segments().ok_or(Error::NotElf)?;
        let mut image = Image {
            file,
            segments: [Segment::default(); MAX_SEGMENTS],
            count: 0,
            base: 0,
            len: 0,
            entry: 0,
            relr: &[],
        };
        for header in headers.iter() {
            match header.p_type {
                abi::PT_LOAD => image.add(&header)?,
                abi::PT_INTERP | abi::PT_TLS => return Err(Error::NeedsLinker),
                _ => {}
            }
        }
        if image.count == 0 {
            return Err(Error::BadLayout);
        }
        for header in headers.iter().filter(|header| header.p_type == abi::PT_DYNAMIC) {
            let table = DynamicTable::new(LittleEndian, Class::ELF64, elf.segment_data(&header)?);
            image.relr = image.find_relr(&table)?;
        }
        relocations(image.relr, |at| image.check_relocation(at))?;
        let entry = elf.ehdr.e_entry.checked_sub(image.base).ok_or(Error::BadEntry)?;
        if !image.segments().iter().any(|segment| segment.execute && segment.contains(entry, 1)) {
            return Err(Error::BadEntry);
        }
        image.entry = entry;
        Ok(image)
    }

    /// The loadable segments, ascending; no two share a page.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments[..self.count]
    }

    /// Bytes in memory, a multiple of 4 KiB.
    #[must_use]
    pub fn memory_len(&self) -> u64 {
        self.len
    }

    /// The entry point, bytes from the image's start.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Lays the image out in `memory` (as long as [`Image::memory_len`]) for running at address `run_at`.
    ///
    /// # Errors
    /// [`Error::BadLayout`] if `memory` has another length.
    pub fn load(&self, memory: &mut [u8], run_at: u64) -> Result<(), Error> {
        if memory.len() as u64 != self.len {
            return Err(Error::BadLayout);
        }
        memory.fill(0);
        for segment in self.segments() {
            let from = part(self.file, segment.file, segment.file_len)?;
            let start = usize::try_from(segment.start).map_err(|_| Error::BadLayout)?;
            memory
                .get_mut(start..)
                .and_then(|rest| rest.get_mut(..from.len()))
                .ok_or(Error::BadLayout)?
                .copy_from_slice(from);
        }
        let delta = run_at.wrapping_sub(self.base);
        relocations(self.relr, |address| {
            let place = usize::try_from(address.wrapping_sub(self.base))
                .ok()
                .and_then(|at| memory.get_mut(at..)?.first_chunk_mut::<8>())
                .ok_or(Error::RelocationTarget(address))?;
            *place = u64::from_le_bytes(*place).wrapping_add(delta).to_le_bytes();
            Ok(())
        })
    }

    /// Takes one `PT_LOAD` header. ELF orders them by address (gABI, "Program Header").
    fn add(&mut self, header: &ProgramHeader) -> Result<(), Error> {
        let end = header.p_vaddr.checked_add(header.p_memsz).ok_or(Error::BadLayout)?;
        if header.p_filesz > header.p_memsz {
            return Err(Error::BadLayout);
        }
        part(self.file, header.p_offset, header.p_filesz)?;
        if header.p_memsz == 0 {
            return Ok(());
        }
        if self.count == 0 {
            self.base = header.p_vaddr & !(PAGE - 1);
        }
        let start = header.p_vaddr.checked_sub(self.base).ok_or(Error::BadLayout)?;
        if end - self.base > MAX_LEN || start & !(PAGE - 1) < self.len {
            return Err(Error::BadLayout);
        }
        let segment = Segment {
            start,
            len: header.p_memsz,
            file: header.p_offset,
            file_len: header.p_filesz,
            write: header.p_flags & abi::PF_W != 0,
            execute: header.p_flags & abi::PF_X != 0,
        };
        if segment.write && segment.execute {
            return Err(Error::WriteAndExecute);
        }
        *self.segments.get_mut(self.count).ok_or(Error::BadLayout)? = segment;
        self.count += 1;
        self.len = segment.end_page();
        Ok(())
    }

    /// The relocation table named by the dynamic section; it must lie in one segment's file bytes.
    fn find_relr(&self, table: &DynamicTable<'_, LittleEndian>) -> Result<&'a [u8], Error> {
        let (mut at, mut len, mut entry) = (0, 0, RELR_LEN);
        for dynamic in table.iter() {
            let value = dynamic.d_val();
            match dynamic.d_tag {
                abi::DT_NULL => break,
                DT_RELR => at = value,
                DT_RELRSZ => len = value,
                DT_RELRENT => entry = value,
                // Tables in other formats; empty ones do no harm.
                abi::DT_RELSZ | abi::DT_RELASZ | abi::DT_PLTRELSZ if value != 0 => {
                    return Err(Error::NeedsLinker);
                }
                abi::DT_NEEDED => return Err(Error::NeedsLinker),
                _ => {}
            }
        }
        if len == 0 {
            return Ok(&[]);
        }
        if entry != RELR_LEN || len % RELR_LEN != 0 {
            return Err(Error::BadLayout);
        }
        let at = at.checked_sub(self.base).ok_or(Error::BadLayout)?;
        let segment =
            self.segments().iter().find(|s| s.contains(at, len)).ok_or(Error::BadLayout)?;
        let offset = at - segment.start;
        if segment.file_len < offset || segment.file_len - offset < len {
            return Err(Error::BadLayout);
        }
        part(self.file, segment.file + offset, len)
    }

    /// The word at this link address is inside.
    fn check_relocation(&self, address: u64) -> Result<(), Error> {
        let inside = |at| self.segments().iter().any(|s| s.contains(at, 8));
        let at = address.checked_sub(self.base).filter(|at| inside(*at));
        at.map(drop).ok_or(Error::RelocationTarget(address))
    }
}

/// Visits the address of each word that the image's address is to be added to. An even entry is one such address; an odd one is
/// bits for the 63 words behind the last.
fn relocations(table: &[u8], mut visit: impl FnMut(u64) -> Result<(), Error>) -> Result<(), Error> {
    let mut next: Option<u64> = None;
    for entry in table.chunks_exact(RELR_LEN as usize) {
        let entry = u64::from_le_bytes(entry.try_into().map_err(|_| Error::BadLayout)?);
        if entry & 1 == 0 {
            visit(entry)?;
            next = entry.checked_add(8);
            continue;
        }
        let first = next.ok_or(Error::BadLayout)?;
        for bit in (0..63).filter(|bit| entry >> (bit + 1) & 1 != 0) {
            visit(first.wrapping_add(8 * bit))?;
        }
        next = first.checked_add(8 * 63);
    }
    Ok(())
}

/// `len` bytes of `file` from `at`.
fn part(file: &[u8], at: u64, len: u64) -> Result<&[u8], Error> {
    let at = usize::try_from(at).map_err(|_| Error::BadLayout)?;
    let len = usize::try_from(len).map_err(|_| Error::BadLayout)?;
    file.get(at..).and_then(|rest| rest.get(..len)).ok_or(Error::BadLayout)
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
