//! One CPU's block: its descriptor tables, its stacks, its vCPU. All blocks are alike.
use crate::carve::{Carve, Exhausted};
use crate::descriptors::{Descriptors, SELECTORS, Stacks, Tables};
use crate::others::Seat;
use crate::start::Guest;
use core::fmt;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use handover::PER_CPU_BYTES;
use svm::Svm;
use vmx::Vmx;
use x86defs::vmcb::Vmcb;

/// What GS points to while the VMM runs. The NMI handler knows the first field's place.
#[repr(C)]
pub(crate) struct Local {
    pub(crate) nmi: AtomicBool,
    /// An INIT came as #SX; at GS:1.
    pub(crate) init: AtomicBool,
    /// It runs the guest. The others wait, and one that fails there must not take what the first may need, which a machine
    /// check that comes to all CPUs at once would have it do.
    pub(crate) first: bool,
    /// What runs the guest (`start::Guest`), null until it is there.
    pub(crate) guest: *mut (),
    /// Of the CPU that fails.
    pub(crate) failing: &'static Failing,
}

/// What the first CPU that fails answers with. There is one, for it then has the machine.
pub(crate) struct Failing {
    /// Its [`Local`]'s address; 0 while none has failed.
    pub(crate) owner: AtomicU64,
    /// How many faults there were; all but the first were met in the answering.
    pub(crate) faults: AtomicU32,
    /// What is known of the first fault.
    pub(crate) report: *mut hv::Report,
    /// What is known of the last one met in the answering.
    pub(crate) later: *mut hv::Report,
    /// Top of the stack the line is answered on.
    pub(crate) stack: u64,
    /// Two packet buffers for the stub that answers.
    pub(crate) spare: [*mut [u8; hv::PACKET]; 2],
    /// Bytes of the image, which begins at the first of the hole.
    pub(crate) image: u64,
    /// The command line.
    pub(crate) options: handover::Options,
}

/// Why a CPU cannot start.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The CPU lacks what is needed: AMD's, Intel's.
    Svm(svm::Refusal),
    Vmx(vmx::Refusal),
    /// The memory setup gave is too small.
    Exhausted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Svm(refusal) => refusal.fmt(f),
            Self::Vmx(refusal) => refusal.fmt(f),
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

const PAGE: u64 = 4096;
/// Bytes of the stack the VMM runs on, and of that it answers on after a fault.
pub(crate) const STACK: u64 = 16 << 10;
/// Bytes of the stack of the NMI handler, which sets a flag: its frame, and that of a #DB it meets, about 250 together. What a fault
/// is reported with is not on it: all others have stacks of their own.
const HANDLER: usize = 512;
/// Bytes of the stack a fault is reported from: its sentence is put together there.
const REPORTING: u64 = 8 << 10;

/// A stack with a page below it that is to be unmapped.
pub(crate) struct Guarded {
    pub(crate) top: u64,
    pub(crate) guard: u64,
}

impl Guarded {
    pub(crate) fn carve(carve: &mut Carve, len: u64) -> Result<Self, Exhausted> {
        let guard = carve.bytes(PAGE + len, PAGE)?;
        Ok(Self { top: carve.pointer(guard) as u64 + PAGE + len, guard })
    }
}

/// One CPU's stacks. The handler of NMIs has its own in the CPU's block.
pub(crate) struct CpuStacks {
    fault: Guarded,
    /// #DF and #MC, of which the VMM does not come back.
    last: Guarded,
    pub(crate) main: Guarded,
}

impl CpuStacks {
    pub(crate) fn carve(carve: &mut Carve) -> Result<Self, Exhausted> {
        let mut stack = |len| Guarded::carve(carve, len);
        Ok(Self { fault: stack(REPORTING)?, last: stack(REPORTING)?, main: stack(STACK)? })
    }

    pub(crate) fn guards(&self) -> [u64; 3] {
        [self.fault.guard, self.last.guard, self.main.guard]
    }
}

/// The vCPU of this CPU's vendor.
pub(crate) enum Vendor {
    Svm(Svm),
    Vmx(Vmx),
}

impl Vendor {
    /// For what is asked of either.
    pub(crate) fn vcpu(&mut self) -> &mut dyn vcpu::Vcpu {
        match self {
            Self::Svm(vcpu) => vcpu,
            Self::Vmx(vcpu) => vcpu,
        }
    }

    /// For what only looks.
    pub(crate) fn look(&self) -> &dyn vcpu::Vcpu {
        match self {
            Self::Svm(vcpu) => vcpu,
            Self::Vmx(vcpu) => vcpu,
        }
    }
}

