//! What a boot loader leaves: the input is the memory at its information, for either protocol.

use std::cell::Cell;

use crate::e820;
use firmware::{Phys, acpi::Rsdp, multiboot::Info, multiboot::MAX_MODULES, options};

/// Where the input lies.
const BASE: u64 = 0x9000;
const MAGIC: [u32; 3] = [0x2bad_b002, 0x36d7_6289, 0];
/// More questions than the longest strings and lists need.
const MOST: usize = 64 << 10;

struct Memory<'a> {
    bytes: &'a [u8],
    asked: Cell<usize>,
}

impl Phys for Memory<'_> {
    fn bytes(&self, at: u64, len: usize) -> Option<&[u8]> {
        self.asked.set(self.asked.get() + 1);
        assert!(self.asked.get() < MOST, "it does not end");
        let from = usize::try_from(at.checked_sub(BASE)?).ok()?;
        self.bytes.get(from..from.checked_add(len)?)
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let memory = Memory { bytes, asked: Cell::new(0) };
    let magic = MAGIC[usize::from(first % 3)];
    let at = BASE as u32 + u32::from(first >> 2);
    match Info::parse(&memory, magic, at) {
        Ok(info) => {
            assert!(info.modules().len() <= MAX_MODULES);
            assert!(info.modules().iter().all(|module| module.start <= module.end));
            assert!(info.modules().iter().all(|module| !module.string.contains(&0)));
            assert!(!info.command_line.contains(&0));
            e820::orderly(&info.map);
            e820::questions(&info.map);
            // As the loader goes on with it.
            let _ = options::parse(info.command_line).map_err(|error| error.to_string());
            info.acpi_rsdp.and_then(Rsdp::parse);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let base = BASE as u32;
    // Flags: memory, device, command line, modules, map; the map at 64, modules at 112, strings at 160.
    let mut one = words(&[0x4f, 639, 130_048, 0x8000_0000, base + 160, 1, base + 112, 0, 0, 0, 0]);
    one.extend(words(&[48, base + 64, 0, 0, 0]));
    one.extend(words(&[20, 0, 0, 0x9_f000, 0, 1, 20, 0x10_0000, 0, 0x7f0_0000, 0, 1]));
    one.extend(words(&[0x10_0000, 0x18_0000, base + 160, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    one.extend(b"wait link=uart:0x3f8\0");
    let mut two = words(&[0, 0, 1, 13]);
    two.extend(b"wait\0\0\0\0");
    two.extend(words(&[3, 18, 0x10_0000, 0x18_0000]));
    two.extend(b"a\0\0\0\0\0\0\0");
    two.extend(words(&[4, 16, 639, 130_048, 5, 20, 0x80, 0, 0, 0]));
    two.extend(words(&[6, 64, 24, 0, 0, 0, 0x9_f000, 0, 1, 0, 0x10_0000, 0, 0x7f0_0000, 0, 1, 0]));
    two.extend(words(&[14, 28]));
    two.extend(b"RSD PTR \0BOCHS \0\0\0\0\0\0\0\0\0");
    two.extend(words(&[0, 8]));
    let len = u32::try_from(two.len()).unwrap_or(0);
    two[..4].copy_from_slice(&len.to_le_bytes());
    vec![[vec![0], one].concat(), [vec![1], two].concat(), vec![2]]
}
