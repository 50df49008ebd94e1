//! Against `iced-x86`, which is too large for the image and right.
extern crate std;

use super::disassemble;
use crate::CodeSize::{self, Bits16, Bits32, Bits64};
use iced_x86::{Decoder, DecoderOptions, FastFormatter, Instruction};
use proptest::prelude::*;
use std::string::String;

#[test]
fn what_a_bios_executes() {
    for (size, bytes, text) in [
        (Bits16, &[0xea, 0x5b, 0xe0, 0x00, 0xf0][..], "jmp 0xF000:0xE05B"),
        (Bits16, &[0xcd, 0x19], "int 0x19"),
        (Bits16, &[0xe9, 0x10, 0x00], "jmp 0x1013"),
        (Bits16, &[0x67, 0x66, 0x8b, 0x04, 0x24], "mov eax, [esp]"),
        (Bits16, &[0x2e, 0x0f, 0x01, 0x16, 0x34, 0x12], "lgdt cs:[0x1234]"),
        (Bits16, &[0xf3, 0x66, 0xa5], "rep movsd"),
        (Bits16, &[0x26, 0xc6, 0x47, 0xfe, 0x41], "mov byte ptr es:[bx-0x2], 0x41"),
        (Bits16, &[0xf1], "int1"),
        (Bits16, &[0x0f, 0x01, 0xd8], "vmrun"),
        (Bits16, &[0xe3, 0xfe], "jcxz 0x1000"),
        (Bits32, &[0xff, 0x2d, 1, 2, 3, 4], "jmpf fword ptr [0x4030201]"),
        (Bits32, &[0x0f, 0x20, 0xc0], "mov eax, cr0"),
        (Bits32, &[0x48], "dec eax"),
        (Bits32, &[0xd9, 0x7d, 0xfc], "fnstcw [ebp-0x4]"),
        (Bits64, &[0x48, 0x8b, 0x05, 1, 0, 0, 0], "mov rax, [rip+0x1]"),
        (Bits64, &[0x0f, 0x05], "syscall"),
        (Bits64, &[0x41, 0x57], "push r15"),
        (Bits64, &[0x48, 0xcf], "iretq"),
        (Bits64, &[0xf3, 0x0f, 0x1e, 0xfa], "endbr64"),
        (Bits64, &[0x0f, 0x58, 0x00], "simd 0F 58 [rax]"),
        (Bits64, &[0xc5, 0xf8, 0x77], "avx 1:77"),
        (Bits64, &[0x48], "(bad)"),
        (Bits64, &[0x0f, 0x0a], "(bad)"),
        (Bits64, &[], "(bad)"),
    ] {
        let line = disassemble(size, 0x1000, bytes);
        assert_eq!(line.text(), text, "{bytes:02x?}");
        assert!(line.len() == bytes.len() || text == "(bad)" && line.len() == 1);
    }
}

fn bits(size: CodeSize) -> u32 {
    match size {
        Bits16 => 16,
        Bits32 => 32,
        Bits64 => 64,
    }
}

/// What iced makes of it, if it is an instruction.
fn iced(size: CodeSize, ip: u64, bytes: &[u8]) -> Option<(Instruction, String)> {
    let decoded = Decoder::with_ip(bits(size), bytes, ip, DecoderOptions::AMD).decode();
    if decoded.is_invalid() {
        return None;
    }
    let mut formatter = FastFormatter::new();
    let options = formatter.options_mut();
    options.set_use_hex_prefix(true);
    options.set_rip_relative_addresses(true);
    options.set_space_after_operand_separator(true);
    let mut text = String::new();
    formatter.format(&decoded, &mut text);
    Some((decoded, text))
}

/// Without what is a matter of taste: prefixes that do nothing, sizes of memory, what string instructions imply.
fn plain(text: &str) -> String {
    let mut text = String::from(text);
    for size in [
        "byte",
        "word",
        "dword",
        "qword",
        "fword",
        "tbyte",
        "fpuenv14",
        "fpuenv28",
        "fpustate94",
        "fpustate108",
    ] {
        for before in [' ', ','] {
            text = text.replace(&std::format!("{before}{size} ptr "), &std::format!("{before}"));
        }
    }
    let prefixes = [
        "es ",
        "cs ",
        "ss ",
        "ds ",
        "fs ",
        "gs ",
        "rep ",
        "repe ",
        "repne ",
        "bnd ",
        "xacquire ",
        "xrelease ",
    ];
    while let Some(prefix) = prefixes.iter().find(|it| text.starts_with(**it)) {
        text = String::from(&text[prefix.len()..]);
    }
    let word = text.split(' ').next().unwrap();
    let strings = ["movs", "cmps", "stos", "lods", "scas", "ins", "outs"];
    if strings.iter().any(|it| word.strip_prefix(it).is_some_and(|rest| rest.len() == 1)) {
        return String::from(word);
    }
    if text == "iret" { String::from("iretw") } else { text }
}

