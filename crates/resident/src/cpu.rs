//! One CPU's block: its descriptor tables, its stacks, its vCPU.
use crate::carve::{Carve, Exhausted};
use crate::descriptors::{Descriptors, Stacks, Tables};
use core::fmt;
use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicBool;
use svm::{IoMap, MsrMap, Parts, Refusal, Svm};
use x86defs::vmcb::Vmcb;

/// What GS points to while the VMM runs. The NMI handler knows the first field's place.
#[repr(C)]
pub(crate) struct Local {
    pub(crate) nmi: AtomicBool,
    /// An INIT came as #SX; at GS:1.
    pub(crate) init: AtomicBool,
    /// The machine, for a report of a fault.
    pub(crate) machine: *const (),
    /// Two packet buffers for the stub that answers after a fault.
    pub(crate) spare: [*mut [u8; hv::PACKET]; 2],
    /// A fault was met: a second one, in the answering, halts.
    pub(crate) frozen: AtomicBool,
}

/// Why a CPU cannot start.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The CPU lacks what is needed.
    Refused(Refusal),
    /// The memory setup gave is too small.
    Exhausted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Exhausted => f.write_str(
                "the memory setup gave is too small: use a loader and an image of the same build",
            ),
        }
    }
}

impl From<Exhausted> for Failure {
    fn from(_: Exhausted) -> Self {
        Self::Exhausted
    }
}

const STACK: u64 = 16 << 10;
const NMI_STACK: u64 = 4 << 10;
/// The stub answers on it after a fault of the stack itself.
const FAULT_STACK: u64 = 16 << 10;

/// Set up this CPU. Gives its vCPU, its stack's top and what GS points to.
pub(crate) fn set_up(
    carve: &mut Carve,
    tables: &Tables,
    nested_root: u64,
) -> Result<(Svm, u64, &'static mut Local), Failure> {
    let mut stack = |len| carve.bytes(len, 4096).map(|hpa| carve.pointer(hpa) as u64 + len);
    let stacks = Stacks { nmi: stack(NMI_STACK)?, fault: stack(FAULT_STACK)? };
    let top = stack(STACK)?;
    // SAFETY: zeroes are bytes.
    let spare: [*mut _; 2] = unsafe { [carve.zeroed()?.0, carve.zeroed()?.0] };
    let local = carve.put(Local {
        nmi: AtomicBool::new(false),
        init: AtomicBool::new(false),
        machine: ptr::null(),
        spare,
        frozen: AtomicBool::new(false),
    })?;
    let descriptors = carve.put(Descriptors::new())?;
    let local_at: *mut Local = local;
    // SAFETY: both live in the hole for ever; GS is used by the VMM's handlers alone.
    unsafe { descriptors.load(&stacks, tables, local_at as u64) };
    // SAFETY: zeroes are a VMCB, a map that watches nothing, and bytes.
    let ((vmcb, vmcb_hpa), (_, host_vmcb_hpa), (_, hsave), (io, io_map_hpa), (msrs, msr_map_hpa)) = unsafe {
        (
            carve.zeroed::<Vmcb>()?,
            carve.zeroed::<Vmcb>()?,
            carve.zeroed::<[u8; 4096]>()?,
            carve.zeroed::<[u8; 0x3000]>()?,
            carve.zeroed::<[u8; 0x2000]>()?,
        )
    };
    // SAFETY: `hsave` was carved for this.
    let capabilities = unsafe { svm::enable(hsave) }.map_err(Failure::Refused)?;
    // SAFETY: the local block is never freed; the flags are atomics.
    let (nmi, init) = unsafe { (&(*local_at).nmi, &(*local_at).init) };
    let parts = Parts {
        capabilities,
        vmcb: NonNull::from(vmcb),
        vmcb_hpa,
        host_vmcb_hpa,
        io_map: IoMap(io),
        io_map_hpa,
        msr_map: MsrMap(msrs),
        msr_map_hpa,
        nested_root,
        window_idtr: tables.window_idtr(),
        main_idtr: tables.main_idtr(),
        nmi,
        init,
    };
    // SAFETY: everything was carved zeroed for this vCPU alone; SVM is on, GIF is 0, the descriptor
    // tables are loaded.
    Ok((unsafe { Svm::new(parts) }, top, local))
}
