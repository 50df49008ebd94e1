extern crate std;
use super::*;
use CodeSize::{Bits16, Bits32, Bits64};
use proptest::prelude::*;
use std::vec::Vec;

fn is(bytes: &[u8], code: CodeSize, opcode: Opcode, len: u8) {
    let got = decode(bytes, code).map(|i| (i.opcode, i.len));
    assert_eq!(got, Some((opcode, len)), "{bytes:x?}");
}

#[test]
fn plain_forms() {
    is(&[0x0f, 0xa2, 0x90], Bits64, Opcode::Cpuid, 2);
    is(&[0x0f, 0x32], Bits16, Opcode::Rdmsr, 2);
    is(&[0x0f, 0x30], Bits32, Opcode::Wrmsr, 2);
    is(&[0xf4], Bits16, Opcode::Hlt, 1);
    is(&[0x0f, 0x01, 0xc9], Bits64, Opcode::Mwait, 3);
    is(&[0x0f, 0x01, 0xd9], Bits32, Opcode::Vmmcall, 3);
    is(&[0x0f, 0x01, 0xd1], Bits64, Opcode::Xsetbv, 3);
    is(&[0xcd, 0x19], Bits16, Opcode::Int(0x19), 2);
    is(&[0x90, 0x90], Bits64, Opcode::Other, 0);
}

#[test]
fn prefixes_count() {
    is(&[0x66, 0x66, 0x2e, 0x0f, 0xa2], Bits64, Opcode::Cpuid, 5);
    is(&[0x48, 0x0f, 0xa2], Bits64, Opcode::Cpuid, 3);
    // DEC EAX outside 64-bit mode.
    is(&[0x48, 0x0f, 0xa2], Bits32, Opcode::Other, 0);
    let outs = decode(&[0x26, 0xf3, 0x65, 0x6e], Bits32).unwrap();
    assert_eq!((outs.opcode, outs.segment, outs.len), (Opcode::StringIo, Some(Segment::Gs), 4));
    assert_eq!(decode(&[0x26, 0x6e], Bits64).unwrap().segment, None);
}

#[test]
fn operand_sizes() {
    assert_eq!(decode(&[0x9c], Bits16).unwrap().operand_size, 2);
    assert_eq!(decode(&[0x66, 0x9c], Bits16).unwrap().operand_size, 4);
    assert_eq!(decode(&[0x66, 0x9c], Bits32).unwrap().operand_size, 2);
    assert_eq!(decode(&[0x48, 0xcf], Bits64).unwrap().operand_size, 8);
    assert_eq!(decode(&[0x48, 0x66, 0xcf], Bits64).unwrap().operand_size, 2);
}

#[test]
fn address_sizes() {
    let size = |bytes: &[u8], code| decode(bytes, code).unwrap().address_size;
    assert_eq!([size(&[0x6c], Bits16), size(&[0x6c], Bits32), size(&[0x6c], Bits64)], [2, 4, 8]);
    assert_eq!(size(&[0xf3, 0x67, 0x6c], Bits16), 4);
    assert_eq!(size(&[0x67, 0xf3, 0x6e], Bits32), 2);
    assert_eq!(size(&[0x67, 0x6e], Bits64), 4);
}

#[test]
fn repeated_stores() {
    is(&[0xf3, 0xa4], Bits16, Opcode::RepMovs, 2);
    is(&[0x64, 0xf3, 0x67, 0x48, 0xa5], Bits64, Opcode::RepMovs, 5);
    is(&[0xf3, 0x66, 0xab], Bits32, Opcode::RepStos, 3);
    is(&[0xf2, 0xf3, 0xaa], Bits64, Opcode::RepStos, 3);
    for other in [&[0xa4][..], &[0xab], &[0xf2, 0xa5], &[0xf3, 0xf2, 0xab], &[0xf3, 0xac]] {
        is(other, Bits64, Opcode::Other, 0);
    }
    let size = |bytes: &[u8]| decode(bytes, Bits64).unwrap().operand_size;
    let sizes = [size(&[0xf3, 0x48, 0xaa]), size(&[0xf3, 0x66, 0xab]), size(&[0xf3, 0xa5])];
    assert_eq!((sizes, size(&[0xf3, 0x48, 0xa5])), ([1, 2, 4], 8));
}

#[test]
fn debug_registers() {
    is(&[0x0f, 0x23, 0xf8], Bits32, Opcode::MovDr { register: 7, gpr: 0 }, 3);
    is(&[0x41, 0x0f, 0x21, 0xf1], Bits64, Opcode::MovDr { register: 6, gpr: 9 }, 4);
}

#[test]
fn cut_short() {
    assert_eq!(decode(&[], Bits64), None);
    assert_eq!(decode(&[0x0f], Bits64), None);
    assert_eq!(decode(&[0xcd], Bits16), None);
    assert_eq!(decode(&[0x66; 20], Bits16), None);
}

#[test]
fn stores() {
    let is = |bytes: &[u8], code, source| {
        let expected = Store { source, len: bytes.len() as u8 };
        assert_eq!(store(bytes, code), Some(expected), "{bytes:x?}");
    };
    // What Linux's and SeaBIOS's compilers write.
    is(&[0x89, 0xb7, 0x00, 0xd0, 0x5f, 0xff], Bits64, Source::Register(6));
    is(&[0xc7, 0x04, 0x25, 0xb0, 0xd0, 0x5f, 0xff, 0, 0, 0, 0], Bits64, Source::Immediate(0));
    is(&[0xa3, 0xb0, 0xd0, 0xff, 0xff], Bits32, Source::Register(0));
    is(&[0x66, 0x67, 0xc7, 0x03, 4, 3, 2, 1], Bits16, Source::Immediate(0x0102_0304));
    is(&[0x44, 0x89, 0x44, 0x8a, 0x10], Bits64, Source::Register(8));
    is(&[0x89, 0x05, 1, 2, 3, 4], Bits64, Source::Register(0));
    is(&[0x66, 0x89, 0x16, 1, 2], Bits16, Source::Register(2));
    for other in [
        &[0x89, 0xc0][..],
        &[0x66, 0x89, 0x07],
        &[0x48, 0x89, 0x07],
        &[0x88, 0x07],
        &[0x87, 0x07],
        &[0xc7, 0x0f, 0, 0, 0, 0],
        &[0xab],
        &[0x89],
        &[0xc7, 0x07, 0, 0],
    ] {
        assert_eq!(store(other, Bits64), None, "{other:x?}");
    }
}

proptest! {
    /// Its length is the disassembler's, which was tried against another's.
    #[test]
    fn a_store_is_as_long_as_it_is_shown(
        prefix in prop_oneof![Just(None), any::<u8>().prop_map(Some)],
        opcode in prop_oneof![Just(0x89_u8), Just(0xc7), Just(0xa3)],
        tail in proptest::collection::vec(any::<u8>(), 14),
    ) {
        for code in [Bits16, Bits32, Bits64] {
            let bytes: Vec<u8> =
                prefix.into_iter().chain([opcode]).chain(tail.iter().copied()).collect();
            if let Some(found) = store(&bytes, code) {
                prop_assert_eq!(usize::from(found.len), disassemble(code, 0, &bytes).len(), "{:x?}", bytes);
            }
        }
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
        for code in [Bits16, Bits32, Bits64] {
            if let Some(found) = decode(&bytes, code) {
                prop_assert!(usize::from(found.len) <= bytes.len().min(MAX_LEN));
                prop_assert_eq!(found.len == 0, found.opcode == Opcode::Other);
            }
        }
    }
}
