//! [`Event`] and the interruption-information words (SDM 3C, 24.8.3 and 24.9.3), and what becomes of two events
//! that meet (SDM 3A, 6.15, "Interrupt 8").
use vcpu::Event;
use x86defs::vector;
use x86defs::vmx::event;

/// The VM-entry word of an event, and its error code.
pub(crate) fn encode(what: Event) -> (u32, u32) {
    let (word, error) = match what {
        Event::Interrupt(vector) => (event::INTERRUPT | u32::from(vector), None),
        Event::Nmi => (event::NMI | 2, None),
        Event::Software(vector) => (event::SOFTWARE | u32::from(vector), None),
        Event::Exception(vector @ (vector::BP | vector::OF), _) => {
            (event::SOFTWARE_EXCEPTION | u32::from(vector), None)
        }
        Event::Exception(vector, error) => (event::EXCEPTION | u32::from(vector), error),
    };
    let valid = if error.is_some() { event::ERROR_VALID } else { 0 };
    (event::VALID | valid | word, error.unwrap_or(0))
}

/// The event of a word that is valid.
pub(crate) fn decode(word: u32, error: impl FnOnce() -> u32) -> Option<Event> {
    if word & event::VALID == 0 {
        return None;
    }
    let vector = word as u8;
    Some(match word & event::TYPE {
        event::INTERRUPT => Event::Interrupt(vector),
        event::NMI => Event::Nmi,
        event::SOFTWARE => Event::Software(vector),
        event::PRIVILEGED => Event::Exception(vector, None),
        _ => Event::Exception(vector, (word & event::ERROR_VALID != 0).then(error)),
    })
}

/// Whether the guest executes the instruction again that raised the event of this word, so that it is not to be
/// delivered again: INT n, INT3, INTO and INT1, for RIP still points to them.
pub(crate) fn executed_again(word: u32) -> bool {
    matches!(word & event::TYPE, event::SOFTWARE | event::PRIVILEGED | event::SOFTWARE_EXCEPTION)
}

/// Whether RIP is already behind the instruction that raised it.
pub(crate) fn is_software(what: Event) -> bool {
    matches!(what, Event::Software(_) | Event::Exception(vector::BP | vector::OF, _))
}

/// What an exception makes of one whose delivery raised it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// The second is delivered.
    Second,
    /// A double fault.
    Double,
    /// A shutdown.
    Triple,
}

/// What becomes of `second`, raised by the delivery of the exception `first` (SDM 3A, table 6-5).
pub(crate) fn meet(first: u8, second: u8) -> Meeting {
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
    fn words_round_trip() {
        for what in [
            Event::Interrupt(0x20),
            Event::Nmi,
            Event::Exception(6, None),
            Event::Exception(3, None),
            Event::Exception(14, Some(0xb)),
            Event::Software(0x80),
        ] {
            let (word, error) = encode(what);
            assert_eq!(decode(word, || error), Some(what));
        }
        assert_eq!(decode(0x20, || 0), None);
        assert_eq!(encode(Event::Exception(14, Some(2))), (0x8000_0b0e, 2));
    }

    #[test]
    fn software_interrupts_are_executed_again() {
        assert!(executed_again(encode(Event::Software(0x80)).0));
        assert!(executed_again(encode(Event::Exception(3, None)).0));
        assert!(!executed_again(encode(Event::Exception(1, None)).0));
        assert!(!executed_again(encode(Event::Interrupt(0x20)).0));
    }

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
