//! Exit reasons and what goes with them to [`Exit`] (SDM 3C, 27.2; 3D, appendix C). Pure: fields come from the caller.
use vcpu::{Exit, NestedFault, PortIo, Seg, TaskSource, TaskSwitch};
use x86defs::vector;
use x86defs::vmx::{event, exit, field};

/// What stopped the guest; `read` gives a field of the VMCS. `string_io`: the CPU tells the address size of INS and
/// OUTS, and the latter's segment. Of [`PortIo`] the next RIP is left to the caller.
#[must_use]
pub fn decode(reason: u32, string_io: bool, read: impl Fn(u32) -> u64) -> Exit {
    let qualification = || read(field::QUALIFICATION);
    if reason & exit::ENTRY_FAILED != 0 {
        return Exit::Invalid;
    }
    match reason & 0xffff {
        exit::CPUID => Exit::Cpuid,
        exit::PREEMPTION_TIMER => Exit::Tick,
        exit::IO => {
            let info = if string_io { Some(read(field::INSTRUCTION_INFO)) } else { None };
            Exit::PortIo(port_io(qualification(), info))
        }
        exit::EPT_VIOLATION => {
            Exit::NestedFault(nested_fault(qualification(), read(field::GUEST_PHYSICAL)))
        }
        exit::RDMSR => Exit::Rdmsr,
        exit::WRMSR => Exit::Wrmsr,
        exit::CR => Exit::ControlRegister,
        exit::MONITOR_TRAP => Exit::Stepped,
        exit::EXCEPTION_OR_NMI => {
            let info = read(field::EXIT_EVENT) as u32;
            exception(info, || read(field::EXIT_ERROR) as u32, qualification)
        }
        exit::NMI_WINDOW => Exit::NmiWindow,
        exit::HLT => Exit::Hlt,
        exit::MWAIT => Exit::Mwait,
        exit::MONITOR => Exit::Monitor,
        exit::MOV_DR => mov_dr(qualification()),
        exit::TRIPLE_FAULT => Exit::TripleFault,
        exit::INIT => Exit::Init,
        exit::TASK_SWITCH => Exit::TaskSwitch(task_switch(qualification())),
        exit::INVD => Exit::Invd,
        exit::XSETBV => Exit::Xsetbv,
        exit::VMCALL => Exit::Hypercall,
        // XSAVES and XRSTORS exit only for a component that is concealed.
        exit::GETSEC
        | exit::XSAVES
        | exit::XRSTORS
        | exit::VMCLEAR..=exit::VMXON
        | exit::INVEPT
        | exit::INVVPID
        | exit::VMFUNC => Exit::Virtualisation,
        exit::EPT_MISCONFIGURATION => Exit::Invalid,
        other => Exit::Unknown(u64::from(other)),
    }
}

/// Whether this exit may have come in the middle of the delivery of an event (SDM 3C, 27.2.4).
#[must_use]
pub const fn may_interrupt_delivery(reason: u32) -> bool {
    matches!(
        reason & 0xffff,
        exit::EXCEPTION_OR_NMI
            | exit::TRIPLE_FAULT
            | exit::TASK_SWITCH
            | exit::EPT_VIOLATION
            | exit::EPT_MISCONFIGURATION
    )
}

fn exception(info: u32, error: impl Fn() -> u32, qualification: impl Fn() -> u64) -> Exit {
    let vector = (info & event::VECTOR) as u8;
    match info & event::TYPE {
        event::NMI => Exit::Nmi,
        event::PRIVILEGED => Exit::Icebp,
        _ => Exit::Exception {
            vector,
            error: if info & event::ERROR_VALID != 0 { error() } else { 0 },
            address: if vector == vector::PF { qualification() } else { 0 },
        },
    }
}

/// Table 27-5.
fn port_io(qualification: u64, info: Option<u64>) -> PortIo {
    let string = qualification & 1 << 4 != 0;
    let info = info.filter(|_| string);
    PortIo {
        port: (qualification >> 16) as u16,
        input: qualification & 1 << 3 != 0,
        string,
        repeat: qualification & 1 << 5 != 0,
        size: match qualification & 7 {
            0 => 1,
            1 => 2,
            _ => 4,
        },
        // Table 27-8.
        address_size: match info.map(|info| info >> 7 & 7) {
            Some(0) => 2,
            Some(1) => 4,
            Some(2) => 8,
            _ => 0,
        },
        segment: info.and_then(|info| match info >> 15 & 7 {
            0 => Some(Seg::Es),
            1 => Some(Seg::Cs),
            2 => Some(Seg::Ss),
            3 => Some(Seg::Ds),
            4 => Some(Seg::Fs),
            5 => Some(Seg::Gs),
            _ => None,
        }),
        next_rip: 0,
    }
}

/// Table 27-7.
fn nested_fault(qualification: u64, gpa: u64) -> NestedFault {
    NestedFault {
        gpa,
        present: qualification & 7 << 3 != 0,
        write: qualification & 1 << 1 != 0,
        fetch: qualification & 1 << 2 != 0,
        table_walk: qualification & 1 << 7 != 0 && qualification & 1 << 8 == 0,
    }
}

