//! [`Event`] and the interruption-information words (SDM 3C, 24.8.3 and 24.9.3), and what a #DB that exited leaves in DR6.
use vcpu::Event;
use x86defs::vmx::event;
use x86defs::{dr, vector};

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

/// DR6 as the delivery of a #DB that exited would have made it of `old`, by the exit qualification (SDM 3C, table 27-1; 3B,
/// 17.2.3). A bus lock and a transaction are told there by a 1, in DR6 by a 0; of the two only RTM is set by others.
pub(crate) const fn dr6(old: u64, qualification: u64) -> u64 {
    let told = qualification & (dr::DR6_B | dr::DR6_BD | dr::DR6_BS);
    let cleared = qualification & (dr::DR6_BLD | dr::DR6_RTM);
    (old & !dr::DR6_B | told | dr::DR6_RTM) & !cleared
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
    fn causes_of_debug_exceptions() {
        assert_eq!(dr6(dr::DR6_INIT, 1), 0xffff_0ff1);
        assert_eq!(dr6(0xffff_0ff3, 1 << 14), 0xffff_4ff0, "the B bits are the last #DB's");
        assert_eq!(dr6(dr::DR6_INIT, dr::DR6_BLD), 0xffff_07f0, "a bus lock");
        assert_eq!(dr6(0xffff_07f0, 2), 0xffff_07f2, "which others do not undo");
        assert_eq!(dr6(dr::DR6_INIT, 1 | dr::DR6_RTM), 0xfffe_0ff1, "in a transaction");
        assert_eq!(dr6(0xfffe_0ff1, 1), 0xffff_0ff1);
    }
}
