//! One CPU's block: its descriptor tables, its stacks, its vCPU.
use crate::carve::{Carve, Exhausted};
use crate::descriptors::{Descriptors, SELECTORS, Stacks, Tables};
use crate::time::millisecond;
use core::fmt;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicU32};
use handover::HandOver;
use svm::Svm;
use vmx::Vmx;
use x86defs::vmcb::Vmcb;

/// What GS points to while the VMM runs. The NMI handler knows the first field's place.
#[repr(C)]
pub(crate) struct Local {
    pub(crate) nmi: AtomicBool,
    /// An INIT came as #SX; at GS:1.
    pub(crate) init: AtomicBool,
    /// How many faults there were; all but the first were met in the answering.
    pub(crate) faults: AtomicU32,
    /// What runs the guest (`start::Guest`), null until it is there.
    pub(crate) guest: *mut (),
    /// What is known of the first fault.
    pub(crate) report: *mut hv::Report,
    /// What is known of the last one met in the answering.
    pub(crate) later: *mut hv::Report,
    /// Top of the stack the line is answered on after a fault.
    pub(crate) report_stack: u64,
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
const STACK: u64 = 16 << 10;
/// Bytes of the stack a handler needs that only sets a flag, or reports and leaves it.
const HANDLER: u64 = 4 << 10;
/// Bytes of the stack a fault is reported from: its sentence is put together there.
const REPORTING: u64 = 8 << 10;

/// One CPU's stacks: their tops, and the page below each that is to be unmapped.
pub(crate) struct CpuStacks {
    interrupt: Stacks,
    report: u64,
    pub(crate) main: u64,
    pub(crate) guards: [u64; 6],
}

impl CpuStacks {
    pub(crate) fn carve(carve: &mut Carve) -> Result<Self, Exhausted> {
        let mut guards = [0; 6];
        let mut places = guards.iter_mut();
        let mut stack = |len| {
            let hpa = carve.bytes(PAGE + len, PAGE)?;
            *places.next().ok_or(Exhausted)? = hpa;
            Ok(carve.pointer(hpa) as u64 + PAGE + len)
        };
        let interrupt = Stacks {
            nmi: stack(HANDLER)?,
            double_fault: stack(REPORTING)?,
            machine_check: stack(REPORTING)?,
            fault: stack(REPORTING)?,
        };
        let (report, main) = (stack(STACK)?, stack(STACK)?);
        Ok(Self { interrupt, report, main, guards })
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

/// What both vendors' vCPUs are made of.
struct Common<'a> {
    tables: &'a Tables,
    nested_root: u64,
    /// The TSS, and what GS points to.
    task: u64,
    local: *const Local,
}

/// Set up this CPU. Gives its vCPU and what GS points to.
#[inline(never)]
pub(crate) fn set_up(
    carve: &mut Carve,
    tables: &Tables,
    stacks: &CpuStacks,
    handover: &HandOver,
    nested_root: u64,
) -> Result<(Vendor, &'static mut Local), Failure> {
    // SAFETY: zeroes are bytes.
    let spare: [*mut _; 2] = unsafe { [carve.zeroed()?.0, carve.zeroed()?.0] };
    let report: *mut _ = carve.put(hv::Report::default())?;
    let later: *mut _ = carve.put(hv::Report::default())?;
    let local = carve.put(Local {
        nmi: AtomicBool::new(false),
        init: AtomicBool::new(false),
        faults: AtomicU32::new(0),
        guest: ptr::null_mut(),
        report,
        later,
        report_stack: stacks.report,
        spare,
        image: handover.image.len,
        options: handover.options,
    })?;
    let descriptors = carve.put(Descriptors::new())?;
    let task = descriptors.task();
    let local_at: *mut Local = local;
    // SAFETY: both live in the hole for ever; GS is used by the VMM's handlers alone.
    unsafe { descriptors.load(&stacks.interrupt, tables, local_at as u64) };
    let common = Common { tables, nested_root, task, local: local_at };
    let vendor = if handover.vmx {
        Vendor::Vmx(vmx(carve, &common)?)
    } else {
        Vendor::Svm(svm(carve, &common)?)
    };
    Ok((vendor, local))
}

#[inline(never)]
fn svm(carve: &mut Carve, common: &Common<'_>) -> Result<Svm, Failure> {
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
    let capabilities = unsafe { svm::enable(hsave) }.map_err(Failure::Svm)?;
    // SAFETY: the local block is never freed; the flags are atomics.
    let (nmi, init) = unsafe { (&(*common.local).nmi, &(*common.local).init) };
    let parts = svm::Parts {
        capabilities,
        vmcb: NonNull::from(vmcb),
        vmcb_hpa,
        host_vmcb_hpa,
        io_map: vcpu::IoMap(io),
        io_map_hpa,
        msr_map: svm::MsrMap(msrs),
        msr_map_hpa,
        nested_root: common.nested_root,
        window_idtr: common.tables.window_idtr(),
        main_idtr: common.tables.main_idtr(),
        nmi,
        init,
    };
    // SAFETY: everything was carved zeroed for this vCPU alone; SVM is on, GIF is 0, the descriptor
    // tables are loaded.
    Ok(unsafe { Svm::new(parts) })
}

#[inline(never)]
fn vmx(carve: &mut Carve, common: &Common<'_>) -> Result<Vmx, Failure> {
    // SAFETY: zeroes are bytes, and maps that watch nothing.
    let ((on, on_hpa), (vmcs, vmcs_hpa), (io, io_map_hpa), (msrs, msr_map_hpa)) = unsafe {
        (
            carve.zeroed::<[u32; 1024]>()?,
            carve.zeroed::<[u32; 1024]>()?,
            carve.zeroed::<[u8; 0x2000]>()?,
            carve.zeroed::<[u8; 0x1000]>()?,
        )
    };
    let region =
        |page: &mut [u32; 1024], hpa| vmx::Region { page: NonNull::from(page).cast(), hpa };
    // SAFETY: both were carved for this.
    let controls = unsafe { vmx::enable(region(on, on_hpa), region(vmcs, vmcs_hpa)) };
    // SAFETY: the local block is never freed; the flag is an atomic.
    let nmi = unsafe { &(*common.local).nmi };
    let parts = vmx::Parts {
        controls: controls.map_err(Failure::Vmx)?,
        io_map: vcpu::IoMap(io),
        io_map_hpa,
        msr_map: vmx::MsrMap(msrs),
        msr_map_hpa,
        nested_root: common.nested_root,
        host: vmx::HostState { selectors: SELECTORS, task: common.task, gs: common.local as u64 },
        nmi,
        millisecond: millisecond(),
    };
    // SAFETY: everything was carved zeroed for this vCPU alone; VMX is on with the VMCS current, the descriptor
    // tables are loaded.
    Ok(unsafe { Vmx::new(parts) })
}
