//! MTRRs as real machines have them, and the memory types that follow, written down.

use crate::memory::Memory;
use paging::ept;
use paging::mtrr::{MTRR_CAP, MTRR_DEF_TYPE, MTRR_FIX, MTRR_PHYSBASE0, MemoryType, Mtrrs, Run};
use paging::table::{PageSize, Root, leaf, map_typed, tables_for, tables_for_types};
use std::collections::HashMap;

use MemoryType::{
    Uncacheable as UC, WriteBack as WB, WriteCombining as WC, WriteProtected as WP,
    WriteThrough as WT,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The MTRRs of a machine: address bits, DEF_TYPE, pairs as (base, bytes, type), fixed ranges.
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    bits: u8,
    def_type: u64,
    variable: Vec<(u64, u64)>,
    fixed: [u64; 11],
    /// First byte behind what is mapped.
    pub(crate) end: u64,
    /// The types from 0 to `end`: where each ends.
    expected: Vec<(u64, MemoryType)>,
}

/// Base and mask of one range, as firmware programs them.
fn pair(bits: u8, base: u64, len: u64, kind: MemoryType) -> (u64, u64) {
    (base | kind as u64, ((1 << bits) - 1) & !(len - 1) | 1 << 11)
}

const WB8: u64 = 0x0606_0606_0606_0606;
const WP8: u64 = 0x0505_0505_0505_0505;
/// RAM, the VGA's window, its BIOS, and the system's in shadow RAM.
const FIXED: [u64; 11] = [WB8, WB8, 0, WP8, WP8, 0, 0, WP8, WP8, WP8, WP8];
const E: u64 = 1 << 11;
const FE: u64 = 1 << 10;

/// The types of [`FIXED`], and what follows the first MiB.
fn above_fixed(rest: &[(u64, MemoryType)]) -> Vec<(u64, MemoryType)> {
    let low = [(640 * KIB, WB), (768 * KIB, UC), (832 * KIB, WP), (896 * KIB, UC), (MIB, WP)];
    low.into_iter().chain(rest.iter().copied()).collect()
}

pub(crate) fn all() -> Vec<Layout> {
    let layout = |name, bits, def_type, ranges: &[(u64, u64, MemoryType)], fixed, end, expected| {
        let variable =
            ranges.iter().map(|&(base, len, kind)| pair(bits, base, len, kind)).collect();
        Layout { name, bits, def_type, variable, fixed, end, expected }
    };
    let tib = 1 << 40;
    vec![
        // Two sockets: WB by default, one hole for devices below 4 GiB, one far above RAM.
        layout(
            "server",
            46,
            E | FE | 6,
            &[(2 * GIB, 2 * GIB, UC), (56 * tib, 512 * GIB, UC)],
            FIXED,
            57 * tib,
            above_fixed(&[
                (2 * GIB, WB),
                (4 * GIB, UC),
                (56 * tib, WB),
                (56 * tib + 512 * GIB, UC),
                (57 * tib, WB),
            ]),
        ),
        // UC by default, 16 GiB of RAM, of which 1 GiB above because of the devices.
        layout(
            "desktop",
            39,
            E | FE,
            &[(0, 16 * GIB, WB), (16 * GIB, GIB, WB), (3 * GIB, GIB, UC)],
            FIXED,
            20 * GIB,
            above_fixed(&[(3 * GIB, WB), (4 * GIB, UC), (17 * GIB, WB), (20 * GIB, UC)]),
        ),
        // 8 GiB; below 4 GiB RAM ends at 2782 MiB, for 2 MiB of TSEG, 32 MiB of graphics memory and its
        // table lie there; the flash is WP.
        layout(
            "laptop with graphics stolen memory",
            36,
            E | FE,
            &[
                (4092 * MIB, 4 * MIB, WP),
                (0, 2 * GIB, WB),
                (2 * GIB, 512 * MIB, WB),
                (2560 * MIB, 256 * MIB, WB),
                (2782 * MIB, 2 * MIB, UC),
                (2784 * MIB, 32 * MIB, UC),
                (4 * GIB, 4 * GIB, WB),
                (8 * GIB, GIB, WB),
                (9 * GIB, 256 * MIB, WB),
                (9 * GIB + 254 * MIB, 2 * MIB, UC),
            ],
            FIXED,
            10 * GIB,
            above_fixed(&[
                (2782 * MIB, WB),
                (4092 * MIB, UC),
                (4 * GIB, WP),
                (9 * GIB + 254 * MIB, WB),
                (10 * GIB, UC),
            ]),
        ),
        // A driver has made the first half of the card's aperture WC; an older one overlaps RAM's WB, which the
        // manual does not define.
        layout(
            "write-combining frame buffer",
            40,
            E | FE,
            &[(0, 2 * GIB, WB), (0xD000_0000, 128 * MIB, WC), (0x7F00_0000, 8 * MIB, WC)],
            FIXED,
            4 * GIB,
            above_fixed(&[
                (0x7F00_0000, WB),
                (0x7F80_0000, UC),
                (2 * GIB, WB),
                (0xD000_0000, UC),
                (0xD800_0000, WC),
                (4 * GIB, UC),
            ]),
        ),
        // Every size of fixed range changes somewhere, and WT overlaps WB above.
        layout(
            "fixed ranges mixed",
            36,
            E | FE,
            &[(0, GIB, WB), (512 * MIB, 64 * MIB, WT)],
            [
                0x0006_0606_0606_0606,
                0x0406_0606_0606_0606,
                0x0101_0101_0101_0101,
                0x0505_0505_0506_0505,
                0,
                0,
                0x0600_0000_0000_0000,
                WP8,
                WP8,
                WP8,
                0x0405_0505_0505_0505,
            ],
            GIB,
            vec![
                (448 * KIB, WB),
                (512 * KIB, UC),
                (624 * KIB, WB),
                (640 * KIB, WT),
                (768 * KIB, WC),
                (776 * KIB, WP),
                (780 * KIB, WB),
                (800 * KIB, WP),
                (892 * KIB, UC),
                (896 * KIB, WB),
                (1020 * KIB, WP),
                (MIB, WT),
                (512 * MIB, WB),
                (576 * MIB, WT),
                (GIB, WB),
            ],
        ),
        layout("MTRRs off", 46, FE | 6, &[(0, 2 * GIB, WB)], FIXED, 64 * GIB, vec![(64 * GIB, UC)]),
        // As SeaBIOS leaves QEMU's and Bochs's PC.
        layout(
            "emulated PC",
            40,
            E | FE | 6,
            &[(3 * GIB, GIB, UC)],
            [WB8, WB8, 0, WP8, WP8, WP8, WP8, WP8, WP8, WP8, WP8],
            6 * GIB,
            vec![
                (640 * KIB, WB),
                (768 * KIB, UC),
                (MIB, WP),
                (3 * GIB, WB),
                (4 * GIB, UC),
                (6 * GIB, WB),
            ],
        ),
        // The firmware has a fixed range off, and believes that addresses have 36 bits: they have 39, and
        // each range is there eight times.
        Layout {
            name: "masks too short",
            bits: 39,
            def_type: E,
            variable: vec![pair(36, 0, 4 * GIB, WB), pair(36, 3 * GIB, GIB, UC)],
            fixed: FIXED,
            end: 136 * GIB,
            expected: vec![
                (3 * GIB, WB),
                (64 * GIB, UC),
                (67 * GIB, WB),
                (128 * GIB, UC),
                (131 * GIB, WB),
                (136 * GIB, UC),
            ],
        },
    ]
}

