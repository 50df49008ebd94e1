//! [`Event`] and the event words of the VMCB (APM 2, 15.20).
use vcpu::Event;
use x86defs::vmcb::event;

/// The EVENTINJ word of an event.
pub(crate) fn encode(what: Event) -> u64 {
    event::VALID
        | match what {
            Event::Interrupt(vector) => event::INTR | u64::from(vector),
            Event::Nmi => event::NMI | 2,
            Event::Exception(vector, None) => event::EXCEPTION | u64::from(vector),
            Event::Exception(vector, Some(error)) => {
                event::EXCEPTION | event::ERROR_VALID | u64::from(vector) | u64::from(error) << 32
            }
            Event::Software(vector) => event::SOFTWARE | u64::from(vector),
        }
}

/// The event of an EVENTINJ or EXITINTINFO word, if it is valid.
pub(crate) fn decode(word: u64) -> Option<Event> {
    if word & event::VALID == 0 {
        return None;
    }
    let vector = word as u8;
    Some(match word & event::TYPE {
        event::INTR => Event::Interrupt(vector),
        event::NMI => Event::Nmi,
        event::SOFTWARE => Event::Software(vector),
        _ => {
            let error = (word & event::ERROR_VALID != 0).then_some((word >> 32) as u32);
            Event::Exception(vector, error)
        }
    })
}

/// What must be delivered again after an exit interrupted its delivery. INT n, INT3 and INTO are executed
/// again by the guest, for RIP still points to them, unless we injected them ourselves.
pub(crate) fn again(info: u64, ours: bool) -> u64 {
    match decode(info) {
        None => 0,
        Some(Event::Software(_) | Event::Exception(3 | 4, _)) if !ours => 0,
        Some(_) => info,
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
            Event::Exception(14, Some(0xb)),
            Event::Software(0x80),
        ] {
            assert_eq!(decode(encode(what)), Some(what));
        }
        assert_eq!(decode(0x20), None);
    }

    #[test]
    fn software_interrupts_are_executed_again_not_injected_again() {
        let int80 = encode(Event::Software(0x80));
        assert_eq!(again(int80, false), 0);
        assert_eq!(again(int80, true), int80);
        let timer = encode(Event::Interrupt(0x20));
        assert_eq!(again(timer, false), timer);
        assert_eq!(again(0, true), 0);
    }
}
