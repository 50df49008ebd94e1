//! The guest's memory by linear address, as the CPU accesses tasks and descriptors: with a supervisor's rights.
use crate::{Host, Machine};
use paging::walk::{Access, Mode, WalkError};
use vcpu::Vcpu;
use x86defs::vector;

/// Why a switch is not made, or not completed: the exception, its error code, and of a page fault the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) vector: u8,
    pub(super) error: u32,
    pub(super) address: Option<u64>,
}

impl Fault {
    pub(super) const fn new(vector: u8, error: u32) -> Self {
        Self { vector, error, address: None }
    }

    /// #TS for a selector.
    pub(super) const fn task(selector: u16) -> Self {
        Self::new(vector::TS, (selector & 0xfffc) as u32)
    }
}

/// See the module.
pub(super) struct Linear<'a, H: Host> {
    pub(super) machine: &'a Machine<H>,
}

impl<H: Host> Linear<'_, H> {
    fn at(&self, vcpu: &dyn Vcpu, linear: u64, write: bool) -> Result<u64, Fault> {
        let address = linear & 0xffff_ffff;
        let access = Access { write, user: false, fetch: false, ac: false };
        let found = match vcpu.paging().translate(&self.machine.host, address, access) {
            Ok(found) => return Ok(found.gpa),
            Err(WalkError::Protection) => 1,
            Err(WalkError::Reserved { .. }) => 1 | 1 << 3,
            Err(_) => 0,
        };
        let error = found | u32::from(write) << 1;
        Err(Fault { address: Some(address), ..Fault::new(vector::PF, error) })
    }

    /// Whether the byte at `linear` and the one `further` on can be accessed; both within two pages.
    pub(super) fn probe(
        &self,
        vcpu: &dyn Vcpu,
        linear: u64,
        further: u64,
        write: bool,
    ) -> Result<(), Fault> {
        self.at(vcpu, linear, write)?;
        let last = linear.wrapping_add(further);
        // In the next page it is that page's first byte that is missed.
        let last = if (last ^ linear) & !0xfff == 0 { last } else { last & !0xfff };
        self.at(vcpu, last, write).map(drop)
    }

    /// Read byte by byte, for it may lie across a page's end; what is no RAM reads FFh.
    pub(super) fn read(&self, vcpu: &dyn Vcpu, linear: u64, out: &mut [u8]) -> Result<(), Fault> {
        for (byte, n) in out.chunks_mut(1).zip(0..) {
            let gpa = self.at(vcpu, linear.wrapping_add(n), false)?;
            if !self.machine.host.read_memory(gpa, byte) {
                byte.fill(0xff);
            }
        }
        Ok(())
    }

    /// Write likewise; what is no RAM swallows it.
    pub(super) fn write(&self, vcpu: &dyn Vcpu, linear: u64, data: &[u8]) -> Result<(), Fault> {
        for (byte, n) in data.chunks(1).zip(0..) {
            let gpa = self.at(vcpu, linear.wrapping_add(n), true)?;
            self.machine.host.write_memory(gpa, byte);
        }
        Ok(())
    }

    /// Whether PAE's four pointers, if it is PAE, have no reserved bit set (SDM 3A, table 4-8).
    pub(super) fn lawful_pointers(&self, vcpu: &dyn Vcpu) -> bool {
        const RESERVED: u64 = 0x1e6 | !0 << 52;
        let paging = vcpu.paging();
        let root = paging.cr3 & 0xffff_ffe0;
        paging.mode() != Mode::Pae
            || (0..4_u64).all(|n| {
                let entry = self.machine.host.read_u64(root.wrapping_add(n.wrapping_mul(8)));
                entry.is_none_or(|entry| entry & 1 == 0 || entry & RESERVED == 0)
            })
    }
}
