//! Types of memory, against an oracle that asks every register for every page.

use paging::mtrr::{
    MTRR_CAP, MTRR_DEF_TYPE, MTRR_FIX, MTRR_PHYSBASE0, MemoryType, Mtrrs, Refused, Run,
};
use proptest::prelude::*;

use MemoryType::{
    Uncacheable as UC, WriteBack as WB, WriteCombining as WC, WriteProtected as WP,
    WriteThrough as WT,
};

/// CPUs have 32 address bits at least: the oracle asks for pages of which 20 bits differ.
const BITS: u8 = 32;

/// The registers as numbers, as the oracle reads them.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) def_type: u64,
    pub(crate) fixed: [u64; 11],
    pub(crate) variable: Vec<(u64, u64)>,
}

impl Raw {
    pub(crate) fn mtrrs(&self) -> Mtrrs {
        let cap = 0x500 | self.variable.len() as u64;
        let mut mtrrs = Mtrrs::read_from(BITS, |msr| if msr == MTRR_CAP { cap } else { 0 });
        mtrrs.write(MTRR_DEF_TYPE, self.def_type).unwrap();
        for (msr, value) in MTRR_FIX.into_iter().zip(self.fixed) {
            mtrrs.write(msr, value).unwrap();
        }
        for (msr, (base, mask)) in (MTRR_PHYSBASE0..).step_by(2).zip(&self.variable) {
            mtrrs.write(msr, *base).unwrap();
            mtrrs.write(msr + 1, *mask).unwrap();
        }
        mtrrs
    }

    /// SDM 3A, 12.11.4.1, word by word.
    pub(crate) fn kind(&self, page: u64) -> MemoryType {
        let named = |value: u64| MemoryType::new(value as u8).unwrap();
        if self.def_type & 1 << 11 == 0 {
            return UC;
        }
        if self.def_type & 1 << 10 != 0 && page < 0x10_0000 {
            let mut ranges = Vec::new();
            ranges.extend((0..8).map(|n| (n * 0x1_0000, 0x1_0000)));
            ranges.extend((0..16).map(|n| (0x8_0000 + n * 0x4000, 0x4000)));
            ranges.extend((0..64).map(|n| (0xC_0000 + n * 0x1000, 0x1000)));
            let index = ranges.iter().position(|(base, len)| page - base < *len).unwrap();
            return named(u64::from(self.fixed[index / 8].to_le_bytes()[index % 8]));
        }
        let there: Vec<MemoryType> = self
            .variable
            .iter()
            .filter(|(base, mask)| {
                mask & 1 << 11 != 0 && page & (mask & !0xFFF) == base & mask & !0xFFF
            })
            .map(|(base, _)| named(*base & 0xFF))
            .collect();
        match there[..] {
            [] => named(self.def_type & 0xFF),
            [first, ref rest @ ..] if rest.iter().all(|kind| *kind == first) => first,
            _ if there.contains(&UC) => UC,
            _ if there.iter().all(|kind| matches!(kind, WT | WB)) => WT,
            _ => UC,
        }
    }
}

fn kind() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![0_u64, 1, 4, 5, 6, 6, 6])
}

/// Pairs that are powers of two in the lowest 64 MiB, or have any mask that leaves few pieces there.
fn variable() -> impl Strategy<Value = (u64, u64)> {
    let whole = (12_u32..26, 0_u64..1 << 14, any::<bool>()).prop_map(|(size, page, valid)| {
        let mask = 0xFFFF_FFFF & !((1 << size) - 1);
        ((page << 12) & mask, mask | u64::from(valid) << 11)
    });
    let gaps = (0_u64..1 << 14, 18_u32..26, prop::collection::vec(18_u32..32, 0..4)).prop_map(
        |(page, size, gaps)| {
            let mask =
                gaps.iter().fold(0xFFFF_FFFF & !((1 << size) - 1), |mask, bit| mask & !(1 << bit));
            (page << 12, mask | 1 << 11)
        },
    );
    (prop_oneof![3 => whole, 1 => gaps], kind())
        .prop_map(|((base, mask), kind)| (base | kind, mask))
}

pub(crate) fn raw() -> impl Strategy<Value = Raw> {
    let def_type = (kind(), any::<bool>(), 0..8_u32)
        .prop_map(|(kind, fe, e)| kind | u64::from(fe) << 10 | u64::from(e != 0) << 11);
    let fixed = prop::collection::vec(kind(), 88).prop_map(|kinds| {
        let mut fixed = [0; 11];
        for (register, eight) in fixed.iter_mut().zip(kinds.chunks(8)) {
            *register = eight.iter().rev().fold(0, |sofar, kind| sofar << 8 | kind);
        }
        fixed
    });
    (def_type, fixed, prop::collection::vec(variable(), 0..9))
        .prop_map(|(def_type, fixed, variable)| Raw { def_type, fixed, variable })
}

