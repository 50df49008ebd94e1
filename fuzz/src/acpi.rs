//! Firmware tables, read and changed in place: RSDP, roots, FADT, MADT, SPCR, DBG2, the MP table.

use std::cell::Cell;

use firmware::{
    Error, Phys, PhysMut,
    acpi::{self, Rsdp, fadt, madt, spcr},
    mp_table,
};

/// Where the input lies: where an RSDP and an MP pointer are looked for.
const BASE: u64 = 0xf_0000;
/// More questions than the searches and a root of a thousand pointers need, for tables of this size.
const MOST: usize = 4 << 20;
/// The port that is to be hidden.
const PORT: u16 = 0x3f8;

struct Memory {
    bytes: Vec<u8>,
    read_only: bool,
    asked: Cell<usize>,
}

impl Memory {
    fn place(&self, at: u64, len: usize) -> Option<core::ops::Range<usize>> {
        self.asked.set(self.asked.get() + 1);
        assert!(self.asked.get() < MOST, "it does not end");
        let from = usize::try_from(at.checked_sub(BASE)?).ok()?;
        let to = from.checked_add(len)?;
        (to <= self.bytes.len()).then_some(from..to)
    }
}

impl Phys for Memory {
    fn bytes(&self, at: u64, len: usize) -> Option<&[u8]> {
        self.bytes.get(self.place(at, len)?)
    }
}

impl PhysMut for Memory {
    fn write(&mut self, at: u64, bytes: &[u8]) -> bool {
        let Some(place) = self.place(at, bytes.len()) else { return false };
        if !self.read_only {
            self.bytes[place].copy_from_slice(bytes);
        }
        true
    }
}

/// Makes `len` bytes at `at` sum to 0, that the fuzzer need not find out how.
fn right(bytes: &mut [u8], at: usize, len: usize, sum_at: usize) {
    let Some(part) = at.checked_add(len).and_then(|end| bytes.get_mut(at..end)) else { return };
    if let Some(old) = part.get(sum_at).copied() {
        let sum = part.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        part[sum_at] = old.wrapping_sub(sum);
    }
}

fn word(bytes: &[u8], at: usize) -> usize {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    field.map_or(0, |field| u32::from_le_bytes(*field) as usize)
}

pub(crate) fn run(bytes: &[u8]) {
    let Some((&how, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if how & 1 != 0 {
        right(&mut bytes, 0, 20, 8);
        right(&mut bytes, 0, 36, 32);
        for root in [word(&bytes, 16), word(&bytes, 24)] {
            if let Some(at) = root.checked_sub(BASE as usize) {
                let len = word(&bytes, at.saturating_add(4));
                right(&mut bytes, at, len, 9);
            }
        }
    }
    let before = bytes.clone();
    let mut memory = Memory { bytes, read_only: how & 2 != 0, asked: Cell::new(0) };
    if let Some(rsdp) = acpi::find_rsdp(&memory) {
        for table in acpi::Tables::new(&memory, &rsdp) {
            assert!(table.bytes.len() >= 36);
            let _ = table.checksum_ok();
        }
        fadt::find(&memory, &rsdp);
        if how & 4 != 0 {
            hide(&mut memory, &rsdp);
        }
        if how & 8 != 0 {
            disable(&mut memory, &rsdp, u32::from(how >> 6));
        }
    }
    if how & 16 != 0 {
        let listed = mp_table::count_cpus(&memory);
        let done = mp_table::disable_other_cpus(&mut memory, u32::from(how >> 6));
        if let (Ok(_), Err(error)) = (listed, done) {
            assert!(!error.to_string().is_empty());
        }
    }
    assert!(!memory.read_only || memory.bytes == before);
}

fn hide(memory: &mut Memory, rsdp: &Rsdp) {
    match spcr::hide_spcr(memory, rsdp, PORT) {
        Ok(true) => assert!(!memory.read_only, "hidden in memory that cannot be written"),
        Ok(false) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn disable(memory: &mut Memory, rsdp: &Rsdp, keep: u32) {
    let before = memory.bytes.clone();
    match madt::disable_other_cpus(memory, rsdp, keep) {
        Ok(done) => {
            // Whatever the tables were, no other CPU is listed now.
            let left = madt::count_cpus(memory, rsdp);
            assert!(matches!(left, Ok(0 | 1)), "{left:?} after {done:?}");
        }
        Err(Error::ReadOnly { .. }) => assert!(memory.read_only),
        Err(_) => assert_eq!(memory.bytes, before, "refused, and changed"),
    }
}

/// A table with a header.
fn table(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(36 + body.len()).unwrap_or(0);
    let mut out = [&name[..], &len.to_le_bytes(), &[0; 28], body].concat();
    right(&mut out, 0, len as usize, 9);
    out
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let base = BASE as u32;
    let (rsdt_at, xsdt_at) = (64, 128);
    let mut fadt = table(b"FACP", &[0; 208]);
    fadt[112 + 1] = 4;
    fadt[116] = 1;
    fadt[120..122].copy_from_slice(&0xcf9_u16.to_le_bytes());
    let cpu = |id: u8| [0, 8, id, id, 1, 0, 0, 0];
    let madt = table(
        b"APIC",
        &[&[0; 8][..], &cpu(0), &cpu(1), &[9, 16, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]]
            .concat(),
    );
    let spcr = table(b"SPCR", &[0, 0, 0, 0, 1, 8, 0, 1, 0xf8, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut device = vec![0, 34, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 22, 0, 0, 0];
    device.extend([1, 8, 0, 1, 0xf8, 3, 0, 0, 0, 0, 0, 0]);
    let dbg2 = table(b"DBG2", &[&[44, 0, 0, 0, 1, 0, 0, 0][..], &device].concat());
    let mut tables = Vec::new();
    let mut pointers = Vec::new();
    for one in [fadt, madt, spcr, dbg2] {
        pointers.push(base + 256 + u32::try_from(tables.len()).unwrap_or(0));
        tables.extend(one);
    }
    let narrow: Vec<u8> = pointers.iter().flat_map(|at| at.to_le_bytes()).collect();
    let wide: Vec<u8> = pointers.iter().flat_map(|at| u64::from(*at).to_le_bytes()).collect();
    let mut memory = vec![0; 256];
    memory[..8].copy_from_slice(b"RSD PTR ");
    memory[15] = 2;
    memory[16..20].copy_from_slice(&(base + rsdt_at).to_le_bytes());
    memory[24..28].copy_from_slice(&(base + xsdt_at).to_le_bytes());
    for (at, root) in [(rsdt_at, table(b"RSDT", &narrow)), (xsdt_at, table(b"XSDT", &wide))] {
        let at = at as usize;
        memory[at..at + root.len()].copy_from_slice(&root);
    }
    memory.extend(tables);
    // An MP pointer and its table behind them.
    memory.resize(memory.len().next_multiple_of(16), 0);
    let at = memory.len();
    let table_at = base + u32::try_from(at).unwrap_or(0) + 16;
    memory.extend([&b"_MP_"[..], &table_at.to_le_bytes(), &[1, 4, 0, 0, 0, 0, 0, 0]].concat());
    right(&mut memory, at, 16, 10);
    let processor = |id: u8| [&[0, id, 0x14, 1][..], &[0; 16]].concat();
    memory.extend([&b"PCMP"[..], &[84, 0, 4, 0], &[0; 36], &processor(0), &processor(1)].concat());
    [0x1d_u8, 0x1f, 0x5d, 0x05, 0x09, 0x10]
        .iter()
        .map(|how| [&[*how][..], &memory].concat())
        .collect()
}