/// Table 27-4.
fn mov_dr(qualification: u64) -> Exit {
    Exit::MovDr {
        register: (qualification & 7) as u8,
        write: qualification & 1 << 4 == 0,
        gpr: Some((qualification >> 8 & 15) as u8),
    }
}

/// Table 27-2.
fn task_switch(qualification: u64) -> TaskSwitch {
    TaskSwitch {
        selector: qualification as u16,
        source: match qualification >> 30 & 3 {
            0 => TaskSource::Call,
            1 => TaskSource::Iret,
            2 => TaskSource::Jump,
            _ => TaskSource::Gate,
        },
        software: false,
        exception: None,
        error: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(reason: u32, fields: &[(u32, u64)]) -> Exit {
        decode(reason, true, |field| {
            fields.iter().find(|(of, _)| *of == field).map_or(0, |(_, value)| *value)
        })
    }

    #[test]
    fn every_reason_has_a_row() {
        for reason in 0..0x1_0000_u32 {
            for fill in [0, u64::MAX] {
                assert!(decode(reason, true, |_| fill).reason() < Exit::REASONS);
            }
        }
        assert_eq!(with(exit::CPUID, &[]), Exit::Cpuid);
        assert_eq!(with(0x8000_0021, &[]), Exit::Invalid);
        assert_eq!(with(70, &[]), Exit::Unknown(70));
    }

    #[test]
    fn port_of_insd_with_rep() {
        let fields = [
            (field::QUALIFICATION, 3 | 1 << 3 | 1 << 4 | 1 << 5 | 0x1f0 << 16),
            (field::INSTRUCTION_INFO, 1 << 7 | 4 << 15),
        ];
        let expected = PortIo {
            port: 0x1f0,
            input: true,
            size: 4,
            string: true,
            repeat: true,
            address_size: 4,
            segment: Some(Seg::Fs),
            next_rip: 0,
        };
        assert_eq!(with(exit::IO, &fields), Exit::PortIo(expected));
        let expected = PortIo { address_size: 0, segment: None, ..expected };
        let untold = decode(exit::IO, false, |_| fields[0].1);
        assert_eq!(untold, Exit::PortIo(expected), "an old CPU");
        // OUT DX, AL: the instruction's information means nothing.
        let Exit::PortIo(out) = with(exit::IO, &[(field::QUALIFICATION, 0x92 << 16)]) else {
            panic!()
        };
        assert_eq!((out.port, out.input, out.size, out.address_size), (0x92, false, 1, 0));
    }

    #[test]
    fn faults_of_the_nested_tables() {
        let fields =
            [(field::QUALIFICATION, 2 | 5 << 3 | 1 << 7), (field::GUEST_PHYSICAL, 0x1fe0_0008)];
        let Exit::NestedFault(fault) = with(exit::EPT_VIOLATION, &fields) else { panic!() };
        assert!(fault.present && fault.write && fault.table_walk && !fault.fetch);
        assert_eq!(fault.gpa, 0x1fe0_0008);
        let absent = [(field::QUALIFICATION, 1 | 3 << 7)];
        let Exit::NestedFault(fault) = with(exit::EPT_VIOLATION, &absent) else { panic!() };
        assert!(!fault.present && !fault.write && !fault.table_walk);
    }

    #[test]
    fn exceptions_and_nmis_are_told_apart() {
        let event = |info: u32| with(0, &[(field::EXIT_EVENT, info.into())]);
        assert_eq!(event(0x8000_0202), Exit::Nmi);
        assert_eq!(event(0x8000_0501), Exit::Icebp);
        let db = Exit::Exception { vector: 1, error: 0, address: 0 };
        assert_eq!(event(0x8000_0301), db);
        let fields = [
            (field::EXIT_EVENT, 0x8000_0b0e),
            (field::EXIT_ERROR, 6),
            (field::QUALIFICATION, 0x1234),
        ];
        assert_eq!(with(0, &fields), Exit::Exception { vector: 14, error: 6, address: 0x1234 });
    }

    #[test]
    fn debug_registers_and_tasks() {
        let from_dr7_to_rbx = [(field::QUALIFICATION, 7 | 1 << 4 | 3 << 8)];
        let expected = Exit::MovDr { register: 7, write: false, gpr: Some(3) };
        assert_eq!(with(exit::MOV_DR, &from_dr7_to_rbx), expected);
        let gate = [(field::QUALIFICATION, 0x50 | 3 << 30)];
        let Exit::TaskSwitch(switch) = with(exit::TASK_SWITCH, &gate) else { panic!() };
        assert_eq!((switch.selector, switch.source), (0x50, TaskSource::Gate));
    }

    #[test]
    fn instructions_interrupt_no_delivery() {
        assert!(may_interrupt_delivery(exit::EPT_VIOLATION));
        for reason in [exit::CPUID, exit::RDMSR, exit::IO, exit::PREEMPTION_TIMER] {
            assert!(!may_interrupt_delivery(reason));
        }
    }
}
