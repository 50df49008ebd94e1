//! `emu` against a complete decoder: what it recognises is what the bytes are, and what it should
//! recognise it does.

use emu::{CodeSize, Opcode, Segment, decode};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

const SIZES: [(CodeSize, u32); 3] =
    [(CodeSize::Bits16, 16), (CodeSize::Bits32, 32), (CodeSize::Bits64, 64)];

pub(crate) fn run(bytes: &[u8]) {
    for (code, bits) in SIZES {
        check(bytes, code, bits);
    }
}

fn check(bytes: &[u8], code: CodeSize, bits: u32) {
    // Without checks: a LOCK that makes #UD of an instruction does not make it another one.
    let mut decoder = Decoder::new(bits, bytes, DecoderOptions::NO_INVALID_CHECK);
    let theirs = decoder.decode();
    let expected = opcode(&theirs);
    let Some(ours) = decode(bytes, code) else {
        assert!(expected.is_none(), "{bits} bits: {bytes:02x?} is {theirs:?}, none seen");
        return;
    };
    if ours.opcode == Opcode::Other {
        assert!(ours.len == 0 && expected.is_none(), "{bits} bits: {bytes:02x?} is {theirs:?}");
        return;
    }
    // Intel gives these none of 66h, F2h and F3h; AMD says nothing of them, and they do no harm: what is
    // no such instruction does not exit as one.
    let bare = matches!(ours.opcode, Opcode::Monitor | Opcode::Mwait | Opcode::Xsetbv);
    let prefixed = bare && theirs.is_invalid();
    assert!(
        prefixed || Some(ours.opcode) == expected,
        "{bits} bits: {bytes:02x?} is {theirs:?}, seen {ours:?}"
    );
    assert_eq!(usize::from(ours.len), theirs.len(), "{bits} bits: {bytes:02x?} is {theirs:?}");
    if let Some(size) = operand_size(&theirs) {
        // In 64-bit mode the stack's 4 bytes are 8, and the callers know.
        let pops = bits == 64 && !theirs.is_string_instruction();
        let stack = if pops && ours.operand_size == 4 { 8 } else { ours.operand_size };
        let iret = matches!(theirs.code(), Code::Iretd);
        assert!(stack == size || (iret && stack == 8), "{bits} bits: {bytes:02x?}, seen {ours:?}");
    }
    if ours.opcode == Opcode::Sysret {
        // 66h means nothing to it (APM 3, SYSRET).
        assert_eq!(
            ours.operand_size == 8,
            theirs.code() == Code::Sysretq,
            "{bits} bits: {bytes:02x?}"
        );
    }
    if matches!(ours.opcode, Opcode::StringIo | Opcode::RepMovs | Opcode::RepStos) {
        string(&theirs, &ours, bits);
    }
}

/// What `emu` should call it; `None`: nothing it tells apart.
fn opcode(theirs: &Instruction) -> Option<Opcode> {
    let debug = |register: Register| u8::try_from(register as u32 - Register::DR0 as u32).unwrap();
    let gpr = |register: Register| u8::try_from(register.number()).unwrap();
    Some(match theirs.mnemonic() {
        Mnemonic::Cpuid => Opcode::Cpuid,
        Mnemonic::Rdmsr if theirs.code() == Code::Rdmsr => Opcode::Rdmsr,
        Mnemonic::Wrmsr => Opcode::Wrmsr,
        Mnemonic::Hlt => Opcode::Hlt,
        Mnemonic::Invd => Opcode::Invd,
        Mnemonic::Monitor => Opcode::Monitor,
        Mnemonic::Mwait => Opcode::Mwait,
        Mnemonic::Xsetbv => Opcode::Xsetbv,
        // With REP before it, it is VMMCALL all the same outside of an encrypted guest (APM 3, VMGEXIT).
        Mnemonic::Vmmcall | Mnemonic::Vmgexit => Opcode::Vmmcall,
        Mnemonic::Syscall => Opcode::Syscall,
        Mnemonic::Sysret | Mnemonic::Sysretq => Opcode::Sysret,
        Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Pushfq => Opcode::Pushf,
        Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => Opcode::Popf,
        Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq => Opcode::Iret,
        Mnemonic::Int3 => Opcode::Int3,
        Mnemonic::Into => Opcode::Into,
        Mnemonic::Int1 => Opcode::Icebp,
        Mnemonic::Int => Opcode::Int(theirs.immediate8()),
        Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd => Opcode::StringIo,
        Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd => Opcode::StringIo,
        // MOVSD is one of SSE's too.
        Mnemonic::Movsb | Mnemonic::Movsw | Mnemonic::Movsd | Mnemonic::Movsq
            if theirs.has_rep_prefix() && theirs.is_string_instruction() =>
        {
            Opcode::RepMovs
        }
        Mnemonic::Stosb | Mnemonic::Stosw | Mnemonic::Stosd | Mnemonic::Stosq
            if theirs.has_rep_prefix() =>
        {
            Opcode::RepStos
        }
        Mnemonic::Mov if theirs.op0_register().is_dr() => Opcode::MovDr {
            register: debug(theirs.op0_register()),
            gpr: gpr(theirs.op1_register()),
        },
        Mnemonic::Mov if theirs.op_count() == 2 && theirs.op1_register().is_dr() => Opcode::MovDr {
            register: debug(theirs.op1_register()),
            gpr: gpr(theirs.op0_register()),
        },
        _ => return None,
    })
}