/// What the CPUs have in common.
pub(crate) struct Shared {
    /// Intel's extension, not AMD's.
    pub(crate) vmx: bool,
    pub(crate) tables: &'static Tables,
    pub(crate) nested_root: u64,
    /// Ports and MSRs that exit, each with its address; AMD's are the larger.
    pub(crate) io: (&'static [AtomicU8; 0x3000], u64),
    pub(crate) msrs: (&'static [AtomicU8; 0x2000], u64),
    pub(crate) failing: &'static Failing,
    /// TSC ticks.
    pub(crate) millisecond: u64,
}

/// What one CPU's vCPU is made of beside that.
struct Own {
    /// The TSS, and what GS points to.
    task: u64,
    local: *const Local,
}

// A block is the stacks, two pages of what is counted here, and the vCPU's three; 64 bytes are for alignment.
const _: () = assert!(
    3 * PAGE + 2 * REPORTING + STACK + 5 * PAGE == PER_CPU_BYTES
        && size_of::<Seat>()
            + size_of::<Local>()
            + size_of::<Descriptors>()
            + HANDLER
            + size_of::<Guest>()
            + 64
            <= 2 * PAGE as usize
);

/// Set up this CPU from what is left of its block. Gives its vCPU, what GS points to, and the place of what will run the guest.
#[inline(never)]
pub(crate) fn set_up(
    block: &mut Carve,
    stacks: &CpuStacks,
    shared: &Shared,
    first: bool,
) -> Result<(Vendor, &'static mut Local, *mut Guest), Failure> {
    let local = block.put(Local {
        nmi: AtomicBool::new(false),
        init: AtomicBool::new(false),
        first,
        guest: ptr::null_mut(),
        failing: shared.failing,
    })?;
    let descriptors = block.put(Descriptors::new())?;
    let handler = block.bytes(HANDLER as u64, 16)?;
    let nmi = block.pointer(handler) as u64 + HANDLER as u64;
    let interrupt = Stacks { nmi, last: stacks.last.top, fault: stacks.fault.top };
    let guest = block.place()?;
    let task = descriptors.task();
    let local_at: *mut Local = local;
    // SAFETY: both live in the hole for ever; GS is used by the VMM's handlers alone.
    unsafe { descriptors.load(&interrupt, shared.tables, local_at as u64) };
    let own = Own { task, local: local_at };
    let vendor = if shared.vmx {
        Vendor::Vmx(vmx(block, shared, &own)?)
    } else {
        Vendor::Svm(svm(block, shared, &own)?)
    };
    Ok((vendor, local, guest))
}

#[inline(never)]
fn svm(block: &mut Carve, shared: &Shared, own: &Own) -> Result<Svm, Failure> {
    // SAFETY: zeroes are a VMCB, and bytes.
    let ((vmcb, vmcb_hpa), (_, host_vmcb_hpa), (_, hsave)) = unsafe {
        (block.zeroed::<Vmcb>()?, block.zeroed::<Vmcb>()?, block.zeroed::<[u8; 4096]>()?)
    };
    // SAFETY: `hsave` was carved for this.
    let capabilities = unsafe { svm::enable(hsave) }.map_err(Failure::Svm)?;
    // SAFETY: the local block is never freed; the flags are atomics.
    let (nmi, init) = unsafe { (&(*own.local).nmi, &(*own.local).init) };
    let parts = svm::Parts {
        capabilities,
        vmcb: NonNull::from(vmcb),
        vmcb_hpa,
        host_vmcb_hpa,
        io_map: vcpu::IoMap(shared.io.0),
        io_map_hpa: shared.io.1,
        msr_map: svm::MsrMap(shared.msrs.0),
        msr_map_hpa: shared.msrs.1,
        nested_root: shared.nested_root,
        window_idtr: shared.tables.window_idtr(),
        main_idtr: shared.tables.main_idtr(),
        nmi,
        init,
    };
    // SAFETY: all but the maps, which are to be shared, was carved zeroed for this vCPU alone; SVM is on, GIF is 0, the
    // descriptor tables are loaded.
    Ok(unsafe { Svm::new(parts) })
}

#[inline(never)]
fn vmx(block: &mut Carve, shared: &Shared, own: &Own) -> Result<Vmx, Failure> {
    // SAFETY: zeroes are words.
    let ((on, on_hpa), (vmcs, vmcs_hpa)) =
        unsafe { (block.zeroed::<[u32; 1024]>()?, block.zeroed::<[u32; 1024]>()?) };
    let region =
        |page: &mut [u32; 1024], hpa| vmx::Region { page: NonNull::from(page).cast(), hpa };
    // SAFETY: both were carved for this.
    let controls = unsafe { vmx::enable(region(on, on_hpa), region(vmcs, vmcs_hpa)) };
    // SAFETY: the local block is never freed; the flag is an atomic.
    let nmi = unsafe { &(*own.local).nmi };
    // Both lists are as long as the other vendor's, or longer.
    let (Some(io), Some(msrs)) = (shared.io.0.get(..0x2000), shared.msrs.0.first_chunk()) else {
        return Err(Failure::Exhausted);
    };
    let parts = vmx::Parts {
        controls: controls.map_err(Failure::Vmx)?,
        io_map: vcpu::IoMap(io),
        io_map_hpa: shared.io.1,
        msr_map: vmx::MsrMap(msrs),
        msr_map_hpa: shared.msrs.1,
        nested_root: shared.nested_root,
        host: vmx::HostState { selectors: SELECTORS, task: own.task, gs: own.local as u64 },
        nmi,
        millisecond: shared.millisecond,
    };
    // SAFETY: all but the maps, which are to be shared, was carved zeroed for this vCPU alone; VMX is on with the VMCS
    // current, the descriptor tables are loaded.
    Ok(unsafe { Vmx::new(parts) })
}
