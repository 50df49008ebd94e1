//! Memory by every packet, linear and physical.

use crate::fake::framed;
use crate::talk::{SUPPORTED, Talk, reply, stop};
use stub::Action;

/// The reply to `x`, its escapes undone.
fn binary(talk: &mut Talk, packet: &str) -> Vec<u8> {
    assert_eq!(talk.packet(packet), Action::None);
    let sent = std::mem::take(&mut talk.stub.output().0);
    assert!(sent.len() <= stub::PACKET + 1);
    let body = sent.strip_prefix(b"+$").unwrap();
    let body = &body[..body.len() - 3];
    assert_eq!(sent[1..], framed(body));
    assert!(body.iter().all(|byte| !b"#$*".contains(byte)), "escaped");
    let (mut data, mut bytes) = (Vec::new(), body.iter());
    while let Some(&byte) = bytes.next() {
        data.push(if byte == b'}' { bytes.next().unwrap() ^ 0x20 } else { byte });
    }
    data
}

#[test]
fn binary_reads() {
    let mut talk = Talk::attached();
    let all: Vec<u8> = (0..=255).collect();
    talk.machine.memory[..256].copy_from_slice(&all);
    assert_eq!(binary(&mut talk, "x1000,100"), [b"b", &all[..]].concat());
    assert_eq!(talk.ask("x1000,0"), "b", "gdb's question whether there is such a packet");
    assert_eq!(binary(&mut talk, "x2ffe,10"), b"b\x90\x90", "what there is");
    for (addr, errno) in
        [("0,4", "E0e"), ("ffffffffffffffff,8", "E0e"), ("1000", "E16"), ("z,1", "E16")]
    {
        assert_eq!(talk.ask(&format!("x{addr}")), errno);
    }
    // Nothing but escapes fits, too.
    talk.machine.memory.fill(b'}');
    for len in ["800", "1000", "ffffffffffffffff"] {
        let data = binary(&mut talk, &format!("x1000,{len}"));
        assert_eq!(data.len(), 1 + (stub::PACKET - 5) / 2);
        assert!(data[1..].iter().all(|&byte| byte == b'}'));
    }
    assert_eq!(talk.ask("?"), stop("T05thread:1;"), "the session lives");
}

#[test]
fn a_binary_read_fills_its_packet() {
    let mut talk = Talk::attached();
    for (index, byte) in talk.machine.memory.iter_mut().enumerate() {
        *byte = index as u8;
    }
    let data = binary(&mut talk, "x1000,1000");
    // Four of 256 are escaped: the last of them may have left one byte of room.
    let escapes = data[1..].iter().filter(|byte| b"#$*}".contains(byte)).count();
    assert!(data.len() + escapes + 4 >= stub::PACKET - 1, "{} bytes", data.len());
    assert_eq!(data[1..], talk.machine.memory[..data.len() - 1]);
}

#[test]
fn writes_have_the_length_they_say() {
    let mut talk = Talk::attached();
    let before = talk.machine.memory.clone();
    for wrong in [
        "M1000,2:00",
        "M1000,1:0000",
        "M1000,1:0",
        "M1000,:",
        "M,1:00",
        "X1000,2:a",
        "X1000,1:ab",
        "X1000,1:}",
        "X1000,2:a}",
    ] {
        assert_eq!(talk.ask(wrong), "E16", "{wrong}");
    }
    assert_eq!(talk.machine.memory, before);
    for probe in ["X1000,0:", "M1000,0:"] {
        assert_eq!(talk.ask(probe), "OK", "{probe}");
    }
    for (packet, byte) in [(&b"X1000,1::"[..], b':'), (b"X1000,1:,", b','), (b"X1000,1:}]", b'}')] {
        assert_eq!(talk.raw(&framed(packet)), Action::None);
        assert_eq!(talk.sent(), reply("OK"));
        assert_eq!(talk.machine.memory[0], byte);
    }
}

#[test]
fn physical_memory() {
    let mut talk = Talk::attached();
    assert_eq!(talk.ask("qqemu.Supported"), "PhyMemMode");
    assert_eq!(talk.ask("qqemu.PhyMemMode"), "0");
    assert_eq!(talk.ask("m10,2"), "E0e");
    assert_eq!(talk.ask("Qqemu.PhyMemMode:1"), "OK");
    assert_eq!(talk.ask("qqemu.PhyMemMode"), "1");
    assert_eq!(talk.ask("m10,2"), "1111");
    assert_eq!(talk.ask("mff,10"), "11");
    assert_eq!(talk.ask("m1000,2"), "E0e");
    assert_eq!(talk.ask("M10,2:0203"), "OK");
    assert_eq!(talk.ask("X12,2:ab"), "OK");
    assert_eq!(talk.ask("Xff,2:ab"), "E0e");
    assert_eq!(binary(&mut talk, "xf,6"), b"b\x11\x02\x03ab\x11");
    for silly in ["Qqemu.PhyMemMode:", "Qqemu.PhyMemMode:2", "Qqemu.PhyMemMode:10"] {
        assert_eq!(talk.ask(silly), "E16");
    }
    assert_eq!(talk.ask("Qqemu.PhyMemMode:0"), "OK");
    assert_eq!(talk.ask("m1000,2"), "9090");
    // The next client begins with linear addresses.
    assert_eq!(talk.ask("Qqemu.PhyMemMode:1"), "OK");
    assert_eq!(talk.ask("qSupported:swbreak+"), SUPPORTED);
    assert_eq!(talk.ask("qqemu.PhyMemMode"), "0");
}

#[test]
fn a_number_wider_than_its_register_is_refused() {
    let mut talk = Talk::attached();
    assert_eq!(talk.ask("P12=08000000"), "OK");
    assert_eq!(talk.ask("P12=08000100"), "E16");
    assert_eq!(talk.machine.regs[0].cs.selector, 8);
}
