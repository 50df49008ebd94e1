//! ACPI tables: found from the RSDP, read, and changed in place where the guest must see less.
//!
//! Checksums decide which RSDP and which root is taken. Other tables are used whatever theirs is,
//! since operating systems do the same (ACPICA only warns): a CPU listed in a table with a wrong
//! sum is a CPU that gets started. A table that is changed gets a right checksum.
use crate::le::{sum, u32_at, u64_at};
use crate::{Error, Phys};

pub mod fadt;
pub mod madt;
mod rsdp;
pub mod spcr;

pub use rsdp::{Rsdp, find_rsdp};

/// Length of the header all tables share; ACPI 6.5, 5.2.6.
const HEADER: usize = 36;
/// Longest table believed. The longest real ones are DSDTs of under 1 MiB.
const MAX_TABLE: usize = 16 << 20;
/// Longest root table believed: a thousand pointers.
const MAX_ROOT: usize = 8 << 10;

/// Offsets of the common header's fields.
const LENGTH: usize = 4;
const CHECKSUM: usize = 9;

/// A table in memory.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// Physical address.
    pub at: u64,
    /// All of it, header included.
    pub bytes: &'a [u8],
}

impl<'a> Table<'a> {
    /// Reads the table at `at`. `name` is for the error.
    ///
    /// # Errors
    /// [`Error::Unreadable`], or [`Error::Malformed`] if its length is out of bounds.
    pub fn read<P: Phys + ?Sized>(
        mem: &'a P,
        at: u64,
        name: &'static str,
    ) -> Result<Table<'a>, Error> {
        let header = mem.bytes(at, HEADER).ok_or(Error::Unreadable { at })?;
        let len = u32_at(header, LENGTH).map_or(0, |len| len as usize);
        if !(HEADER..=MAX_TABLE).contains(&len) {
            return Err(Error::Malformed { table: name, at: at.saturating_add(LENGTH as u64) });
        }
        let bytes = mem.bytes(at, len).ok_or(Error::Unreadable { at })?;
        Ok(Self { at, bytes })
    }

    /// The four letters of its name.
    #[must_use]
    pub fn signature(&self) -> [u8; 4] {
        self.bytes.first_chunk().copied().unwrap_or_default()
    }

    /// Whether its bytes sum to 0.
    #[must_use]
    pub fn checksum_ok(&self) -> bool {
        sum(self.bytes) == 0
    }
}

/// An RSDT or XSDT; ACPI 6.5, 5.2.7 and 5.2.8.
#[derive(Clone, Copy, Debug)]
struct Root {
    at: u64,
    /// Bytes of one pointer: 4 or 8.
    width: usize,
    /// Bytes of the whole table.
    len: usize,
}

impl Root {
    /// `None` if there is nothing at `at` that an operating system would take for this root.
    fn read<P: Phys + ?Sized>(
        mem: &P,
        at: u64,
        signature: &[u8; 4],
        width: usize,
    ) -> Result<Option<Self>, Error> {
        if at == 0 {
            return Ok(None);
        }
        let header = mem.bytes(at, HEADER).ok_or(Error::Unreadable { at })?;
        if !header.starts_with(signature) {
            return Ok(None);
        }
        let len = Table::read(mem, at, "RSDT/XSDT")?.bytes.len();
        if len > MAX_ROOT {
            return Err(Error::Malformed { table: "RSDT/XSDT", at });
        }
        Ok(Some(Self { at, width, len }))
    }

    /// Address of the pointer numbered `index`; `None` past the last one.
    fn slot(&self, index: usize) -> Option<u64> {
        let offset = index.checked_mul(self.width)?.checked_add(HEADER)?;
        let whole = offset.checked_add(self.width)? <= self.len;
        self.at.checked_add(offset as u64).filter(|_| whole)
    }

    /// The pointer numbered `index`; `None` past the last one.
    fn pointer<P: Phys + ?Sized>(&self, mem: &P, index: usize) -> Option<u64> {
        let bytes = mem.bytes(self.slot(index)?, self.width)?;
        u64_at(bytes, 0).or_else(|| u32_at(bytes, 0).map(u64::from))
    }
}

/// Both roots, the XSDT first. An operating system takes one of them, and which is its choice: what
/// is hidden must be hidden in both.
fn roots<P: Phys + ?Sized>(mem: &P, rsdp: &Rsdp) -> Result<[Option<Root>; 2], Error> {
    let xsdt = Root::read(mem, rsdp.xsdt, b"XSDT", 8)?;
    let rsdt = Root::read(mem, u64::from(rsdp.rsdt), b"RSDT", 4)?;
    Ok([xsdt, rsdt])
}

/// The tables named by the root: the XSDT's if there is a valid one, else the RSDT's.
#[derive(Debug)]
pub struct Tables<'a, P: ?Sized> {
    mem: &'a P,
    root: Option<Root>,
    next: usize,
}

impl<'a, P: Phys + ?Sized> Tables<'a, P> {
    /// Begins at the first table. A machine without a readable root has none.
    pub fn new(mem: &'a P, rsdp: &Rsdp) -> Self {
        let valid = |root: &Root| sum(mem.bytes(root.at, root.len).unwrap_or(&[1])) == 0;
        let xsdt = Root::read(mem, rsdp.xsdt, b"XSDT", 8).ok().flatten().filter(valid);
        let rsdt = || Root::read(mem, u64::from(rsdp.rsdt), b"RSDT", 4).ok().flatten();
        Self { mem, root: xsdt.or_else(rsdt), next: 0 }
    }
}

impl<'a, P: Phys + ?Sized> Iterator for Tables<'a, P> {
    type Item = Table<'a>;

    fn next(&mut self) -> Option<Table<'a>> {
        // Bounded by the pointers of the root: null and unreadable tables are passed over.
        loop {
            let at = self.root?.pointer(self.mem, self.next)?;
            self.next = self.next.checked_add(1)?;
            let table = (at != 0).then(|| Table::read(self.mem, at, ""));
            if let Some(Ok(table)) = table {
                return Some(table);
            }
        }
    }
}

/// The first table with this signature, if there is one.
pub fn table<'a, P: Phys + ?Sized>(
    mem: &'a P,
    rsdp: &Rsdp,
    signature: &[u8; 4],
) -> Option<Table<'a>> {
    Tables::new(mem, rsdp).find(|table| &table.signature() == signature)
}

/// A register's address in one of ACPI's spaces; ACPI 6.5, 5.2.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gas {
    /// 0 = memory, 1 = I/O ports, others as the specification says.
    pub space: u8,
    /// Address in that space.
    pub address: u64,
}

impl Gas {
    const LEN: usize = 12;

    /// The structure at `offset`; `None` if it is not all there.
    fn read(bytes: &[u8], offset: usize) -> Option<Self> {
        let bytes = bytes.get(offset..)?.get(..Self::LEN)?;
        Some(Self { space: *bytes.first()?, address: u64_at(bytes, 4)? })
    }

    /// The I/O port it names; `None` if it names none.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let port = u16::try_from(self.address).ok()?;
        (self.space == 1 && port != 0).then_some(port)
    }
}
