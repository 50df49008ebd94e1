//! What an access may do to a page that is present.

use super::{Paging, Translation};

const CR0_WP: u64 = 1 << 16;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;

/// What is to be done with the address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A write. Not together with `fetch`.
    pub write: bool,
    /// By CPL 3; otherwise with supervisor rights.
    pub user: bool,
    /// An instruction fetch.
    pub fetch: bool,
    /// RFLAGS.AC, which lifts SMAP. Clear for implicit supervisor accesses (to the GDT, IDT, TSS).
    pub ac: bool,
}

impl Access {
    /// A supervisor's read, past SMAP.
    pub const READ: Self = Self { write: false, user: false, fetch: false, ac: true };
    /// A supervisor's write, past SMAP.
    pub const WRITE: Self = Self { write: true, ..Self::READ };
    /// A supervisor's instruction fetch.
    pub const FETCH: Self = Self { fetch: true, ..Self::READ };
    /// A read at CPL 3.
    pub const USER_READ: Self = Self { user: true, ..Self::READ };
    /// A write at CPL 3.
    pub const USER_WRITE: Self = Self { user: true, ..Self::WRITE };
    /// An instruction fetch at CPL 3.
    pub const USER_FETCH: Self = Self { user: true, ..Self::FETCH };
}

impl Paging {
    /// Whether the rights of `page` allow this access (`AMD APM 2, 5.6`; `Intel SDM 3A, 4.6.1`).
    pub(super) const fn allows(&self, page: &Translation, access: Access) -> bool {
        if access.fetch && !page.executable {
            return false;
        }
        if access.user {
            return page.user && (page.writable || !access.write);
        }
        if page.user {
            if access.fetch && self.cr4 & CR4_SMEP != 0 {
                return false;
            }
            if !access.fetch && !access.ac && self.cr4 & CR4_SMAP != 0 {
                return false;
            }
        }
        !access.write || page.writable || self.cr0 & CR0_WP == 0
    }
}
