//! How fast the time-stamp counter counts: for the tick of a CPU whose timer counts with it.
use link::{CpuPorts, Ports};

/// System control port B: bit 0 lets the timer's channel 2 count, bit 1 is the speaker, bit 5 the channel's output.
const PORT_B: u16 = 0x61;
/// The timer's channel 2 and its control.
const CHANNEL2: u16 = 0x42;
const CONTROL: u16 = 0x43;
/// Channel 2, low byte then high, mode 0: the output rises when the count is over.
const ONE_SHOT: u8 = 0xb0;
/// Counts in 5 ms, at 1,193,182 a second.
const COUNT: u16 = 5966;
/// TSC ticks in 5 ms of a CPU faster than there is one: a machine without that timer.
const NEVER: u64 = 100_000_000;
/// A millisecond then: at 3 GHz.
const USUAL: u64 = 3_000_000;

fn tsc() -> u64 {
    // SAFETY: every 64-bit CPU has the instruction, and it changes nothing.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// TSC ticks in a millisecond, by the PC's timer, whose channel 2 is left as firmware leaves it: not counting.
pub(crate) fn millisecond() -> u64 {
    // SAFETY: the guest does not run yet; channel 2 is the speaker's, and is set anew by whoever uses it.
    let mut ports = unsafe { CpuPorts::new() };
    let before = ports.read(PORT_B);
    ports.write(PORT_B, before & 0x0c | 1);
    ports.write(CONTROL, ONE_SHOT);
    let [low, high] = COUNT.to_le_bytes();
    ports.write(CHANNEL2, low);
    ports.write(CHANNEL2, high);
    let begin = tsc();
    let passed = || tsc().wrapping_sub(begin);
    while ports.read(PORT_B) & 0x20 == 0 && passed() < NEVER {}
    let passed = passed();
    ports.write(PORT_B, before & 0x0f);
    if passed < NEVER { (passed / 5).max(1) } else { USUAL }
}
