//! The other CPUs: each is started before the guest runs, by INIT and SIPI (SDM 3A, 8.4; APM 2, 15.27.8 and 16.5), sets
//! itself up in its block, and waits in the VMM. One that does not answer, or cannot run a guest, is left out.
use crate::carve::{Carve, Exhausted};
use crate::cpu::{self, CpuStacks, Failure, Shared};
use crate::host::try_msr;
use crate::memory::Ram;
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use handover::{HandOver, PER_CPU_BYTES};
use x86defs::{cr, msr};

global_asm!(include_str!("trampoline.S"));

unsafe extern "C" {
    static trampoline: [u8; SIZE];
}

/// Bytes of the trampoline, and where in it the words stand that it takes: CR3, CR0, CR4, EFER, the GDT's and the 64-bit
/// code's linear addresses, then quadwords.
const SIZE: usize = 0x100;
const WORDS: usize = 0xa0;

/// ICR: INIT, and the start-up IPI of a page; both assert (SDM 3A, 10.6.1).
const INIT: u32 = 0x4500;
const STARTUP: u32 = 0x4600;

/// Milliseconds an INIT takes (SDM 3A, 8.4.4.1), a CPU may need to come, and one that came to be ready.
const INIT_TIME: u64 = 10;
const COMING: u64 = 20;
const SETTING_UP: u64 = 500;

/// What became of a CPU.
const ABSENT: u32 = 0;
const CAME: u32 = 1;
const READY: u32 = 2;
const UNFIT: u32 = 3;

/// A CPU's place, behind the stacks in its block. The first CPU writes it, then the CPU itself; `state` says whose turn it is.
pub(crate) struct Seat {
    state: AtomicU32,
    apic_id: u32,
    own: UnsafeCell<Own>,
}

struct Own {
    block: Carve,
    stacks: CpuStacks,
    shared: Option<&'static Shared>,
    failure: Option<Failure>,
}

/// All seats, at a fixed stride.
pub(crate) struct Seats {
    first: *mut Seat,
    len: usize,
}

impl Seats {
    /// A block for each CPU that setup lists.
    pub(crate) fn carve(
        carve: &mut Carve,
        handover: &HandOver,
        guard: &mut dyn FnMut(u64),
    ) -> Result<Self, Exhausted> {
        let ids = carve.pointer(handover.processors.base).cast::<u32>();
        let len = (handover.processors.len / 4) as usize;
        let mut first = core::ptr::null_mut();
        for n in 0..len {
            let mut block = carve.part(PER_CPU_BYTES)?;
            let stacks = CpuStacks::carve(&mut block)?;
            stacks.guards().into_iter().for_each(&mut *guard);
            // SAFETY: the list lies in the hole and has `len` words, by setup's contract.
            let apic_id = unsafe { ids.add(n).read() };
            let place = block.place::<Seat>()?;
            let own = UnsafeCell::new(Own { block, stacks, shared: None, failure: None });
            // SAFETY: the place is the seat's alone.
            unsafe { place.write(Seat { state: AtomicU32::new(ABSENT), apic_id, own }) };
            if n == 0 {
                first = place;
            }
        }
        if first.is_null() { Err(Exhausted) } else { Ok(Self { first, len }) }
    }

    /// Whether there are others.
    pub(crate) fn several(&self) -> bool {
        self.len > 1
    }

    fn at(&self, n: usize) -> &'static Seat {
        // SAFETY: one of `len`, each of which was written and lives for ever.
        unsafe { &*self.first.byte_add(n.min(self.len - 1) * PER_CPU_BYTES as usize) }
    }

    /// The first CPU's block and stacks.
    pub(crate) fn first(&self) -> Result<(&'static mut Carve, &'static CpuStacks), Exhausted> {
        let seat = self.at(0);
        if seat.state.swap(READY, Ordering::Relaxed) != ABSENT {
            return Err(Exhausted);
        }
        // SAFETY: asked once, by the CPU whose seat it is.
        let own = unsafe { &mut *seat.own.get() };
        Ok((&mut own.block, &own.stacks))
    }

    /// Starts the others, one after the other; how many are ready.
    pub(crate) fn start_others(
        &self,
        handover: &HandOver,
        ram: &Ram,
        shared: &'static Shared,
    ) -> u32 {
        let Some(apic) = Apic::of_this_cpu().filter(|_| self.several()) else { return 0 };
        let reached = |n: &usize| apic.reaches(self.at(*n).apic_id);
        // The page of low memory that is setup's gift: nobody else's, and put back as it was.
        let page = u64::from(handover.start.cs) << 4 & !0xfff;
        let mut kept = [0; SIZE];
        ram.read(page, &mut kept);
        (1..self.len).filter(reached).for_each(|n| apic.send(self.at(n).apic_id, INIT));
        let pause = |milliseconds: u64, seat: Option<(&Seat, u32)>| {
            let end = tsc().saturating_add(shared.millisecond.saturating_mul(milliseconds));
            let there = |(seat, state): (&Seat, u32)| seat.state.load(Ordering::Acquire) >= state;
            while tsc() < end && !seat.is_some_and(there) {
                core::hint::spin_loop();
            }
        };
        pause(INIT_TIME, None);
        let mut ready = 0;
        for n in (1..self.len).filter(reached) {
            let seat = self.at(n);
            // SAFETY: the CPU has not come, and will only by what is sent behind this.
            let own = unsafe { &mut *seat.own.get() };
            own.shared = Some(shared);
            let top = own.stacks.main.top;
            ram.write(
                page,
                &patched(page as u32, handover.host_cr3, top, core::ptr::from_ref(seat)),
            );
            // The second is for CPUs that miss the first (SDM 3A, 8.4.4.1).
            for _ in 0..2 {
                if seat.state.load(Ordering::Acquire) == ABSENT {
                    apic.send(seat.apic_id, STARTUP | (page >> 12) as u32);
                    pause(COMING, Some((seat, CAME)));
                }
            }
            if seat.state.load(Ordering::Acquire) == ABSENT {
                // Not later, when the page is the guest's.
                apic.send(seat.apic_id, INIT);
                continue;
            }
            pause(SETTING_UP, Some((seat, READY)));
            ready += u32::from(seat.state.load(Ordering::Acquire) == READY);
        }
        ram.write(page, &kept);
        ready
    }

    /// Tells of each that is left out.
    pub(crate) fn failures(&self, mut tell: impl FnMut(u32, &dyn fmt::Display)) {
        for seat in (0..self.len).map(|n| self.at(n)) {
            match seat.state.load(Ordering::Acquire) {
                ABSENT => tell(seat.apic_id, &"it did not answer"),
                CAME => tell(seat.apic_id, &"it was not ready in time"),
                UNFIT => {
                    // SAFETY: the CPU has written this before the state, and does nothing any more.
                    if let Some(failure) = unsafe { &(*seat.own.get()).failure } {
                        tell(seat.apic_id, failure);
                    }
                }
                _ => {}
            }
        }
    }
}

