//! BIOS calls from real mode, and the memory map they give.

use crate::{cpu, labels, low};

labels!(low_bios, low_regs, low_bios_int);

/// Registers of a call, in and out.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the fields are the registers they are named after")]
pub struct Regs {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
    pub esi: u32,
    pub edi: u32,
    pub ebp: u32,
    pub eflags: u32,
    pub ds: u16,
    pub es: u16,
}

impl Regs {
    /// Whether the call reported an error.
    #[must_use]
    pub fn carry(&self) -> bool {
        self.eflags & 1 != 0
    }
}

/// `int number` in real mode, interrupts on.
#[must_use]
pub fn int(number: u8, r: Regs) -> Regs {
    cpu::write8(low_bios_int() + 1, number);
    for (n, v) in [r.eax, r.ebx, r.ecx, r.edx, r.esi, r.edi, r.ebp].into_iter().enumerate() {
        cpu::write32(low_regs() + 4 * n as u64, v);
    }
    cpu::write16(low_regs() + 32, r.ds);
    cpu::write16(low_regs() + 34, r.es);
    low::real(low_bios());
    let get = |n: u64| cpu::read32(low_regs() + 4 * n);
    Regs {
        eax: get(0),
        ebx: get(1),
        ecx: get(2),
        edx: get(3),
        esi: get(4),
        edi: get(5),
        ebp: get(6),
        eflags: get(7),
        ds: cpu::read16(low_regs() + 32),
        es: cpu::read16(low_regs() + 34),
    }
}

/// One range of the memory map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// 1 = usable.
    pub kind: u32,
}

/// A memory map of at most 64 ranges.
pub struct Map {
    ranges: [Range; 64],
    n: usize,
}

impl Map {
    /// The ranges as the BIOS gives them.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.ranges[..self.n]
    }
}

/// `int 15h` AX = E820h, to the end.
#[must_use]
pub fn e820() -> Map {
    const SMAP: u32 = 0x534d_4150;
    const BUFFER: u32 = 0x7c00;
    let mut map = Map { ranges: [Range::default(); 64], n: 0 };
    let mut ebx = 0;
    while map.n < map.ranges.len() {
        let r = Regs { eax: 0xe820, ebx, ecx: 24, edx: SMAP, edi: BUFFER, ..Regs::default() };
        let out = int(0x15, r);
        if out.carry() || out.eax != SMAP {
            break;
        }
        let at = u64::from(BUFFER);
        map.ranges[map.n] =
            Range { base: cpu::read64(at), size: cpu::read64(at + 8), kind: cpu::read32(at + 16) };
        map.n += 1;
        ebx = out.ebx;
        if ebx == 0 {
            break;
        }
    }
    map
}
