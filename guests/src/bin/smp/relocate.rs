//! The APIC's page at another address. Whether the registers follow depends on the CPU (QEMU 7.2
//! answers at the old address), so both addresses are tried.

use crate::apic::{self, BASE_MSR, ICR_LOW, PAGE, TO_OTHERS};
use crate::start::{attempt, judge, mov};
use guests::report::{fact, info};
use guests::{cpu, exception};

const ELSEWHERE: u64 = 0xfee1_0000;
/// More than a table of 2 MiB pages up to 4 GiB or the end of RAM maps.
const HIGH: u64 = 0x70_0000_0000;

/// Moves it, tries to start another CPU, moves it back, tries again.
pub(crate) fn all(others: bool) {
    let base = cpu::rdmsr(BASE_MSR);
    let moved = base & 0xfff | ELSEWHERE;
    let old_page = || attempt(PAGE + ICR_LOW, mov, 0, TO_OTHERS);
    // A CPU may refuse, but then it must not have moved.
    let fault = exception::catch(|| cpu::wrmsr(BASE_MSR, moved));
    let refused = fault.is_some_and(|fault| fault.vector == 13);
    fact("base.moved", cpu::rdmsr(BASE_MSR), if refused { base } else { moved });
    info(format_args!(
        "base.refused {refused} version {:x}",
        cpu::read32(ELSEWHERE + apic::VERSION)
    ));
    judge("moved.there", false, others, attempt(ELSEWHERE + ICR_LOW, mov, 0, TO_OTHERS));
    judge("moved.old-page", false, others, old_page());
    cpu::wrmsr(BASE_MSR, base);
    fact("base.back", cpu::rdmsr(BASE_MSR), base);
    judge("moved.back", true, others, old_page());

    let fault = exception::catch(|| cpu::wrmsr(BASE_MSR, base & 0xfff | HIGH));
    let vector = fault.map(|fault| fault.vector);
    info(format_args!("base.high fault {vector:?} value {:x}", cpu::rdmsr(BASE_MSR)));
    judge("high.old-page", false, others, old_page());
    cpu::wrmsr(BASE_MSR, base);
    judge("high.back", true, others, old_page());
}