/// Where names and shown operands are a matter of taste as well.
const OTHERS: &[&str] = &[
    "Arpl",
    "Cldemote",
    "Lar",
    "Lsl",
    "Lfs",
    "Lgs",
    "Lss",
    "Lldt",
    "Ltr",
    "Sldt",
    "Str",
    "Verr",
    "Verw",
    "Loop",
    "Loope",
    "Loopne",
    "Prefetch",
    "Prefetchw",
    "Prefetchit0",
    "Prefetchit1",
    "Prefetchnta",
    "Prefetcht0",
    "Prefetcht1",
    "Prefetcht2",
    "Prefetchwt1",
    "Reservednop",
    "Sal",
    "Retf",
    "Xlatb",
    "Popa",
    "Popf",
    "Pusha",
    "Pushf",
    "Xbegin",
    "Clwb",
    "Clflushopt",
    "Tpause",
    "Umonitor",
    "Umwait",
    "Vmclear",
    "Vmxon",
    "Ptwrite",
    "Clrssbsy",
    "Incsspd",
    "Incsspq",
    "Senduipi",
    "Rdpid",
];

/// Without `end` behind its mnemonic.
fn shorter(text: &str, end: &str) -> String {
    let (name, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
    String::from(name.strip_suffix(end).unwrap_or(name)) + rest
}

/// What is wrong with our reading of `bytes`, if anything.
fn wrong(size: CodeSize, ip: u64, bytes: &[u8]) -> Option<String> {
    let line = disassemble(size, ip, bytes);
    if line.text().is_empty() || line.len() == 0 || line.len() > bytes.len() {
        return Some(std::format!("{bytes:02x?}: {line:?}"));
    }
    let (decoded, text) = iced(size, ip, bytes)?;
    let name = std::format!("{:?}", decoded.mnemonic());
    // VIA's own.
    if bytes.windows(2).any(|code| matches!(code, [0x0f, 0xa6 | 0xa7])) {
        return None;
    }
    let read = ["simd ", "avx ", "x87 "].iter().all(|it| !line.text().contains(it));
    let ones = |text: &str| text.replace(", 0x1", ", 1");
    let segments = |text: String| match size {
        Bits64 => ["es:", "cs:", "ss:", "ds:"].iter().fold(text, |text, it| text.replace(it, "")),
        _ => text,
    };
    let read = read && !text.starts_with("notrack");
    let same =
        |ours: &str, theirs: &str| segments(ones(&plain(ours))) == segments(ones(&plain(theirs)));
    // The same with 64-bit operands.
    let longer = ["64", "q"].iter().any(|it| same(line.text(), &shorter(&text, it)));
    let right = longer || !read || OTHERS.contains(&name.as_str()) || same(line.text(), &text);
    (line.len() != decoded.len() || !right).then(|| {
        let code = &bytes[..decoded.len()];
        std::format!("{size:?} {code:02x?} is {text:?}, not {:?} of {}", line.text(), line.len())
    })
}

/// Every opcode with every ModRM, in each size of code, bare and behind a prefix.
#[test]
fn every_opcode() {
    let rest = [0x24, 0x81, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde];
    let mut complaints = std::vec::Vec::new();
    for prefix in [&[][..], &[0x66], &[0x67], &[0xf3], &[0x48], &[0x45], &[0x66, 0x67, 0x65]] {
        for map in [&[][..], &[0x0f]] {
            for opcode in 0..=255 {
                // Every mode and register bare; enough of them behind a prefix.
                let step = if prefix.is_empty() { 1 } else { 13 };
                for modrm in (0..=255).step_by(step) {
                    let bytes = [prefix, map, &[opcode, modrm], &rest].concat();
                    for size in [Bits16, Bits32, Bits64] {
                        complaints.extend(wrong(size, 0x12_3456, &bytes));
                    }
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{} wrong:\n{}", complaints.len(), complaints[..].join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    #[test]
    fn any_bytes(
        size in prop::sample::select(&[Bits16, Bits32, Bits64][..]),
        ip: u64,
        bytes in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let complaint = wrong(size, ip, &bytes);
        prop_assert!(complaint.is_none(), "{}", complaint.unwrap_or_default());
    }
}