impl Layout {
    pub(crate) fn mtrrs(&self) -> Mtrrs {
        let mut msrs: HashMap<u32, u64> = HashMap::new();
        // WC, fixed ranges, ten pairs.
        msrs.insert(MTRR_CAP, 0x50A);
        msrs.insert(MTRR_DEF_TYPE, self.def_type);
        msrs.extend(MTRR_FIX.into_iter().zip(self.fixed));
        for (number, (base, mask)) in (MTRR_PHYSBASE0..).step_by(2).zip(&self.variable) {
            msrs.extend([(number, *base), (number + 1, *mask)]);
        }
        Mtrrs::read_from(self.bits, |msr| msrs.get(&msr).copied().unwrap_or(0))
    }
}

#[test]
fn types_of_real_machines() {
    for layout in all() {
        let mtrrs = layout.mtrrs();
        let runs: Vec<Run> = mtrrs.runs(0, layout.end).map(Result::unwrap).collect();
        let mut from = 0;
        let expected: Vec<Run> = layout
            .expected
            .iter()
            .map(|&(to, kind)| Run { from: std::mem::replace(&mut from, to), to, kind })
            .collect();
        assert_eq!(runs, expected, "{}", layout.name);
    }
}

#[test]
fn tables_of_real_machines() {
    for layout in all() {
        let mtrrs = layout.mtrrs();
        for max in [PageSize::Size2M, PageSize::Size1G] {
            // 57 TiB of 2 MiB pages prove nothing more.
            let end = if max == PageSize::Size2M { layout.end.min(64 * GIB) } else { layout.end };
            let mut memory = Memory::new();
            let root = Root::ept(0x8000);
            let before = memory.left;
            map_typed(&mut memory, root, &mtrrs, 0..end, ept::ALL, max).unwrap();
            let taken = before - memory.left;
            let said = tables_for(end, max) + tables_for_types(&mtrrs, end, max).unwrap();
            assert_eq!(taken, said, "{}: tables", layout.name);
            // Every leaf has its type throughout, and is as large as that allows.
            let mut at = 0;
            while at < end {
                let (_, entry, size) = leaf(&memory, root, at).unwrap();
                let kind = ept::type_of(entry).unwrap();
                let whole: Vec<Run> =
                    mtrrs.runs(at, at + size.bytes()).map(Result::unwrap).collect();
                assert!(
                    matches!(whole[..], [run] if run.kind == kind),
                    "{}: {at:x} {size:?} {entry:x} but {whole:x?}",
                    layout.name
                );
                assert_eq!(entry & (ept::ALL | ept::IGNORE_PAT), ept::ALL);
                for larger in [PageSize::Size2M, PageSize::Size1G] {
                    let base = at & !(larger.bytes() - 1);
                    if larger > size && larger <= max && base + larger.bytes() <= end {
                        let mut around = mtrrs.runs(base, base + larger.bytes());
                        around.next();
                        assert!(around.next().is_some(), "{}: {at:x} is small", layout.name);
                    }
                }
                at += size.bytes();
            }
        }
    }
}
