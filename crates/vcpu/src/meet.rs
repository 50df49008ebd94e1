//! What becomes of two exceptions that meet (SDM 3A, 6.15, "Interrupt 8"; APM 2, 8.2.9).
use x86defs::vector;

/// What an exception makes of one whose delivery raised it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// The second is delivered.
    Second,
    /// A double fault.
    Double,
    /// A shutdown.
    Triple,
}

/// What becomes of `second`, raised by the delivery of the exception `first` (SDM 3A, table 6-5).
#[must_use]
pub fn meet(first: u8, second: u8) -> Meeting {
    let contributory = |n| matches!(n, 0 | vector::TS..=vector::GP | 21);
    match (first, second) {
        (vector::DF, n) if contributory(n) || n == vector::PF => Meeting::Triple,
        (vector::PF, n) if contributory(n) || n == vector::PF => Meeting::Double,
        (first, n) if contributory(first) && contributory(n) => Meeting::Double,
        _ => Meeting::Second,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn double_faults() {
        assert_eq!(meet(vector::GP, vector::NP), Meeting::Double);
        assert_eq!(meet(vector::PF, vector::PF), Meeting::Double);
        assert_eq!(meet(vector::PF, vector::GP), Meeting::Double);
        assert_eq!(meet(vector::GP, vector::PF), Meeting::Second);
        assert_eq!(meet(vector::UD, vector::GP), Meeting::Second);
        assert_eq!(meet(vector::GP, vector::DB), Meeting::Second);
        assert_eq!(meet(vector::DF, vector::PF), Meeting::Triple);
        assert_eq!(meet(vector::DF, vector::GP), Meeting::Triple);
    }
}
