//! The register file: one 64-bit layout in every CPU mode.
//!
//! gdb loses its mind when the layout changes under it (from real to long mode), so it never does.

/// A segment register or system table register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The visible selector.
    pub selector: u16,
    /// The linear base address.
    pub base: u64,
    /// The limit in bytes, granularity applied.
    pub limit: u32,
    /// Bits 47:40 (type, S, DPL, P) and 55:52 (AVL, L, D/B, G) of the descriptor, joined to 12
    /// bits as in the VMCB (AMD APM 2, 15.5.1).
    pub attributes: u16,
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The linear base address.
    pub base: u64,
    /// The limit in bytes.
    pub limit: u16,
}

macro_rules! registers {
    ($($variant:ident $name:literal $bytes:literal $ty:ident ($($field:tt)+);)*) => {
        /// The registers the stub carries, in gdb's order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Register {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Register {
            /// All of them, in the order of the target description.
            pub const ALL: &[Register] = &[$(Register::$variant,)*];

            /// The name gdb knows it by.
            pub const fn name(self) -> &'static str {
                match self { $(Register::$variant => $name,)* }
            }

            /// Its size on the wire.
            pub const fn bytes(self) -> usize {
                match self { $(Register::$variant => $bytes,)* }
            }

            /// Its value, zero-extended.
            #[must_use]
            pub fn get(self, regs: &Regs) -> u64 {
                match self { $(Register::$variant => u64::from(regs.$($field)+),)* }
            }

            /// Stores `value` cut to the register's width, and nothing else.
            pub(crate) fn put(self, regs: &mut Regs, value: u64) {
                match self { $(Register::$variant => regs.$($field)+ = value as $ty,)* }
            }
        }
    };
}

registers! {
    Rax "rax" 8 u64 (rax);
    Rbx "rbx" 8 u64 (rbx);
    Rcx "rcx" 8 u64 (rcx);
    Rdx "rdx" 8 u64 (rdx);
    Rsi "rsi" 8 u64 (rsi);
    Rdi "rdi" 8 u64 (rdi);
    Rbp "rbp" 8 u64 (rbp);
    Rsp "rsp" 8 u64 (rsp);
    R8 "r8" 8 u64 (r8);
    R9 "r9" 8 u64 (r9);
    R10 "r10" 8 u64 (r10);
    R11 "r11" 8 u64 (r11);
    R12 "r12" 8 u64 (r12);
    R13 "r13" 8 u64 (r13);
    R14 "r14" 8 u64 (r14);
    R15 "r15" 8 u64 (r15);
    Rip "rip" 8 u64 (rip_linear);
    Eflags "eflags" 4 u64 (eflags);
    Cs "cs" 4 u16 (cs.selector);
    Ss "ss" 4 u16 (ss.selector);
    Ds "ds" 4 u16 (ds.selector);
    Es "es" 4 u16 (es.selector);
    Fs "fs" 4 u16 (fs.selector);
    Gs "gs" 4 u16 (gs.selector);
    FsBase "fs_base" 8 u64 (fs.base);
    GsBase "gs_base" 8 u64 (gs.base);
    Ip "ip" 8 u64 (ip);
    KernelGsBase "k_gs_base" 8 u64 (kernel_gs_base);
    Cr0 "cr0" 8 u64 (cr0);
    Cr2 "cr2" 8 u64 (cr2);
    Cr3 "cr3" 8 u64 (cr3);
    Cr4 "cr4" 8 u64 (cr4);
    Cr8 "cr8" 8 u64 (cr8);
    Efer "efer" 8 u64 (efer);
    CsBase "cs_base" 8 u64 (cs.base);
    SsBase "ss_base" 8 u64 (ss.base);
    DsBase "ds_base" 8 u64 (ds.base);
    EsBase "es_base" 8 u64 (es.base);
    CsLimit "cs_limit" 4 u32 (cs.limit);
    SsLimit "ss_limit" 4 u32 (ss.limit);
    DsLimit "ds_limit" 4 u32 (ds.limit);
    EsLimit "es_limit" 4 u32 (es.limit);
    FsLimit "fs_limit" 4 u32 (fs.limit);
    GsLimit "gs_limit" 4 u32 (gs.limit);
    CsAttributes "cs_attr" 4 u16 (cs.attributes);
    SsAttributes "ss_attr" 4 u16 (ss.attributes);
    DsAttributes "ds_attr" 4 u16 (ds.attributes);
    EsAttributes "es_attr" 4 u16 (es.attributes);
    FsAttributes "fs_attr" 4 u16 (fs.attributes);
    GsAttributes "gs_attr" 4 u16 (gs.attributes);
    Ldtr "ldtr" 4 u16 (ldtr.selector);
    LdtrBase "ldtr_base" 8 u64 (ldtr.base);
    LdtrLimit "ldtr_limit" 4 u32 (ldtr.limit);
    LdtrAttributes "ldtr_attr" 4 u16 (ldtr.attributes);
    Tr "tr" 4 u16 (tr.selector);
    TrBase "tr_base" 8 u64 (tr.base);
    TrLimit "tr_limit" 4 u32 (tr.limit);
    TrAttributes "tr_attr" 4 u16 (tr.attributes);
    GdtrBase "gdtr_base" 8 u64 (gdtr.base);
    GdtrLimit "gdtr_limit" 4 u16 (gdtr.limit);
    IdtrBase "idtr_base" 8 u64 (idtr.base);
    IdtrLimit "idtr_limit" 4 u16 (idtr.limit);
    Dr0 "dr0" 8 u64 (dr[0]);
    Dr1 "dr1" 8 u64 (dr[1]);
    Dr2 "dr2" 8 u64 (dr[2]);
    Dr3 "dr3" 8 u64 (dr[3]);
    Dr6 "dr6" 8 u64 (dr6);
    Dr7 "dr7" 8 u64 (dr7);
}

/// Everything a client can see of one CPU. FPU and SSE state is not here: it is never saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the manuals' names")]
pub struct Regs {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    /// gdb's `rip`: the linear address of the next instruction, so the CS base added to [`ip`](Regs::ip).
    pub rip_linear: u64,
    /// The CPU's RIP: the offset in the code segment.
    pub ip: u64,
    pub eflags: u64,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    pub es: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub ldtr: Segment,
    pub tr: Segment,
    pub gdtr: Table,
    pub idtr: Table,
    pub kernel_gs_base: u64,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub cr8: u64,
    pub efer: u64,
    /// DR0 to DR3.
    pub dr: [u64; 4],
    pub dr6: u64,
    pub dr7: u64,
}
