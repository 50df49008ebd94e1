//! What is passed over of a REP MOVS or REP STOS into the hole, against a model that looks at each byte of each element.
use super::bench::{Bench, CODE, HOLE};
use super::host::RAM;
use super::std;
use proptest::prelude::*;
use std::vec::Vec;
use vcpu::{Event, Exit, Gpr, Intercept, NestedFault, Seg, Segment, System, Vcpu};
use x86defs::{cr, rflags};

/// Where the pages of [`Case::pages`] begin.
const PAGES: u64 = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Hole { write: bool, user: bool },
    Ram { user: bool },
    Device,
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Real,
    Flat,
    Long,
}

#[derive(Clone, Debug)]
struct Case {
    mode: Mode,
    movs: bool,
    size: u8,
    /// With 67h.
    other_address: bool,
    down: bool,
    user: bool,
    /// Both segments' base, limit and whether they expand down; of no effect in long mode.
    segments: [(u64, u32, bool); 2],
    /// Where RDI and RSI point in them, and RCX.
    offsets: [u64; 2],
    count: u64,
    pages: Vec<Page>,
    /// The fault is none of the element's.
    elsewhere: bool,
}

impl Case {
    fn code(&self) -> Vec<u8> {
        let mut code = std::vec![0xf3];
        if self.other_address {
            code.push(0x67);
        }
        match (self.size, self.mode) {
            (2, Mode::Flat | Mode::Long) | (4, Mode::Real) => code.push(0x66),
            (8, _) => code.push(0x48),
            _ => {}
        }
        code.push(if self.movs { 0xa4 } else { 0xaa } | u8::from(self.size != 1));
        code
    }

    fn mask(&self) -> u64 {
        match (self.mode, self.other_address) {
            (Mode::Long, false) => u64::MAX,
            (Mode::Real, false) | (Mode::Flat, true) => 0xffff,
            _ => 0xffff_ffff,
        }
    }

    fn bench(&self) -> Bench {
        let mut bench = match self.mode {
            Mode::Real => Bench::new(),
            Mode::Flat => Bench::bits32(),
            Mode::Long => Bench::long(),
        };
        if self.mode == Mode::Long {
            for (at, entry) in [(0x10_0000, 0x10_1007), (0x10_1000, 0x10_2007)] {
                bench.write(at, &u64::to_le_bytes(entry));
            }
            bench.write(0x10_2010, &u64::to_le_bytes(0x10_3007));
            for (n, page) in self.pages.iter().enumerate() {
                let n = n as u64;
                let entry = match *page {
                    Page::Hole { write, user } => {
                        (HOLE.base + n * 0x1000) | 1 | u64::from(write) << 1 | u64::from(user) << 2
                    }
                    Page::Ram { user } => (0x8000 + n * 0x1000) | 3 | u64::from(user) << 2,
                    Page::Device => 0xc000_0007,
                    Page::Absent => 0,
                };
                bench.write(0x10_3000 + 8 * n, &entry.to_le_bytes());
            }
            bench.vcpu.change(System::Cr0, cr::CR0_WP, true);
            bench.vcpu.cpl = if self.user { 3 } else { 0 };
        } else {
            for (register, (base, limit, down)) in [Seg::Es, Seg::Ds].into_iter().zip(self.segments)
            {
                let big = if self.mode == Mode::Real { 0x93 } else { 0xc93 };
                let attributes = big | u16::from(down) << 2;
                bench.vcpu.set_segment(register, Segment { selector: 8, attributes, limit, base });
            }
        }
        bench.vcpu.change(System::Rflags, rflags::DF, self.down);
        for (register, value) in [Gpr::Rdi, Gpr::Rsi, Gpr::Rcx].into_iter().zip(self.before()) {
            bench.vcpu.set_gpr(register, value);
        }
        bench
    }

    /// RDI, RSI and RCX, with something above what counts.
    fn before(&self) -> [u64; 3] {
        let [to, from] = self.offsets;
        [to, from, self.count].map(|it| it & self.mask() | 0xabcd_1234_5678_9abc & !self.mask())
    }

    /// The offset of element `n`.
    fn offset(&self, which: usize, n: u64) -> u64 {
        let bytes = n.wrapping_mul(u64::from(self.size));
        let from = self.offsets[which];
        let to = if self.down { from.wrapping_sub(bytes) } else { from.wrapping_add(bytes) };
        to & self.mask()
    }

    fn linear(&self, which: usize, offset: u64) -> u64 {
        match self.mode {
            Mode::Long => offset,
            _ => self.segments[which].0.wrapping_add(offset) & 0xffff_ffff,
        }
    }

