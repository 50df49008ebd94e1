//! Why the CPU refused a guest: the checks of VM entries on the guest's state, by name (SDM 3C, 26.3.1). Pure: fields
//! come from the caller.
use crate::capability::Controls;
use x86defs::vmx::control::{entry, secondary};
use x86defs::vmx::{activity, event, field, pending, rights, shadow};
use x86defs::{cr, rflags};

/// The fields, and what they are held against.
struct State<'a> {
    read: &'a dyn Fn(u32) -> u64,
    controls: &'a Controls,
}

/// One segment register.
#[derive(Clone, Copy)]
struct Register {
    name: &'static str,
    selector: u16,
    limit: u32,
    rights: u32,
    base: u64,
}

impl Register {
    const fn usable(self) -> bool {
        self.rights & rights::UNUSABLE == 0
    }

    const fn kind(self) -> u32 {
        self.rights & 15
    }

    const fn dpl(self) -> u32 {
        self.rights >> 5 & 3
    }

    /// Whether limit and granularity fit together.
    const fn granular(self) -> bool {
        let whole = self.limit & 0xfff == 0xfff;
        let large = self.limit & 0xfff0_0000 != 0;
        let flag = self.rights & rights::GRANULAR != 0;
        (whole || !flag) && (!large || flag)
    }
}

/// A check that failed: the register or field, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed(pub &'static str, pub &'static str);

type Checked = Result<(), Failed>;

fn require(holds: bool, name: &'static str, what: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(Failed(name, what)) }
}

const fn canonical(address: u64) -> bool {
    // With five levels there are more; none of the VMM's own doing.
    ((address << 7) as i64 >> 7) as u64 == address
}

