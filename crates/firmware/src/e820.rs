//! The BIOS memory map: ACPI 6.5, 15.1 (`INT 15h, E820h`), and the two older calls it must agree with.
use core::fmt;

/// Most entries a [`Map`] holds. Real maps have 5 to 40.
pub const MAX_ENTRIES: usize = 96;

const MIB: u64 = 1 << 20;

/// What a range is used for; ACPI 6.5, table 15.2. Values not named here pass through unchanged.
#[derive(Debug)]
pub enum Kind {}

impl Kind {
    /// RAM the operating system may use.
    pub const USABLE: u32 = 1;
    /// Not for the operating system.
    pub const RESERVED: u32 = 2;
    /// RAM with ACPI tables, usable once they have been read.
    pub const ACPI: u32 = 3;
    /// RAM that is saved and restored across sleep.
    pub const NVS: u32 = 4;
    /// RAM with errors.
    pub const UNUSABLE: u32 = 5;
    /// Memory that is present but not enabled.
    pub const DISABLED: u32 = 6;
    /// Persistent memory.
    pub const PERSISTENT: u32 = 7;
}

/// One range of the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// First byte, physical.
    pub base: u64,
    /// Length in bytes.
    pub len: u64,
    /// A [`Kind`].
    pub kind: u32,
    /// Extended attributes of ACPI 3.0: bit 0 set = the entry counts, bit 1 = non-volatile.
    pub attributes: u32,
}

impl Entry {
    /// A range with the attributes of ordinary memory.
    #[must_use]
    pub const fn new(base: u64, len: u64, kind: u32) -> Self {
        Self { base, len, kind, attributes: 1 }
    }

    /// First byte after the range; clipped to the address space if it wraps.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.base.saturating_add(self.len)
    }

    /// The entry as `INT 15h, E820h` stores it, the attributes of ACPI 3.0 included.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let (base, rest) = bytes.split_at_mut(8);
        let (len, rest) = rest.split_at_mut(8);
        let (kind, attributes) = rest.split_at_mut(4);
        base.copy_from_slice(&self.base.to_le_bytes());
        len.copy_from_slice(&self.len.to_le_bytes());
        kind.copy_from_slice(&self.kind.to_le_bytes());
        attributes.copy_from_slice(&self.attributes.to_le_bytes());
        bytes
    }

    /// Which of two overlapping claims holds: the one that lets the operating system do less.
    /// Kind and attributes break ties, so that the order of the entries never matters.
    fn restriction(&self) -> (u32, u32, u32) {
        let rank = match self.kind {
            Kind::USABLE => 0,
            Kind::ACPI => 1,
            Kind::NVS => 2,
            Kind::UNUSABLE => 5,
            Kind::RESERVED => 4,
            _ => 3,
        };
        (rank, self.kind, self.attributes)
    }

    const fn same_use(&self, other: &Self) -> bool {
        self.kind == other.kind && self.attributes == other.attributes
    }
}

/// The map has no room for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the memory map has more than {MAX_ENTRIES} ranges; expected at most as many")
    }
}

impl core::error::Error for Full {}

/// A memory map. The questions below are asked of a normalised map: see [`Map::normalise`].
#[derive(Clone, Debug)]
pub struct Map {
    entries: [Entry; MAX_ENTRIES],
    len: usize,
}

impl Default for Map {
    fn default() -> Self {
        Self::new()
    }
}

