//! How far physical addresses reach. Pure.
use crate::msr;
use core::arch::x86_64::CpuidResult;

/// Bits that four levels of nested tables translate.
const FOUR_LEVELS: u32 = 48;

/// Where the physical addresses end that nested tables may map, by CPUID's leaves and by MSRs, of which only those are
/// read that the CPU has. Where memory is encrypted the uppermost bits of an address number a key or ask for
/// encryption: with them the hole would have other addresses.
pub fn end(cpuid: impl Fn(u32) -> CpuidResult, msr: impl Fn(u32) -> u64) -> u64 {
    let bits = cpuid(0x8000_0008).eax & 0xff;
    let keys = if cpuid(0).eax >= 7 && cpuid(7).ecx & 1 << 13 != 0 {
        key_bits(msr(msr::TME_ACTIVATE))
    } else if cpuid(0x8000_0000).eax >= 0x8000_001f && cpuid(0x8000_001f).eax & 1 != 0 {
        let ebx = cpuid(0x8000_001f).ebx;
        let on = msr(msr::SYSCFG) & msr::SYSCFG_ENCRYPTION != 0;
        if on { bits.saturating_sub(ebx & 0x3f).max(ebx >> 6 & 0x3f) } else { 0 }
    } else {
        0
    };
    1 << bits.saturating_sub(keys).clamp(32, FOUR_LEVELS)
}

/// Bits of the key's number: IA32_TME_ACTIVATE bits 35:32, once it is enabled (Intel, Memory Encryption Technologies,
/// 336907, 4.2.2).
const fn key_bits(activated: u64) -> u32 {
    const ENABLED: u64 = 1 << 1;
    if activated & ENABLED != 0 { (activated >> 32) as u32 & 15 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: CpuidResult = CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };

    #[test]
    fn keys_of_an_intel_server_are_no_addresses() {
        let cpu = |leaf| match leaf {
            0 => CpuidResult { eax: 0x1b, ..NONE },
            7 => CpuidResult { ecx: 1 << 13, ..NONE },
            0x8000_0008 => CpuidResult { eax: 0x302e, ..NONE },
            _ => NONE,
        };
        assert_eq!(end(cpu, |_| 6 << 32 | 0b11), 1 << 40);
        assert_eq!(end(cpu, |_| 6 << 32 | 0b01), 1 << 46, "not switched on");
        let old = |leaf| if leaf == 7 { NONE } else { cpu(leaf) };
        assert_eq!(end(old, |_| unreachable!()), 1 << 46);
    }

    #[test]
    fn the_bit_for_encryption_is_none_on_amd() {
        // EPYC of family 17h: bit 47, five bits fewer. Family 19h: bit 51.
        for (bits, ebx, expected) in
            [(48, 0x16f, 43), (48, 0x173, 43), (52, 0x033, 48), (44, 0x2b, 43)]
        {
            let cpu = |leaf| match leaf {
                0x8000_0000 => CpuidResult { eax: 0x8000_0021, ..NONE },
                0x8000_0008 => CpuidResult { eax: bits, ..NONE },
                0x8000_001f => CpuidResult { eax: 1, ebx, ..NONE },
                _ => NONE,
            };
            let syscfg = |register| if register == msr::SYSCFG { 1 << 23 } else { unreachable!() };
            assert_eq!(end(cpu, syscfg), 1 << expected, "{bits} {ebx:#x}");
            assert_eq!(end(cpu, |_| 0), 1 << bits.min(48));
        }
    }

    #[test]
    fn what_a_cpu_says_is_bounded() {
        for eax in 0..=0xff {
            let cpu = |leaf| if leaf == 0x8000_0008 { CpuidResult { eax, ..NONE } } else { NONE };
            assert!((1 << 32..=1 << 48).contains(&end(cpu, |_| 0)));
        }
    }
}