impl State<'_> {
    fn get(&self, field: u32) -> u64 {
        (self.read)(field)
    }

    fn long(&self) -> bool {
        self.get(field::ENTRY_CONTROLS) & u64::from(entry::GUEST_LONG) != 0
    }

    fn unrestricted(&self) -> bool {
        self.controls.secondary & secondary::UNRESTRICTED != 0
    }

    fn virtual_8086(&self) -> bool {
        self.get(field::GUEST_RFLAGS) & rflags::VM != 0
    }

    fn register(&self, name: &'static str, n: u32) -> Register {
        let at = |first: u32| self.get(first.wrapping_add(n.wrapping_mul(2)));
        Register {
            name,
            selector: at(field::GUEST_ES_SELECTOR) as u16,
            limit: at(field::GUEST_ES_LIMIT) as u32,
            rights: at(field::GUEST_ES_RIGHTS) as u32,
            base: at(field::GUEST_ES_BASE),
        }
    }

    /// SDM 3C, 26.3.1.1.
    fn control_registers(&self) -> Checked {
        let (cr0, cr4) = (self.get(field::GUEST_CR0), self.get(field::GUEST_CR4));
        let (fixed0, fixed4) = self.controls.fixed;
        let free = if self.unrestricted() { cr::CR0_PE | cr::CR0_PG } else { 0 };
        let (protected, paging) = (cr0 & cr::CR0_PE != 0, cr0 & cr::CR0_PG != 0);
        require(cr0 & fixed0 & !free == fixed0 & !free, "CR0", "a bit that must be 1 is 0")?;
        let (allowed0, allowed4) = self.controls.allowed;
        require(cr0 & !allowed0 == 0, "CR0", "a bit that must be 0 is 1")?;
        require(cr4 & !allowed4 == 0, "CR4", "a bit that must be 0 is 1")?;
        require(protected || !paging, "CR0", "PG without PE")?;
        require(cr0 & cr::CR0_WP != 0 || cr4 & cr::CR4_CET == 0, "CR4", "CET without CR0.WP")?;
        require(cr4 & fixed4 == fixed4, "CR4", "a bit that must be 1 is 0")?;
        let efer = self.get(field::GUEST_EFER);
        if self.long() {
            require(paging && cr4 & cr::CR4_PAE != 0, "CR0, CR4", "long mode without PG and PAE")?;
        } else {
            require(cr4 & cr::CR4_PCIDE == 0, "CR4", "PCIDE outside long mode")?;
        }
        require(
            (efer & cr::EFER_LMA != 0) == self.long(),
            "EFER",
            "LMA is not the entry control's",
        )?;
        let agree = (efer & cr::EFER_LMA != 0) == (efer & cr::EFER_LME != 0);
        require(!paging || agree, "EFER", "LMA is not LME, with paging on")?;
        const KNOWN: u64 = cr::EFER_SCE | cr::EFER_LME | cr::EFER_LMA | cr::EFER_NXE;
        require(efer & !KNOWN == 0, "EFER", "a reserved bit is 1")?;
        require(
            self.get(field::GUEST_CR3) >> 52 == 0,
            "CR3",
            "a bit beyond the physical addresses is 1",
        )?;
        require(self.get(field::GUEST_DR7) >> 32 == 0, "DR7", "bits 63 to 32 are not 0")?;
        let records = self.get(field::GUEST_DEBUGCTL);
        require(records & !0xffc7 == 0, "DEBUGCTL", "a reserved bit is 1")?;
        let pat = self.get(field::GUEST_PAT).to_le_bytes();
        require(
            pat.iter().all(|kind| matches!(kind, 0 | 1 | 4..=7)),
            "PAT",
            "a type that does not exist",
        )?;
        for (name, at) in [
            ("SYSENTER_ESP", field::GUEST_SYSENTER_ESP),
            ("SYSENTER_EIP", field::GUEST_SYSENTER_EIP),
        ] {
            require(canonical(self.get(at)), name, "not canonical")?;
        }
        Ok(())
    }

    /// SDM 3C, 26.3.1.2: CS.
    fn code(&self, cs: Register, ss: Register) -> Checked {
        let name = cs.name;
        if self.virtual_8086() {
            return self.old_style(cs);
        }
        require(cs.usable(), name, "no segment")?;
        let kinds = if self.unrestricted() { [3, 9, 11, 13, 15] } else { [9, 9, 11, 13, 15] };
        require(kinds.contains(&cs.kind()), name, "the type is no accessed code")?;
        require(cs.rights & rights::CODE_OR_DATA != 0, name, "a system segment")?;
        match cs.kind() {
            3 => require(cs.dpl() == 0, name, "data in the place of code with a DPL above 0")?,
            9 | 11 => require(cs.dpl() == ss.dpl(), name, "the DPL is not SS's")?,
            _ => require(cs.dpl() <= ss.dpl(), name, "the DPL is above SS's")?,
        }
        require(cs.rights & rights::PRESENT != 0, name, "not present")?;
        require(cs.rights & rights::RESERVED == 0, name, "a reserved bit of the rights is 1")?;
        let both = rights::LONG | rights::BIG;
        require(!self.long() || cs.rights & both != both, name, "L and D are both 1")?;
        require(cs.granular(), name, "limit and granularity do not fit")?;
        require(cs.base >> 32 == 0, name, "base above 4 GiB")
    }

    /// SDM 3C, 26.3.1.2: what virtual-8086 mode asks for.
    fn old_style(&self, it: Register) -> Checked {
        require(
            it.base == u64::from(it.selector) << 4,
            it.name,
            "the base is not the selector times 16",
        )?;
        require(it.limit == 0xffff, it.name, "the limit is not FFFFh")?;
        require(it.rights == 0xf3, it.name, "the rights are not F3h")
    }

    /// SDM 3C, 26.3.1.2: SS, DS, ES, FS, GS.
    fn data(&self, it: Register, cs: Register) -> Checked {
        if self.virtual_8086() {
            return self.old_style(it);
        }
        let stack = it.name == "SS";
        if stack {
            let protected = self.get(field::GUEST_CR0) & cr::CR0_PE != 0;
            let zero = protected && cs.kind() != 3;
            require(zero || it.dpl() == 0, it.name, "a DPL above 0 in real mode")?;
            let same = it.selector & 3 == cs.selector & 3;
            require(self.unrestricted() || same, it.name, "the RPL is not CS's")?;
        }
        if !it.usable() {
            return Ok(());
        }
        if stack {
            require(matches!(it.kind(), 3 | 7), it.name, "the type is no accessed writable data")?;
        } else {
            require(it.kind() & 1 != 0, it.name, "the type is not accessed")?;
            let readable = it.kind() & 8 == 0 || it.kind() & 2 != 0;
            require(readable, it.name, "code that cannot be read")?;
        }
        require(it.rights & rights::CODE_OR_DATA != 0, it.name, "a system segment")?;
        require(it.rights & rights::PRESENT != 0, it.name, "not present")?;
        require(it.rights & rights::RESERVED == 0, it.name, "a reserved bit of the rights is 1")?;
        require(it.granular(), it.name, "limit and granularity do not fit")?;
        let low = matches!(it.name, "FS" | "GS") || it.base >> 32 == 0;
        require(low && canonical(it.base), it.name, "the base is out of range")
    }

    /// SDM 3C, 26.3.1.2 and 26.3.1.3: TR, LDTR, GDTR, IDTR.
    fn tables(&self) -> Checked {
        let tr = self.register("TR", 7);
        require(tr.usable(), tr.name, "no segment")?;
        let kinds = if self.long() { [11, 11] } else { [3, 11] };
        require(kinds.contains(&tr.kind()), tr.name, "the type is no busy task")?;
        require(tr.selector & 4 == 0, tr.name, "the selector is one of the LDT")?;
        let ldtr = self.register("LDTR", 6);
        require(!ldtr.usable() || ldtr.kind() == 2, ldtr.name, "the type is no LDT")?;
        require(
            !ldtr.usable() || ldtr.selector & 4 == 0,
            ldtr.name,
            "the selector is one of the LDT",
        )?;
        for it in [tr, ldtr].into_iter().filter(|it| it.usable()) {
            require(it.rights & rights::CODE_OR_DATA == 0, it.name, "no system segment")?;
            require(it.rights & rights::PRESENT != 0, it.name, "not present")?;
            require(
                it.rights & rights::RESERVED == 0,
                it.name,
                "a reserved bit of the rights is 1",
            )?;
            require(it.granular(), it.name, "limit and granularity do not fit")?;
            require(canonical(it.base), it.name, "the base is not canonical")?;
        }
        for it in [
            ("GDTR", field::GUEST_GDTR_BASE, field::GUEST_GDTR_LIMIT),
            ("IDTR", field::GUEST_IDTR_BASE, field::GUEST_IDTR_LIMIT),
        ] {
            let (name, base, limit) = it;
            require(canonical(self.get(base)), name, "the base is not canonical")?;
            require(self.get(limit) >> 16 == 0, name, "the limit has more than 16 bits")?;
        }
        Ok(())
    }

    /// SDM 3C, 26.3.1.4.
    fn flags(&self, cs: Register) -> Checked {
        let (rip, flags) = (self.get(field::GUEST_RIP), self.get(field::GUEST_RFLAGS));
        if self.long() && cs.rights & rights::LONG != 0 {
            require(canonical(rip), "RIP", "not canonical")?;
        } else {
            require(rip >> 32 == 0, "RIP", "above 4 GiB outside 64-bit code")?;
        }
        const ZEROES: u64 = !0x3f_ffff | 1 << 15 | 1 << 5 | 1 << 3;
        require(flags & ZEROES == 0, "RFLAGS", "a bit that is always 0 is 1")?;
        require(flags & rflags::RESERVED_ONE != 0, "RFLAGS", "bit 1 is 0")?;
        let real = self.get(field::GUEST_CR0) & cr::CR0_PE == 0;
        let old = self.virtual_8086();
        require(!old || !self.long() && !real, "RFLAGS", "VM in long mode or real mode")?;
        let info = self.get(field::ENTRY_EVENT) as u32;
        let interrupt = info & event::VALID != 0 && info & event::TYPE == event::INTERRUPT;
        require(
            !interrupt || flags & rflags::IF != 0,
            "RFLAGS",
            "an interrupt is injected with IF = 0",
        )
    }

    /// SDM 3C, 26.3.1.5.
    fn other(&self, ss: Register) -> Checked {
        const STATE: &str = "activity state";
        const BLOCKED: &str = "interruptibility state";
        let doing = self.get(field::GUEST_ACTIVITY);
        let blocked = self.get(field::GUEST_INTERRUPTIBILITY);
        let info = self.get(field::ENTRY_EVENT) as u32;
        let valid = info & event::VALID != 0;
        let kind = info & event::TYPE;
        require(doing <= activity::WAIT_FOR_SIPI, STATE, "unknown")?;
        require(doing != activity::HLT || ss.dpl() == 0, STATE, "HLT outside level 0")?;
        let shadows = blocked & (shadow::STI | shadow::MOV_SS);
        require(shadows == 0 || doing == activity::ACTIVE, STATE, "not active in a shadow")?;
        require(blocked & !0x1f == 0, BLOCKED, "a reserved bit is 1")?;
        require(shadows != shadow::STI | shadow::MOV_SS, BLOCKED, "both shadows at once")?;
        let flags = self.get(field::GUEST_RFLAGS);
        let enabled = flags & rflags::IF != 0;
        require(blocked & shadow::STI == 0 || enabled, BLOCKED, "the shadow of STI with IF = 0")?;
        let interrupt = valid && kind == event::INTERRUPT;
        require(!interrupt || shadows == 0, BLOCKED, "an interrupt is injected in a shadow")?;
        let nmi = valid && kind == event::NMI;
        require(
            !nmi || blocked & shadow::MOV_SS == 0,
            BLOCKED,
            "an NMI is injected in MOV SS's shadow",
        )?;
        require(
            !nmi || blocked & shadow::NMI == 0,
            BLOCKED,
            "an NMI is injected while NMIs are blocked",
        )?;
        require(blocked & shadow::SMI == 0, BLOCKED, "SMIs are blocked")?;
        let step = self.get(field::GUEST_PENDING_DEBUG);
        const BTF: u64 = 1 << 1;
        if shadows != 0 || doing == activity::HLT {
            let due = flags & rflags::TF != 0 && self.get(field::GUEST_DEBUGCTL) & BTF == 0;
            let told = step & pending::BS != 0;
            require(due == told, "pending debug exceptions", "BS is not what TF and BTF say")?;
        }
        require(self.get(field::LINK_POINTER) == u64::MAX, "VMCS link pointer", "not all ones")
    }

    /// SDM 3C, 26.3.1.6.
    fn pae_pointers(&self) -> Checked {
        let cr4 = self.get(field::GUEST_CR4);
        let pae = self.get(field::GUEST_CR0) & cr::CR0_PG != 0 && cr4 & cr::CR4_PAE != 0;
        if !pae || self.long() {
            return Ok(());
        }
        const RESERVED: u64 = 0b1_1110_0110 | 0xfff << 52;
        let lawful = |at| self.get(at) & 1 == 0 || self.get(at) & RESERVED == 0;
        let all = (field::GUEST_PDPTE0..).step_by(2).take(4).all(lawful);
        require(all, "PAE's page-directory pointers", "a reserved bit is 1")
    }

    /// What is injected (SDM 3C, 26.2.1.3).
    fn event(&self) -> Checked {
        const EVENT: &str = "VM-entry interruption information";
        let info = self.get(field::ENTRY_EVENT) as u32;
        if info & event::VALID == 0 {
            return Ok(());
        }
        let (kind, vector) = (info & event::TYPE, info & event::VECTOR);
        require(kind != 1 << 8, EVENT, "a reserved type")?;
        require(kind != event::NMI || vector == 2, EVENT, "an NMI whose vector is not 2")?;
        require(kind != event::EXCEPTION || vector < 32, EVENT, "an exception above 31")?;
        let protected = self.get(field::GUEST_CR0) & cr::CR0_PE != 0;
        let pushes = protected && kind == event::EXCEPTION && matches!(vector, 8 | 10..=14 | 17);
        let told = info & event::ERROR_VALID != 0;
        require(
            pushes == told || vector == 21,
            EVENT,
            "an error code where there is none, or none where there is",
        )?;
        require(info & 0x7fff_f000 == 0, EVENT, "a reserved bit is 1")
    }
}

/// The first check of the guest's state that fails, in the manual's order.
///
/// # Errors
/// [`Failed`].
pub fn guest_state(controls: &Controls, read: &dyn Fn(u32) -> u64) -> Checked {
    let state = State { read, controls };
    state.event()?;
    state.control_registers()?;
    let (cs, ss) = (state.register("CS", 1), state.register("SS", 2));
    state.code(cs, ss)?;
    for (name, n) in [("SS", 2), ("DS", 3), ("ES", 0), ("FS", 4), ("GS", 5)] {
        state.data(state.register(name, n), cs)?;
    }
    state.tables()?;
    state.flags(cs)?;
    state.other(ss)?;
    state.pae_pointers()
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