/// Bytes of the operand where the instruction comes in several sizes.
fn operand_size(theirs: &Instruction) -> Option<u8> {
    Some(match theirs.code() {
        Code::Pushfw | Code::Popfw | Code::Iretw => 2,
        Code::Pushfd | Code::Popfd | Code::Iretd => 4,
        Code::Pushfq | Code::Popfq | Code::Iretq => 8,
        code if theirs.is_string_instruction() => match code {
            Code::Movsb_m8_m8 | Code::Stosb_m8_AL => 1,
            Code::Movsw_m16_m16 | Code::Stosw_m16_AX => 2,
            Code::Movsd_m32_m32 | Code::Stosd_m32_EAX => 4,
            Code::Movsq_m64_m64 | Code::Stosq_m64_RAX => 8,
            _ => return None,
        },
        _ => return None,
    })
}

fn string(theirs: &Instruction, ours: &emu::Instruction, bits: u32) {
    let inward = ours.opcode == Opcode::RepStos
        || matches!(theirs.mnemonic(), Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd);
    let address = match if inward { theirs.op0_kind() } else { theirs.op1_kind() } {
        OpKind::MemoryESDI | OpKind::MemorySegSI => 2,
        OpKind::MemoryESEDI | OpKind::MemorySegESI => 4,
        OpKind::MemoryESRDI | OpKind::MemorySegRSI => 8,
        other => panic!("{theirs:?} has {other:?}"),
    };
    assert_eq!(ours.address_size, address, "{theirs:?}");
    if inward {
        // Its segment is ES whatever is said, and iced does not keep what is.
        return;
    }
    let segment = match theirs.segment_prefix() {
        // Four are null prefixes in 64-bit mode (APM 3, 1.2.4), which iced names all the same.
        Register::ES | Register::CS | Register::SS | Register::DS if bits == 64 => None,
        Register::ES => Some(Segment::Es),
        Register::CS => Some(Segment::Cs),
        Register::SS => Some(Segment::Ss),
        Register::DS => Some(Segment::Ds),
        Register::FS => Some(Segment::Fs),
        Register::GS => Some(Segment::Gs),
        _ => None,
    };
    assert_eq!(ours.segment, segment, "{theirs:?}");
}

/// Every opcode of one and two bytes, with what may stand before it and some of what may stand behind.
#[cfg(test)]
pub(crate) fn all_opcodes() {
    let before: [&[u8]; 9] =
        [&[], &[0x66], &[0x67], &[0xf2], &[0xf3], &[0x2e], &[0x65], &[0x40], &[0x48]];
    for before in before {
        for (first, second) in
            (0..=255).flat_map(|first| (0..=255).map(move |second| (first, second)))
        {
            // Behind 0Fh 01h stands a third byte of the opcode.
            let thirds = if (first, second) == (0x0f, 0x01) { 256 } else { 2 };
            for third in 0..thirds {
                let third = if thirds == 2 { third * 0xc0 } else { third } as u8;
                run(&[before, &[first, second, third], &[0; 8]].concat());
            }
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let plain: [&[u8]; 22] = [
        &[0x0f, 0xa2],
        &[0x0f, 0x32],
        &[0x0f, 0x30],
        &[0xf4],
        &[0x0f, 0x08],
        &[0x0f, 0x01, 0xc8],
        &[0x0f, 0x01, 0xc9],
        &[0x0f, 0x01, 0xd9],
        &[0xf3, 0x0f, 0x01, 0xd9],
        &[0x0f, 0x05],
        &[0x48, 0x0f, 0x07],
        &[0x66, 0x9c],
        &[0x9d],
        &[0x48, 0xcf],
        &[0xcc],
        &[0xce],
        &[0xf1],
        &[0xcd, 0x80],
        &[0x44, 0x0f, 0x21, 0xf1],
        &[0x0f, 0x23, 0xf8],
        &[0xf3, 0x65, 0x67, 0x6e],
        &[0x26, 0x66, 0xf2, 0x6d],
    ];
    let mut seeds: Vec<Vec<u8>> = plain.iter().map(|bytes| bytes.to_vec()).collect();
    seeds.push([vec![0x66; 13], vec![0x0f, 0xa2]].concat());
    seeds.push([vec![0x2e; 14], vec![0x0f, 0xa2]].concat());
    seeds
}
