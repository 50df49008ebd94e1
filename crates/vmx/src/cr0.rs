//! Which values MOV to CR0 takes (SDM 2B, MOV - Move to/from Control Registers; 3A, 2.5). Pure.
use x86defs::cr;

/// What decides beside the value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now {
    pub(crate) cr0: u64,
    pub(crate) cr4: u64,
    pub(crate) efer: u64,
    /// CS.L.
    pub(crate) code64: bool,
}

impl Now {
    /// Whether `value` is taken, and not #GP. What is in memory, PAE's pointers, is not looked at.
    pub(crate) fn takes(self, value: u64) -> bool {
        let long = self.efer & cr::EFER_LMA != 0;
        // Outside 64-bit mode the operand has 32 bits.
        let value = if long && self.code64 { value } else { value & 0xffff_ffff };
        let has = |bit| value & bit != 0;
        let ends = self.cr0 & cr::CR0_PG != 0 && !has(cr::CR0_PG);
        let begins = self.cr0 & cr::CR0_PG == 0 && has(cr::CR0_PG);
        let enters = begins && self.efer & cr::EFER_LME != 0;
        value >> 32 == 0
            && (has(cr::CR0_PE) || !has(cr::CR0_PG))
            && (has(cr::CR0_CD) || !has(cr::CR0_NW))
            && (has(cr::CR0_WP) || self.cr4 & cr::CR4_CET == 0)
            && !(ends && (self.cr4 & cr::CR4_PCIDE != 0 || long && self.code64))
            && !(enters && (self.cr4 & cr::CR4_PAE == 0 || self.code64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTECTED: u64 = cr::CR0_PE;
    const PAGED: u64 = cr::CR0_PE | cr::CR0_PG;

    #[test]
    fn what_is_never_taken() {
        let real = Now::default();
        assert!(real.takes(0) && real.takes(PAGED));
        assert!(!real.takes(cr::CR0_PG));
        assert!(!real.takes(cr::CR0_NW) && real.takes(cr::CR0_NW | cr::CR0_CD));
        let shadow_stacks = Now { cr4: cr::CR4_CET, ..real };
        assert!(!shadow_stacks.takes(PAGED) && shadow_stacks.takes(PAGED | cr::CR0_WP));
    }

    #[test]
    fn the_upper_half_is_there_in_64_bit_code_alone() {
        let long =
            Now { cr0: PAGED, cr4: cr::CR4_PAE, efer: cr::EFER_LME | cr::EFER_LMA, code64: true };
        assert!(!long.takes(PAGED | 1 << 32));
        assert!(Now { code64: false, ..long }.takes(PAGED | 1 << 32));
        assert!(Now { efer: 0, ..long }.takes(PAGED | 1 << 32));
    }

    #[test]
    fn the_ways_into_long_mode_and_out_of_it() {
        let ready = Now { cr0: PROTECTED, cr4: cr::CR4_PAE, efer: cr::EFER_LME, code64: false };
        assert!(ready.takes(PAGED));
        assert!(!Now { cr4: 0, ..ready }.takes(PAGED), "without PAE");
        assert!(!Now { code64: true, ..ready }.takes(PAGED), "CS.L is 1 already");
        assert!(Now { cr4: 0, efer: 0, ..ready }.takes(PAGED));
        let long = Now { cr0: PAGED, efer: cr::EFER_LME | cr::EFER_LMA, ..ready };
        assert!(long.takes(PROTECTED), "from compatibility mode");
        assert!(!Now { code64: true, ..long }.takes(PROTECTED));
        assert!(!Now { cr4: cr::CR4_PAE | cr::CR4_PCIDE, ..long }.takes(PROTECTED));
    }
}
