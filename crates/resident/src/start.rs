//! From the hand-over to the guest's first instruction.
use crate::carve::Carve;
use crate::cpu::{self, Failing, Failure, Guarded, Local, STACK, Shared, Vendor};
use crate::descriptors::Tables as Idts;
use crate::fault::halt;
use crate::host::{Line, Pc, try_msr, uart};
use crate::memory::{Ram, Tables};
use crate::others::Seats;
use crate::time::millisecond;
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicU32, AtomicU64};
use handover::{HandOver, MAGIC, SHARED_BYTES};
use hv::{Buffers, Cpu, Log, Machine, Nested, Roots};
use paging::mtrr::Mtrrs;
use paging::table::Root;
use vcpu::{Gpr, Seg, Segment, System, Vcpu};
use x86defs::addresses;
use x86defs::segment::{CODE16, DATA16};

/// The machine on this hardware.
pub(crate) type Real = Machine<Pc>;

const _: () = assert!(Tables::BYTES < SHARED_BYTES);

unsafe extern "C" {
    pub(crate) fn run_on_stack(
        argument: *mut (),
        stack: u64,
        run: extern "C" fn(*mut ()) -> !,
    ) -> !;
}

/// The first CPU's share.
pub(crate) struct Guest {
    pub(crate) machine: &'static Real,
    pub(crate) cpu: Cpu,
    pub(crate) vcpu: Vendor,
}

#[unsafe(no_mangle)]
extern "C" fn resident_start(handover: &'static HandOver) -> ! {
    if handover.magic != MAGIC {
        halt();
    }
    match prepare(handover, uart(handover.options.link), uart(handover.options.log)) {
        // SAFETY: the stack is this CPU's own, mapped, and `guest` lives in the hole.
        Ok((guest, stack)) => unsafe { run_on_stack((&raw mut *guest).cast(), stack, enter) },
        Err(failure) => {
            if let Some(mirror) = uart(handover.options.log).or(uart(handover.options.link)) {
                Log::new(&mut [], Some(mirror))
                    .line(format_args!("Ramooflax cannot start: {failure}"));
            }
            halt()
        }
    }
}

#[inline(never)]
fn prepare(
    handover: &HandOver,
    line: Option<Line>,
    mirror: Option<Line>,
) -> Result<(&'static mut Guest, u64), Failure> {
    // SAFETY: setup's contract; this is the only call.
    let mut carve = unsafe { Carve::new(handover) };
    // SAFETY: zeroes are gates that are not present, and addresses.
    let (idts, _) = unsafe { carve.zeroed::<Idts>()? };
    idts.fill();
    let pages = carve.bytes(Tables::BYTES, 4096)?;
    // SAFETY: the pages were carved for this; setup built all tables in the hole.
    let mut tables = unsafe { Tables::new(handover.hole, pages) };
    let mut guard = |page| tables.guard(handover.host_cr3, page);
    let failing = failing(&mut carve, handover, &mut guard)?;
    let seats = Seats::carve(&mut carve, handover, &mut guard)?;
    let ram = Ram::new(handover);
    // SAFETY: zeroes are maps that watch nothing.
    let ((io, io_hpa), (msrs, msrs_hpa)) = unsafe { (carve.zeroed()?, carve.zeroed()?) };
    let shared = carve.put(Shared {
        vmx: handover.vmx,
        tables: idts,
        nested_root: handover.npt_root,
        io: (io, io_hpa),
        msrs: (msrs, msrs_hpa),
        failing,
        // Nothing else asks for it.
        millisecond: if handover.vmx || seats.several() { millisecond() } else { 0 },
    })?;
    let (block, stacks) = seats.first()?;
    // Before the others, for that takes time: what comes meanwhile finds the VMM's handlers.
    let (mut vcpu, local, guest) = cpu::set_up(block, stacks, shared, true)?;
    let others = seats.start_others(handover, &ram, shared);
    // From here on the VMM executes nothing in low memory.
    let nested = nested(handover, tables, ram.end())?;
    let machine = machine(&mut carve, handover, (line, mirror), ram, nested)?;
    handover.wipe.into_iter().for_each(|span| machine.host.ram.wipe(span));
    vcpu.vcpu().flush();
    real_mode(vcpu.vcpu(), handover);
    machine.log(format_args!(
        "Ramooflax: hole {:#x}..{:#x}, {} of {} CPU(s), guest starts at {:04x}:{:04x}",
        handover.hole.base,
        handover.hole.end(),
        others.saturating_add(1),
        handover.cpus,
        handover.start.cs,
        handover.start.ip
    ));
    seats.failures(|id, why| {
        machine.log(format_args!("CPU with APIC ID {id:#x} is left out: {why}"))
    });
    // SAFETY: the place was carved for this.
    unsafe { guest.write(Guest { machine, cpu: Cpu::new(), vcpu }) };
    let Local { guest: place, .. } = local;
    *place = guest.cast();
    // SAFETY: just made, and used by this CPU alone until it fails for good.
    Ok((unsafe { &mut *guest }, stacks.main.top))
}