/// The runs, checked to be in order, without gaps and as long as can be.
fn checked(mtrrs: &Mtrrs, from: u64, to: u64) -> Vec<Run> {
    let runs: Vec<Run> = mtrrs.runs(from, to).map(Result::unwrap).collect();
    assert_eq!(runs.first().unwrap().from, from);
    assert_eq!(runs.last().unwrap().to, to);
    assert!(runs.windows(2).all(|two| two[0].to == two[1].from && two[0].kind != two[1].kind));
    runs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_page_has_the_oracles_type(raw in raw(), from in 0_u64..1 << 13) {
        let mtrrs = raw.mtrrs();
        for Run { from, to, kind } in checked(&mtrrs, from << 12, 64 << 20) {
            for page in (from..to).step_by(4096) {
                prop_assert_eq!(raw.kind(page), kind, "{:x}", page);
                prop_assert_eq!(mtrrs.type_of(page | 0xFFF), kind);
            }
        }
        // The highest addresses, too.
        for page in ((1 << 32) - (8 << 20)..1 << 32).step_by(4096) {
            prop_assert_eq!(mtrrs.type_of(page), raw.kind(page));
        }
    }

    #[test]
    fn what_changes(raw in raw(), register in 0_usize..40, kind in kind(), pair in variable()) {
        let before = raw.mtrrs();
        let (mut now, mut after) = (before.clone(), raw.clone());
        // One register is another.
        if register == 0 {
            after.def_type ^= 1 << 11;
        } else if register < 12 {
            after.fixed[register - 1] = kind * 0x0101_0101_0101_0101;
        } else if !raw.variable.is_empty() {
            let index = register % raw.variable.len();
            after.variable[index] = pair;
        }
        now.clone_from(&after.mtrrs());
        let mut changed = vec![None; 1 << 14];
        for run in now.changes(&before, 0, 64 << 20) {
            let Run { from, to, kind } = run.unwrap();
            prop_assert!(from < to);
            changed[(from >> 12) as usize..(to >> 12) as usize].fill(Some(kind));
        }
        for (page, changed) in (0_u64..).step_by(4096).zip(changed) {
            let (old, new) = (raw.kind(page), after.kind(page));
            prop_assert_eq!(changed, Some(new).filter(|new| *new != old), "{:x}", page);
        }
    }
}

#[test]
fn overlaps() {
    let all = [UC, WC, WT, WP, WB];
    for one in all {
        assert_eq!(one.overlap(one), one);
        assert_eq!(one.overlap(UC), UC);
        for other in all {
            assert_eq!(one.overlap(other), other.overlap(one));
        }
    }
    assert_eq!(WT.overlap(WB), WT);
    assert_eq!(WC.overlap(WB), UC, "undefined");
    assert_eq!(WP.overlap(WT), UC, "undefined");
}

#[test]
fn without_mtrrs_all_is_write_back() {
    let none = Mtrrs::none();
    assert_eq!(checked(&none, 0, 1 << 52), [Run { from: 0, to: 1 << 52, kind: WB }]);
    assert_eq!(none.read(MTRR_PHYSBASE0), None);
    assert_eq!(none.read(MTRR_FIX[0]), None);
}

#[test]
fn a_mask_with_low_gaps_is_refused() {
    // Every other page up to 32 bits.
    let raw = Raw { def_type: 0xC00, fixed: [0; 11], variable: vec![(6, 0x1800)] };
    let mtrrs = raw.mtrrs();
    assert_eq!(mtrrs.type_of(4096), UC);
    assert_eq!(mtrrs.type_of(8192 + 1), UC, "below 1 MiB the fixed ranges count");
    assert_eq!(mtrrs.type_of((1 << 20) + 8192), WB);
    assert!(mtrrs.runs(0, 1 << 32).any(|run| run.is_err()));
    assert!(mtrrs.runs(0, 1 << 32).count() < 5000, "and bounded work");
    // Alike on both sides, so nothing to say but much to look at.
    let same = Raw { variable: vec![(0, 0x1800)], ..raw }.mtrrs();
    assert!(same.runs(0, 1 << 32).any(|run| run.is_err()));
}

#[test]
fn registers_refuse_what_the_cpu_refuses() {
    // WC, no fixed ranges, two pairs; then as above without WC.
    let cap = |value: u64| Mtrrs::read_from(36, move |msr| if msr == MTRR_CAP { value } else { 0 });
    let mut mtrrs = cap(0x402);
    let mut refused = |msr, value| {
        let before = mtrrs.clone();
        let result = mtrrs.write(msr, value);
        assert_eq!(mtrrs == before, result.is_err() || value == 0);
        result == Err(Refused)
    };
    assert!(refused(MTRR_CAP, 0x402) && refused(MTRR_FIX[0], 0) && refused(0x204, 0));
    assert!(refused(0x1F2, 0) && refused(0x277, 0) && refused(0x1FF, 0));
    assert!(
        refused(MTRR_DEF_TYPE, 1 << 9)
            && refused(MTRR_DEF_TYPE, 2)
            && refused(MTRR_DEF_TYPE, 0x807)
    );
    assert!(!refused(MTRR_DEF_TYPE, 0xC06));
    assert!(refused(0x200, 3) && refused(0x200, 0x100) && refused(0x200, 1 << 36));
    assert!(!refused(0x202, 0xF_F000_0001));
    assert!(refused(0x201, 1) && refused(0x201, 1 << 36 | 1 << 11));
    assert!(!refused(0x203, 0xF_FFFF_F800));
    assert_eq!(mtrrs.read(0x202), Some(0xF_F000_0001));
    assert_eq!(mtrrs.read(0x203), Some(0xF_FFFF_F800));
    assert_eq!(mtrrs.read(0x204), None);
    assert_eq!(mtrrs.read(MTRR_DEF_TYPE), Some(0xC06));
    assert_eq!(mtrrs.type_of(0xF_F000_0FFF), WC);
    assert_eq!(cap(0x102).write(0x200, 1), Err(Refused), "no WC");
    assert_eq!(cap(0x102).write(MTRR_FIX[10], 0x0600_0000_0000_0002), Err(Refused));
    assert_eq!(cap(0x102).write(MTRR_FIX[10], 0x0600_0000_0000_0004), Ok(()));
    assert_eq!(cap(0xFF).read(0x200 + 64), None, "32 pairs at most");
    assert_eq!(cap(0xFF).read(0x200 + 63), Some(0));
}
