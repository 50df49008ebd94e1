//! What each kind of access may do to each kind of page.

use crate::memory::Memory;
use paging::walk::{Access, Paging, WalkError};

const WP: u64 = 1 << 16;
const SMEP: u64 = 1 << 20;
const SMAP: u64 = 1 << 21;
/// Two-level paging, for rights do not depend on the mode.
const PAGING: Paging = Paging { cr0: 1 << 31, cr3: 0x1000, cr4: 1 << 4, efer: 0 };

const READ_ONLY: u32 = 0x81;
const WRITABLE: u32 = 0x83;
const USER_READ_ONLY: u32 = 0x85;
const USER_WRITABLE: u32 = 0x87;

fn allowed(cr0: u64, cr4: u64, pde: u32, access: Access) -> bool {
    let paging = Paging { cr0: PAGING.cr0 | cr0, cr4: PAGING.cr4 | cr4, ..PAGING };
    match paging.translate(&Memory::with32(&[(0x1000, pde)]), 0x1234, access) {
        Ok(found) => {
            assert_eq!(found.gpa, 0x1234);
            true
        }
        Err(error) => {
            assert_eq!(error, WalkError::Protection);
            false
        }
    }
}

#[test]
fn user() {
    for access in [Access::USER_READ, Access::USER_WRITE, Access::USER_FETCH] {
        assert!(!allowed(0, 0, WRITABLE, access), "{access:?}");
        assert!(allowed(0, SMEP | SMAP, USER_WRITABLE, access), "{access:?}");
    }
    assert!(allowed(0, 0, USER_READ_ONLY, Access::USER_READ));
    // WP or not, a user never writes a read-only page.
    assert!(!allowed(0, 0, USER_READ_ONLY, Access::USER_WRITE));
}

#[test]
fn write_protect() {
    for pde in [READ_ONLY, USER_READ_ONLY] {
        assert!(allowed(0, 0, pde, Access::WRITE));
        assert!(!allowed(WP, 0, pde, Access::WRITE));
        assert!(allowed(WP, 0, pde, Access::READ));
    }
    assert!(allowed(WP, 0, WRITABLE, Access::WRITE));
}

#[test]
fn smep() {
    assert!(allowed(0, 0, USER_WRITABLE, Access::FETCH));
    assert!(!allowed(0, SMEP, USER_WRITABLE, Access::FETCH));
    assert!(allowed(0, SMEP, USER_WRITABLE, Access::READ));
    assert!(allowed(0, SMEP, WRITABLE, Access::FETCH));
}

#[test]
fn smap() {
    for access in [Access::READ, Access::WRITE] {
        let no_ac = Access { ac: false, ..access };
        assert!(allowed(0, 0, USER_WRITABLE, no_ac));
        assert!(!allowed(0, SMAP, USER_WRITABLE, no_ac));
        assert!(allowed(0, SMAP, USER_WRITABLE, access));
        assert!(allowed(0, SMAP, WRITABLE, no_ac));
    }
    assert!(allowed(0, SMAP, USER_WRITABLE, Access { ac: false, ..Access::FETCH }));
}

#[test]
fn rights_are_those_of_all_levels_together() {
    for (pde, pte) in [(0x2005, 0x3003), (0x2003, 0x3005)] {
        let memory = Memory::with32(&[(0x1000, pde), (0x2000, pte)]);
        let found = PAGING.lookup(&memory, 0).unwrap();
        assert!(!found.writable && !found.user, "{pde:#x} {pte:#x}");
    }
}
