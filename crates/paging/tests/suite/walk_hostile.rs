//! Tables of random content: the walk ends, soon, and says something that holds.

use crate::memory::Memory;
use paging::walk::{Access, Paging, PhysRead, WalkError};
use proptest::prelude::*;
use std::cell::Cell;

/// Every word of 4 GiB of RAM is made from its address, and mostly leads back into it.
struct Noise {
    seed: u64,
    and: u64,
    or: u64,
    reads: Cell<u32>,
}

impl PhysRead for Noise {
    fn read_u32(&self, gpa: u64) -> Option<u32> {
        self.read_u64(gpa & !7).map(|word| (word >> ((gpa & 4) * 8)) as u32 | self.or as u32)
    }

    fn read_u64(&self, gpa: u64) -> Option<u64> {
        self.reads.set(self.reads.get() + 1);
        let word = (gpa ^ self.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (gpa < 1 << 32).then_some((word ^ (word >> 29)) & self.and | self.or)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_walk_ends(
        registers: [u64; 4],
        seed: u64,
        and in prop_oneof![Just(u64::MAX), Just(0xFFFF_FF7F), Just(0xFFFF_FFFF)],
        or in 0u64..8,
        linear in prop_oneof![any::<u64>(), any::<u64>().prop_map(|l| (l as i64 >> 17) as u64)],
        kind in 0u8..16,
    ) {
        let [cr0, cr3, cr4, efer] = registers;
        let paging = Paging { cr0, cr3: cr3 & 0xFFFF_FFFF, cr4, efer };
        let memory = Noise { seed, and, or, reads: Cell::new(0) };
        let access = Access {
            write: kind & 1 != 0,
            user: kind & 2 != 0,
            fetch: kind & 4 != 0,
            ac: kind & 8 != 0,
        };
        let checked = paging.translate(&memory, linear, access);
        prop_assert!(memory.reads.get() <= 5);
        memory.reads.set(0);
        let looked = paging.lookup(&memory, linear);
        prop_assert!(memory.reads.get() <= 5);
        match checked {
            Ok(_) => prop_assert_eq!(looked, checked),
            Err(WalkError::Protection) => prop_assert!(looked.is_ok()),
            // What lies behind a reserved bit only the debugger sees.
            Err(WalkError::Reserved { .. }) => {}
            Err(_) => prop_assert_eq!(looked, checked),
        }
        if let Ok(found) = looked {
            prop_assert!(found.gpa < 1 << 52);
            prop_assert_eq!((found.gpa ^ linear) & 0xFFF, 0);
            prop_assert_eq!((found.gpa ^ linear) & (found.page_size - 1), 0);
        }
    }
}

#[test]
fn a_table_that_is_its_own_parent() {
    // The PML4 is reached again at each level, and is at last the page.
    let memory = Memory::with(&[(0x1000, 0x1003)]);
    let paging = Paging { cr0: 1 << 31, cr3: 0x1000, cr4: 1 << 5, efer: 1 << 10 };
    assert_eq!(paging.lookup(&memory, 0x10).unwrap().gpa, 0x1010);
}