    /// What may be read or written at a linear address.
    fn gpa(&self, linear: u64, write: bool) -> Option<u64> {
        if self.mode != Mode::Long {
            return Some(linear);
        }
        let n = linear.checked_sub(PAGES)? >> 12;
        let base = match *self.pages.get(usize::try_from(n).ok()?)? {
            Page::Hole { write: may, user } if (may || !write) && (user || !self.user) => {
                HOLE.base + n * 0x1000
            }
            Page::Ram { user } if user || !self.user => 0x8000 + n * 0x1000,
            Page::Device => 0xc000_0000,
            _ => return None,
        };
        Some(base | linear & 0xfff)
    }

    /// Whether the segment has all bytes of element `n`, and none before it was wrapped to.
    fn allowed(&self, which: usize, n: u64) -> bool {
        let offset = self.offset(which, n);
        let (_, limit, down) = self.segments[which];
        let top = if self.mode == Mode::Real { 0xffff } else { 0xffff_ffff };
        let inside = (0..u64::from(self.size)).map(|byte| offset + byte).all(|at| {
            if down { at > u64::from(limit) && at <= top } else { at <= u64::from(limit) }
        });
        let start = self.offset(which, 0);
        let wrapped = if self.down { offset > start } else { offset < start };
        !wrapped && (inside || self.mode == Mode::Long)
    }

    /// Whether element `n` is in the page of the first, and does nothing but read RAM or the hole and write to the hole's
    /// page at `gpa`.
    fn harmless(&self, n: u64, gpa: u64) -> bool {
        (0..if self.movs { 2 } else { 1 }).all(|which| {
            let first = self.linear(which, self.offset(which, 0));
            (0..u64::from(self.size)).all(|byte| {
                // Side by side: whether the offset wraps meanwhile is asked elsewhere.
                let bytes = n * u64::from(self.size);
                let start = if self.down { first.wrapping_sub(bytes) } else { first + bytes };
                let at = start.wrapping_add(byte);
                let place = self.gpa(at, which == 0);
                let kind = place.is_some_and(|it| match which {
                    0 => it >> 12 == gpa >> 12,
                    _ => it < RAM as u64 || HOLE.contains(it, 1),
                });
                kind && at >> 12 == first >> 12
            })
        })
    }

    fn check(&self) -> Result<u64, TestCaseError> {
        let mut bench = self.bench();
        let found = self.gpa(self.linear(0, self.offset(0, 0)), true);
        let gpa = found.filter(|it| HOLE.contains(*it, 1) && !self.elsewhere);
        let gpa = gpa.unwrap_or(HOLE.base + 0x1f_f008);
        bench.exit_at(&self.code(), write(gpa));
        prop_assert!(bench.vcpu.intercepts(Intercept::Everything), "a step follows");
        prop_assert!(!Bench::shows_ff(bench.leaf(gpa)));

        let side = if self.movs { 0..2 } else { 0..1 };
        let allowed = |n| side.clone().all(|which| self.allowed(which, n));
        let possible = (0..self.count).take_while(|n| self.harmless(*n, gpa)).count() as u64;
        let lawful = (0..possible).take_while(|n| allowed(*n)).count() as u64;
        // A segment that ends within the page: not worth the trouble.
        let passed = if lawful == possible { possible.saturating_sub(1) } else { 0 };
        let now = [Gpr::Rdi, Gpr::Rsi, Gpr::Rcx].map(|register| bench.vcpu.gpr(register));
        let before = self.before();
        if passed == 0 {
            prop_assert_eq!(now, before);
            return Ok(0);
        }
        let kept = if self.mask() == 0xffff { !0xffff } else { 0 };
        let told = |value: u64, old: u64| value & self.mask() | old & kept;
        prop_assert_eq!(now[0], told(self.offset(0, passed), before[0]));
        let from = if self.movs { told(self.offset(1, passed), before[1]) } else { before[1] };
        prop_assert_eq!(now[1], from);
        prop_assert_eq!(now[2], told(self.count - passed, before[2]));
        prop_assert_eq!(bench.rip(), CODE);
        Ok(passed)
    }
}

fn write(gpa: u64) -> Exit {
    Exit::NestedFault(NestedFault { gpa, ..fault() })
}

fn page() -> impl Strategy<Value = Page> {
    let two = || (any::<bool>(), any::<bool>());
    prop_oneof![
        4 => two().prop_map(|(write, user)| Page::Hole { write, user }),
        2 => any::<bool>().prop_map(|user| Page::Ram { user }),
        1 => Just(Page::Device),
        1 => Just(Page::Absent),
    ]
}

/// A segment without paging, and an offset in it, for an address.
fn placed(linear: u64, back: u64, limit: u32, down: bool) -> (u64, (u64, u32, bool)) {
    (back, (linear.wrapping_sub(back) & 0xffff_ffff, limit, down))
}