// What the next three make is large, and the stack is not: each takes its own turn on it.

/// What a failing CPU answers with.
#[inline(never)]
fn failing(
    carve: &mut Carve,
    handover: &HandOver,
    guard: &mut dyn FnMut(u64),
) -> Result<&'static Failing, Failure> {
    // SAFETY: zeroes are bytes.
    let spare: [*mut _; 2] = unsafe { [carve.zeroed()?.0, carve.zeroed()?.0] };
    let stack = Guarded::carve(carve, STACK)?;
    guard(stack.guard);
    let (report, later) = (carve.put(hv::Report::default())?, carve.put(hv::Report::default())?);
    Ok(carve.put(Failing {
        owner: AtomicU64::new(0),
        faults: AtomicU32::new(0),
        report,
        later,
        stack: stack.top,
        spare,
        image: handover.image.len,
        options: handover.options,
    })?)
}

/// The nested tables as setup made them.
#[inline(never)]
fn nested(handover: &HandOver, tables: Tables, ram_end: u64) -> Result<Nested<Tables>, Failure> {
    let identity_end = ram_end.max(4 << 30).next_multiple_of(2 << 20);
    let (guest, types) = if handover.vmx {
        (Root::ept(handover.npt_root), mtrrs())
    } else {
        (handover.npt_root.into(), Mtrrs::none())
    };
    let ends = (identity_end, addresses::end(__cpuid, try_msr));
    let roots = Roots { guest, own: handover.host_cr3 };
    Nested::new(tables, roots, types, handover.hole, handover.ff_page, ends)
        .map_err(|_| Failure::Exhausted)
}

/// The machine, for ever.
#[inline(never)]
fn machine(
    carve: &mut Carve,
    handover: &HandOver,
    (line, mirror): (Option<Line>, Option<Line>),
    ram: Ram,
    nested: Nested<Tables>,
) -> Result<&'static Real, Failure> {
    // SAFETY: zeroes are bytes.
    let (notes, ring, frame, scratch, patch) = unsafe {
        (
            core::ptr::from_mut(carve.zeroed()?.0),
            carve.zeroed::<[u8; 16 << 10]>()?.0,
            carve.zeroed()?.0,
            carve.zeroed()?.0,
            carve.zeroed()?.0,
        )
    };
    let buffers = Buffers { frame, scratch, patch };
    let map = (handover.map, handover.map_len as usize);
    let host =
        Pc { ram, reset: handover.reset, hole: handover.hole, map, notes, gif: !handover.vmx };
    let log = Log::new(ring, mirror);
    let mut machine =
        Machine::new(host, handover.options, handover.cpus, line, buffers, nested, log);
    machine.next_disk = handover.next_disk;
    Ok(carve.put(machine)?)
}

/// The CPU's MTRRs, if it has any.
fn mtrrs() -> Mtrrs {
    const MTRR: u32 = 1 << 12;
    if __cpuid(1).edx & MTRR == 0 {
        return Mtrrs::none();
    }
    Mtrrs::read_from(__cpuid(0x8000_0008).eax as u8, try_msr)
}

/// The state the BIOS boot path asks for.
fn real_mode(vcpu: &mut dyn Vcpu, handover: &HandOver) {
    let start = handover.start;
    vcpu.set_segment(Seg::Cs, Segment::real(start.cs, CODE16));
    vcpu.set_segment(Seg::Ss, Segment::real(start.ss, DATA16));
    vcpu.set_system(System::Rip, u64::from(start.ip));
    vcpu.set_gpr(Gpr::Rsp, u64::from(start.sp));
    vcpu.set_gpr(Gpr::Rdx, u64::from(start.dl));
}

extern "C" fn enter(guest: *mut ()) -> ! {
    // SAFETY: `resident_start` passes the `Guest` it got, and its stack is left for good.
    let Guest { machine, cpu, vcpu } = unsafe { &mut *guest.cast::<Guest>() };
    match vcpu {
        Vendor::Svm(vcpu) => hv::run(machine, cpu, vcpu),
        Vendor::Vmx(vcpu) => hv::run(machine, cpu, vcpu),
    }
}
