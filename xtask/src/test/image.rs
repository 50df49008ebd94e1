//! The resident image, as built: what must not be in it.

use std::{fs, process::Command};

use anyhow::{Result, bail, ensure};
use object::{Object as _, ObjectSection as _};

use super::Test;
use crate::{build, sh};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("image.no-fpu", 600, no_fpu),
        Test::new("image.relative-relocations", 600, relative_relocations),
    ]
}

/// The guest's FPU and SSE state is never touched, so it need never be saved.
fn no_fpu() -> Result<()> {
    let vmm = build::vmm()?;
    let mut objdump = Command::new("objdump");
    objdump.args(["--disassemble", "--no-show-raw-insn", "--no-addresses"]).arg(&vmm.resident);
    let listing = sh::output(&mut objdump)?;
    let mut function = "";
    let mut seen = 0;
    for line in listing.lines() {
        if let Some(name) = line.strip_suffix(">:") {
            function = name;
        }
        let Some(instruction) = line.strip_prefix('\t') else { continue };
        seen += 1;
        if touches_fpu(instruction) {
            bail!("the resident image uses the FPU, in {function}>: {}", instruction.trim());
        }
    }
    ensure!(seen > 1000, "objdump listed only {seen} instructions");
    Ok(())
}

/// Whether a line of AT&T disassembly names an x87, MMX, SSE or AVX register or instruction.
fn touches_fpu(line: &str) -> bool {
    // What follows `#` is objdump's own comment, what is in `<>` the name of a symbol.
    let line = line.split(['#', '<']).next().unwrap_or_default();
    let mut words = line.split_whitespace();
    let mut mnemonic = words.next().unwrap_or_default();
    while matches!(mnemonic, "lock" | "rep" | "repz" | "repnz" | "data16" | "cs" | "notrack") {
        mnemonic = words.next().unwrap_or_default();
    }
    let registers = ["%xmm", "%ymm", "%zmm", "%mm", "%st"];
    // Mnemonics that name no such register but change the state: all of x87 starts with f.
    let others = ["emms", "ldmxcsr", "stmxcsr", "vzeroupper", "vzeroall", "vldmxcsr", "vstmxcsr"];
    registers.iter().any(|register| line.contains(register))
        || mnemonic.starts_with('f')
        || ["xsave", "xrstor"].iter().any(|prefix| mnemonic.starts_with(prefix))
        || others.contains(&mnemonic)
}

/// Setup relocates the image and knows one kind of relocation only, in one format.
fn relative_relocations() -> Result<()> {
    let vmm = build::vmm()?;
    // The stripped file is what is loaded; stripping keeps what a loader needs.
    for path in [&vmm.resident, &vmm.stripped] {
        let bytes = fs::read(path)?;
        let file = object::File::parse(&*bytes)?;
        ensure!(file.kind() == object::ObjectKind::Dynamic, "the image is no static PIE");
        ensure!(file.section_by_name(".interp").is_none(), "the image wants an interpreter");
        ensure!(
            file.section_by_name(".relr.dyn").is_some(),
            "the image's relocations are not packed"
        );
        let other = file.dynamic_relocations().into_iter().flatten().next();
        ensure!(other.is_none(), "a relocation that is not packed: {other:?}");
        for section in file.sections() {
            ensure!(section.relocations().next().is_none(), "the image is not fully linked");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::touches_fpu;

    #[test]
    fn fpu_instructions_are_seen() {
        for line in [
            "movaps %xmm0,(%rdi)",
            "vmovdqu (%rax),%ymm1",
            "fld1",
            "fxsave (%rdi)",
            "fld    %st(1)",
            "movq   %mm0,%rax",
            "emms",
            "xsave64 (%rdi)",
            "ldmxcsr (%rax)",
            "rep fwait",
        ] {
            assert!(touches_fpu(line), "{line}");
        }
    }

    #[test]
    fn others_are_not() {
        for line in [
            "mov    %rax,%rbx",
            "call   20 <core::fmt::fxsave>",
            "lea    0x10(%rip),%rax        # 40 <%xmm>",
            "rep stos %al,%es:(%rdi)",
            "xsetbv",
            "lock xadd %rax,(%rdi)",
            "str    %ax",
            "vmrun",
        ] {
            assert!(!touches_fpu(line), "{line}");
        }
    }
}