fn case() -> impl Strategy<Value = Case> {
    let mode = prop_oneof![Just(Mode::Real), Just(Mode::Flat), Just(Mode::Long)];
    let near = prop_oneof![0..0x1000_u64, 0..0x20_u64, 0xff0..0x1000_u64];
    let back = prop_oneof![0..0x10000_u64, 0..0x20_u64, 0xffe0..0x10000_u64, Just(0x4000_u64)];
    let limit = prop_oneof![4 => Just(u32::MAX), 1 => Just(0xffff_u32), 1 => 0..0x10000_u32];
    let down = prop_oneof![7 => Just(false), 1 => Just(true)];
    let side =
        (near, back, limit, down, 0..6_u64, prop_oneof![4 => Just(0), 1 => Just(1), 1 => Just(2)]);
    let count = prop_oneof![0..6_u64, 0..0x2000_u64];
    let flags = proptest::array::uniform5(any::<bool>());
    let all = (mode, flags, 0..4_u32, side.clone(), side, count);
    (all, proptest::collection::vec(page(), 6), 0..10_u8).prop_map(
        |((mode, [movs, other_address, down, user, _], size, to, from, count), pages, odd)| {
            let size = 1 << if mode == Mode::Long { size } else { size.min(2) };
            let place = |(near, back, limit, expands, page, kind), hole: bool| {
                let base = match (mode, kind, hole) {
                    (Mode::Long, ..) => return (PAGES + page * 0x1000 + near, (0, 0, false)),
                    (_, 0, true) | (_, 1, false) => HOLE.base + page * 0x1000,
                    (_, 2, _) => 0xc000_0000,
                    (_, 1, true) => HOLE.end() - 0x1000,
                    _ => 0x9000 + page * 0x1000,
                };
                placed(base + near, back, limit, expands)
            };
            let ((to, es), (from, ds)) = (place(to, true), place(from, false));
            Case {
                mode,
                movs,
                size,
                other_address,
                down,
                user,
                segments: [es, ds],
                offsets: [to, from],
                count,
                pages,
                elsewhere: odd == 0,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn only_what_leaves_no_trace_is_passed_over(case in case()) {
        case.check()?;
    }
}

/// REP STOSD into the hole from the first byte of a page, 5,000 elements.
fn plain() -> Case {
    Case {
        mode: Mode::Flat,
        movs: false,
        size: 4,
        other_address: false,
        down: false,
        user: false,
        segments: [(0, u32::MAX, false); 2],
        offsets: [HOLE.base, 0x9000],
        count: 5000,
        pages: Vec::new(),
        elsewhere: false,
    }
}

#[test]
fn a_page_is_one_step() {
    assert_eq!(plain().check().unwrap(), 1023);
    assert_eq!(Case { movs: true, size: 1, ..plain() }.check().unwrap(), 4095);
    let behind = [HOLE.base + 0xffc, 0x9ffc];
    let down = Case { movs: true, down: true, offsets: behind, ..plain() };
    assert_eq!(down.check().unwrap(), 1023);
    assert_eq!(Case { offsets: [HOLE.base, 0x9800], ..down.clone() }.check().unwrap(), 0);
    assert_eq!(Case { count: 7, ..plain() }.check().unwrap(), 6);
}

#[test]
fn who_looks_sees_each_element() {
    let looks: [fn(&mut Bench); 5] = [
        |bench| bench.vcpu.change(System::Rflags, rflags::TF, true),
        |bench| bench.vcpu.set_system(System::Dr7, 0x401),
        |bench| bench.vcpu.set_system(System::Dr7, 0x480),
        |bench| bench.vcpu.interrupted = Some(Event::Interrupt(0x20)),
        |bench| bench.exit(write(HOLE.base + 0x7000)),
    ];
    for look in looks {
        let mut bench = plain().bench();
        look(&mut bench);
        bench.exit_at(&plain().code(), write(HOLE.base));
        assert_eq!(bench.vcpu.gpr(Gpr::Rdi), plain().before()[0]);
    }
}

#[test]
fn the_cpus_own_walk_is_no_element() {
    for change in
        [NestedFault { table_walk: true, ..fault() }, NestedFault { write: false, ..fault() }]
    {
        let mut bench = plain().bench();
        bench.exit_at(&plain().code(), Exit::NestedFault(change));
        assert_eq!(bench.vcpu.gpr(Gpr::Rdi), plain().before()[0]);
    }
}

fn fault() -> NestedFault {
    NestedFault { gpa: HOLE.base, present: true, write: true, ..Default::default() }
}