/// The trampoline for the CPU with this seat, to lie at `page`.
fn patched(page: u32, cr3: u64, stack: u64, seat: *const Seat) -> [u8; SIZE] {
    let (cr0, cr4): (u64, u64);
    // SAFETY: reading control registers has no effect.
    unsafe {
        asm!("mov {}, cr0", "mov {}, cr4", out(reg) cr0, out(reg) cr4, options(nomem, nostack))
    };
    // What each CPU switches on for itself is not taken over, nor what needs another mode first.
    let cr4 = cr4 & (cr::CR4_PAE | cr::CR4_MCE);
    let efer = try_msr(msr::EFER) & (cr::EFER_LME | cr::EFER_NXE);
    // SAFETY: constant bytes of the image.
    let mut bytes = unsafe { trampoline };
    let words = [cr3 as u32, cr0 as u32, cr4 as u32, efer as u32, page + 0x80, page + 0x60];
    let quads = [stack, seat as u64, begin as *const () as u64];
    let mut put = |at: usize, value: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    };
    for (n, at) in [0, 4, 8, 12].into_iter().enumerate() {
        put(WORDS + at, &words[n].to_le_bytes());
    }
    put(WORDS + 0x12, &words[4].to_le_bytes());
    put(WORDS + 0x18, &words[5].to_le_bytes());
    for (n, quad) in quads.iter().enumerate() {
        put(WORDS + 0x20 + n * 8, &quad.to_le_bytes());
    }
    bytes
}

/// A CPU that was started, on its own stack.
extern "C" fn begin(seat: &'static Seat) -> ! {
    seat.state.store(CAME, Ordering::Release);
    // SAFETY: it is this CPU's turn.
    let own = unsafe { &mut *seat.own.get() };
    let done = match own.shared {
        Some(shared) => cpu::set_up(&mut own.block, &own.stacks, shared, false).map(|_| shared.vmx),
        None => Err(Failure::Exhausted),
    };
    match done {
        Ok(vmx) => {
            seat.state.store(READY, Ordering::Release);
            if !vmx {
                // SAFETY: SVM is on. SMIs are served; an NMI or INIT sets its flag.
                unsafe { asm!("stgi", options(nomem, nostack)) };
            }
        }
        Err(failure) => {
            own.failure = Some(failure);
            seat.state.store(UNFIT, Ordering::Release);
        }
    }
    crate::fault::halt()
}

fn tsc() -> u64 {
    // SAFETY: every 64-bit CPU has the instruction, and it changes nothing.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// This CPU's local APIC, before the guest has it.
enum Apic {
    X2,
    /// Its registers' address.
    X(u64),
}

impl Apic {
    /// `None` if it is switched off.
    fn of_this_cpu() -> Option<Self> {
        let base = try_msr(msr::APIC_BASE);
        match base >> 10 & 3 {
            3 => Some(Self::X2),
            2 => Some(Self::X(base & 0x000f_ffff_ffff_f000)),
            _ => None,
        }
    }

    /// Whether this ID is one other CPU: in xAPIC mode it has 8 bits, and all ones are everybody (SDM 3A, 10.6.2.1 and
    /// 10.12.9).
    fn reaches(&self, id: u32) -> bool {
        match self {
            Self::X2 => id != u32::MAX && u64::from(id) != try_msr(msr::X2APIC_ID),
            // SAFETY: as in `send`; reading it has no effect.
            Self::X(page) => unsafe {
                id < 0xff && ((page + 0x20) as *const u32).read_volatile() >> 24 != id
            },
        }
    }

    /// Sends a command to the CPU with this ID.
    fn send(&self, id: u32, command: u32) {
        match self {
            // SAFETY: x2APIC mode has the MSR (SDM 3A, 10.12.9); the command starts or stops a CPU of ours.
            Self::X2 => unsafe {
                asm!("wrmsr", in("ecx") msr::X2APIC_ICR, in("eax") command, in("edx") id, options(nostack));
            },
            // SAFETY: the page is the APIC's, mapped at its own address as all of the first 4 GiB.
            Self::X(page) => unsafe {
                let register = |at: u64| (page + at) as *mut u32;
                register(0x310).write_volatile(id << 24);
                register(0x300).write_volatile(command);
                // Delivered, or not in the time any APIC takes.
                for _ in 0..100_000 {
                    if register(0x300).read_volatile() & 1 << 12 == 0 {
                        break;
                    }
                }
            },
        }
    }
}
