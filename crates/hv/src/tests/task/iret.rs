//! An IRET back to the task before, behind an NMI or stepped.
use super::*;

/// In A, which B has called: B's segment as A's IRET will find it.
fn called(rights: u64) -> Bench {
    let mut bench = tasks(true);
    bench.vcpu.next_rip = None;
    set(&bench, B, descriptor(NEW, 0x67, rights));
    bench.write(OLD, &B.to_le_bytes());
    bench.write(CODE, &[0xcf]);
    bench.vcpu.change(System::Rflags, NT, true);
    bench
}

/// A is the handler of NMIs. The CPU saw no IRET, and must be asked for the NMI that waits.
#[test]
fn an_iret_back_from_an_nmi_is_done_and_not_stepped() {
    let mut bench = called(0x8b);
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
    assert_eq!(bench.queued(), Some(Event::Nmi));
    bench.vcpu.queued = None;
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
    assert_eq!(bench.queued(), None, "in the handler");
    bench.exit(Exit::Iret);
    assert!(!bench.vcpu.held && !bench.vcpu.intercepts(Intercept::Everything), "no step");
    assert_eq!(bench.vcpu.waits, [Wait::Nmi]);
    assert_eq!((bench.rip(), bench.vcpu.segment(Seg::Tr).selector), (0x9000, B));
    assert_eq!((busy(&bench, A), busy(&bench, B)), (false, true));
    assert_eq!(word(&bench, OLD + 0x20), CODE as u32 + 1, "behind the IRET, by its length");
    assert_eq!(u64::from(word(&bench, OLD + 0x24)) & (NT | rflags::TF), 0);
    assert_eq!(bench.vcpu.system(System::Rflags) & rflags::TF, 0);
    assert_eq!(bench.queued(), Some(Event::Nmi), "it comes behind the IRET");
}

#[test]
fn an_iret_back_from_an_nmi_may_fault() {
    let mut bench = called(0x89);
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
    bench.vcpu.queued = None;
    bench.exit(Exit::Iret);
    assert!(!bench.vcpu.held, "no step");
    assert_eq!(bench.queued(), Some(Event::Exception(10, Some(B.into()))));
    assert_eq!((bench.rip(), bench.vcpu.segment(Seg::Tr).selector), (CODE, A));
    assert_eq!(bench.vcpu.system(System::Rflags) & rflags::TF, 0);
    // It has ended the handler all the same.
    bench.vcpu.queued = None;
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
    assert_eq!(bench.queued(), Some(Event::Nmi));
}

/// One who steps himself is trapped behind it, and by its T flag besides.
#[test]
fn an_iret_back_is_trapped_as_any_instruction() {
    let mut bench = called(0x8b);
    bench.write(NEW + 100, &1_u32.to_le_bytes());
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
    bench.vcpu.queued = None;
    bench.exit(Exit::Iret);
    assert_eq!(bench.queued(), Some(Event::Exception(1, None)));
    assert_eq!(bench.vcpu.system(System::Dr6) & 0xf000, 0x8000);
    let mut bench = called(0x8b);
    bench.vcpu.nmi = true;
    bench.exit(Exit::Nmi);
    bench.vcpu.queued = None;
    bench.vcpu.change(System::Rflags, rflags::TF, true);
    bench.exit(Exit::Iret);
    assert_eq!(bench.queued(), Some(Event::Exception(1, None)));
    assert_eq!(bench.vcpu.system(System::Dr6) & 0xf000, 0x4000);
    assert_eq!(bench.vcpu.system(System::Rflags) & rflags::TF, 0, "the new task's");
}

/// Neither in real nor in long mode, nor without NT: the CPU raises what there is to raise.
#[test]
fn an_iret_that_goes_back_to_no_task_is_stepped() {
    let changes: [fn(&mut Bench); 3] = [
        |bench| bench.vcpu.change(System::Rflags, NT, false),
        |bench| bench.vcpu.change(System::Cr0, cr::CR0_PE, false),
        |bench| bench.vcpu.change(System::Efer, cr::EFER_LMA, true),
    ];
    for change in changes {
        let mut bench = called(0x8b);
        change(&mut bench);
        bench.vcpu.nmi = true;
        bench.exit(Exit::Nmi);
        bench.vcpu.queued = None;
        bench.exit(Exit::Iret);
        assert!(bench.vcpu.held);
        assert_eq!((bench.rip(), bench.vcpu.segment(Seg::Tr).selector), (CODE, A));
    }
}
