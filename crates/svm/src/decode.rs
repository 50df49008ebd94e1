//! Exit codes and their information words to [`Exit`] (APM 2, appendix C and 15.7 to 15.14). Pure.
use crate::tcg;
use vcpu::{Exit, NestedFault, PortIo};
use x86defs::vmcb::exit;

/// What stopped the guest.
#[must_use]
#[inline(always)]
pub fn decode(code: u64, info1: u64, info2: u64) -> Exit {
    // First and alone: the one exit whose cost is a figure of its own.
    if code == exit::CPUID {
        return Exit::Cpuid;
    }
    decode_others(code, info1, info2)
}

fn decode_others(code: u64, info1: u64, info2: u64) -> Exit {
    match code {
        exit::INTR => Exit::Interrupt,
        exit::IOIO => Exit::PortIo(port_io(info1, info2)),
        exit::NPF => Exit::NestedFault(nested_fault(info1, info2)),
        exit::MSR if info1 & 1 == 0 => Exit::Rdmsr,
        exit::MSR => Exit::Wrmsr,
        exit::HLT => Exit::Hlt,
        _ => rare(code, info1, info2),
    }
}

#[cold]
fn rare(code: u64, info1: u64, info2: u64) -> Exit {
    match code {
        0x20..=0x3f => Exit::MovDr {
            register: (code & 15) as u8,
            write: code >= exit::DR_WRITE,
            // Bits 3:0 with decode assists (APM 2, 15.8.1); the caller knows whether they are valid.
            gpr: Some((info1 & 15) as u8),
        },
        0x40..=0x5f => {
            Exit::Exception { vector: (code & 31) as u8, error: info1 as u32, address: info2 }
        }
        exit::NMI => Exit::Nmi,
        exit::INIT => Exit::Init,
        exit::IRET => Exit::Iret,
        exit::SWINT => Exit::SoftwareInterrupt,
        exit::INVD => Exit::Invd,
        exit::SHUTDOWN => Exit::TripleFault,
        exit::ICEBP => Exit::Icebp,
        exit::MONITOR => Exit::Monitor,
        exit::MWAIT | exit::MWAIT_ARMED => Exit::Mwait,
        exit::VMMCALL => Exit::Hypercall,
        exit::INVLPGA | exit::VMRUN..=exit::SKINIT => Exit::Virtualisation,
        exit::INVALID | tcg::INVALID => Exit::Invalid,
        _ => Exit::Unknown(code),
    }
}

/// EXITINFO1 of IOIO (APM 2, 15.10.2); EXITINFO2 is the next RIP.
fn port_io(info1: u64, info2: u64) -> PortIo {
    PortIo {
        port: (info1 >> 16) as u16,
        input: info1 & 1 != 0,
        string: info1 & 1 << 2 != 0,
        repeat: info1 & 1 << 3 != 0,
        size: match info1 >> 4 & 7 {
            1 => 1,
            2 => 2,
            _ => 4,
        },
        address_size: match info1 >> 7 & 7 {
            1 => 2,
            2 => 4,
            4 => 8,
            _ => 0,
        },
        // Bits 12:10 with decode assists. Bochs reports those and leaves 0 there, which is ES.
        segment: None,
        next_rip: info2,
    }
}

/// EXITINFO1 of a nested page fault is a page-fault error code with bits 32 (final address) and 33
/// (table walk); EXITINFO2 is the guest-physical address (APM 2, 15.25.6).
fn nested_fault(info1: u64, info2: u64) -> NestedFault {
    NestedFault {
        gpa: info2,
        present: info1 & 1 != 0,
        write: info1 & 1 << 1 != 0,
        fetch: info1 & 1 << 4 != 0,
        table_walk: info1 & 1 << 33 != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_of_insd_with_rep() {
        // IN, STR, REP, 32 bits, A16, port 1F0h
        let io = port_io(1 | 1 << 2 | 1 << 3 | 4 << 4 | 1 << 7 | 0x1f0 << 16, 0x7c10);
        let expected = PortIo {
            port: 0x1f0,
            input: true,
            size: 4,
            string: true,
            repeat: true,
            address_size: 2,
            segment: None,
            next_rip: 0x7c10,
        };
        assert_eq!(io, expected);
    }

    #[test]
    fn fault_of_a_table_walk() {
        let fault = nested_fault(1 | 2 | 1 << 33, 0x1fe0_0008);
        assert!(fault.present && fault.write && fault.table_walk && !fault.fetch);
        assert_eq!(fault.gpa, 0x1fe0_0008);
    }

    #[test]
    fn every_code_has_a_reason_row() {
        for code in (0..0x1000).chain([u64::MAX - 1, u64::MAX]) {
            for info1 in [0, 1, u64::MAX] {
                let exit = decode(code, info1, u64::MAX);
                assert!(exit.reason() < Exit::REASONS);
            }
        }
        assert_eq!(decode(0xffff, 0, 0), Exit::Unknown(0xffff));
        assert_eq!(decode(u64::MAX, 0, 0), Exit::Invalid);
        assert_eq!(decode(u64::from(u32::MAX), 0, 0), Exit::Invalid);
        assert_eq!(decode(0x7c, 1, 0), Exit::Wrmsr);
        assert_eq!(decode(0x35, 3, 0), Exit::MovDr { register: 5, write: true, gpr: Some(3) });
    }
}