impl Map {
    /// The empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: [Entry::new(0, 0, 0); MAX_ENTRIES], len: 0 }
    }

    /// The entries, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        self.entries.get(..self.len).unwrap_or(&[])
    }

    /// Adds an entry as it is.
    ///
    /// # Errors
    /// [`Full`]; the map is unchanged.
    pub fn push(&mut self, entry: Entry) -> Result<(), Full> {
        *self.entries.get_mut(self.len).ok_or(Full)? = entry;
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// Sorts, resolves overlaps in favour of the more restricted use, merges equal neighbours,
    /// clips what wraps, drops what is empty. Should pulling overlaps apart need more room than
    /// there is, the smallest usable ranges are given up: memory lost, but none handed out twice.
    pub fn normalise(&mut self) {
        // Unused edges stay 0, sort first and bound nothing.
        let mut edges = [0; MAX_ENTRIES * 2];
        let real = self.entries().iter().flat_map(|entry| [entry.base, entry.end()]);
        edges.iter_mut().zip(real).for_each(|(slot, edge)| *slot = edge);
        edges.sort_unstable();

        let mut out = Self::new();
        for pair in edges.windows(2) {
            let &[from, to] = pair else { continue };
            let claims = self.entries().iter().filter(|e| e.base <= from && to <= e.end());
            if let Some(claim) = claims.max_by_key(|e| e.restriction()) {
                let part = Entry { base: from, len: to.saturating_sub(from), ..*claim };
                if out.join(part).is_err() {
                    out.replace_smallest_usable(part);
                }
            }
        }
        *self = out;
    }

    /// Takes RAM at `limit` and above, where the CPU has no addresses, out of the map: 2^52 is the most
    /// that any has (AMD APM 2, 5.3).
    pub fn limit_ram(&mut self, limit: u64) {
        let entries = self.entries.get_mut(..self.len).unwrap_or_default();
        for entry in entries {
            if matches!(entry.kind, Kind::USABLE | Kind::ACPI | Kind::NVS) && entry.end() > limit {
                entry.len = limit.saturating_sub(entry.base);
            }
        }
        self.normalise();
    }

    /// Makes `base .. base + len` [`Kind::RESERVED`], whatever was there, and normalises.
    ///
    /// # Errors
    /// [`Full`]; the map is unchanged.
    pub fn reserve(&mut self, base: u64, len: u64) -> Result<(), Full> {
        let hole = Entry::new(base, len, Kind::RESERVED);
        let mut old = self.clone();
        old.normalise();
        let mut out = Self::new();
        for e in old.entries() {
            out.join(Entry { len: hole.base.min(e.end()).saturating_sub(e.base), ..*e })?;
        }
        out.join(Entry { len: hole.end().saturating_sub(base), ..hole })?;
        for e in old.entries() {
            let base = hole.end().max(e.base);
            out.join(Entry { base, len: e.end().saturating_sub(base), ..*e })?;
        }
        *self = out;
        Ok(())
    }

    /// Highest multiple of `align` (a power of two) at or above 1 MiB where `len` bytes (not 0) are
    /// usable and end at or below `limit`.
    #[must_use]
    pub fn top_of_ram_below(&self, limit: u64, len: u64, align: u64) -> Option<u64> {
        if len == 0 || !align.is_power_of_two() {
            return None;
        }
        let fits = |e: &Entry| {
            let base = e.end().min(limit).checked_sub(len)? & !align.wrapping_sub(1);
            (base >= e.base.max(MIB)).then_some(base)
        };
        self.usable().filter_map(fits).max()
    }

    /// Bytes of usable RAM.
    #[must_use]
    pub fn usable_bytes(&self) -> u64 {
        self.usable().fold(0, |sum, e| sum.saturating_add(e.len))
    }

    /// End of the highest range that is RAM (usable, ACPI or NVS). Reserved ranges do not count:
    /// AMD machines report one near 1 TiB, where nothing is.
    #[must_use]
    pub fn highest_ram_end(&self) -> u64 {
        let is_ram = |e: &&Entry| matches!(e.kind, Kind::USABLE | Kind::ACPI | Kind::NVS);
        self.entries().iter().filter(is_ram).map(Entry::end).max().unwrap_or(0)
    }

    /// What `INT 15h, E801h` answers: KiB from 1 MiB to 16 MiB, at most 3C00h, and 64-KiB blocks
    /// from 16 MiB to the first hole below 4 GiB.
    #[must_use]
    pub fn e801(&self) -> (u16, u16) {
        let low = self.usable_from(MIB, 16 * MIB) >> 10;
        let high = self.usable_from(16 * MIB, 4096 * MIB) >> 16;
        (u16::try_from(low).unwrap_or(0), u16::try_from(high).unwrap_or(0))
    }

    /// What `INT 15h, 88h` answers: KiB of RAM from 1 MiB to the first hole, capped at 63 MiB as
    /// SeaBIOS and most machines do.
    #[must_use]
    pub fn ext88(&self) -> u16 {
        u16::try_from(self.usable_from(MIB, 64 * MIB) >> 10).unwrap_or(0)
    }

    fn usable(&self) -> impl Iterator<Item = &Entry> {
        self.entries().iter().filter(|e| e.kind == Kind::USABLE)
    }

    /// Bytes of usable RAM from `start` to the first hole or `limit`.
    fn usable_from(&self, start: u64, limit: u64) -> u64 {
        let grow = |end, e: &Entry| if e.base <= end { e.end().max(end) } else { end };
        self.usable().fold(start, grow).min(limit).saturating_sub(start)
    }

    /// Appends an entry, or lengthens the last one if both are one range of one use.
    fn join(&mut self, entry: Entry) -> Result<(), Full> {
        if entry.len == 0 {
            return Ok(());
        }
        let last = self.len.checked_sub(1).and_then(|last| self.entries.get_mut(last));
        match last {
            Some(last) if last.end() == entry.base && last.same_use(&entry) => {
                last.len = last.len.saturating_add(entry.len);
                Ok(())
            }
            _ => self.push(entry),
        }
    }

    /// Appends an entry to a full map in place of the smallest usable range, itself perhaps.
    fn replace_smallest_usable(&mut self, entry: Entry) {
        let usable = |(_, e): &(usize, &Entry)| e.kind == Kind::USABLE;
        let smallest = self.entries().iter().enumerate().filter(usable).min_by_key(|(_, e)| e.len);
        let Some((index, loser)) = smallest else { return };
        if entry.kind == Kind::USABLE && entry.len <= loser.len {
            return;
        }
        if let Some(tail) = self.entries.get_mut(index..) {
            tail.rotate_left(1);
        }
        if let Some(last) = self.entries.last_mut() {
            *last = entry;
        }
    }
}
