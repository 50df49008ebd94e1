//! What is said on the wire, byte by byte: what a stopped guest is asked.

use crate::fake::framed;
use crate::talk::{Talk, reply, stop, unframed, unrolled};
use stub::{Action, Breakpoint, Register};

#[test]
fn the_description_is_read_in_pieces() {
    let mut talk = Talk::attached();
    let mut xml = String::new();
    loop {
        let request = format!("qXfer:features:read:target.xml:{:x},7fb", xml.len());
        assert_eq!(talk.packet(&request), Action::None);
        let sent = talk.sent();
        let piece = unframed(&sent[1..]);
        assert!(sent.len() <= 1 + stub::PACKET);
        xml.push_str(&piece[1..]);
        if piece.starts_with('l') {
            break;
        }
        assert!(piece.starts_with('m'));
    }
    assert!(!xml.contains(['\n', '*', '}', '#', '$']), "one line, and nothing to be escaped");
    assert!(xml.starts_with("<?xml") && xml.ends_with("</target>"));
    assert!(xml.contains("org.gnu.gdb.i386.core") && xml.contains("org.ramooflax.system"));
    for silly in ["other.xml:0,7fb", "target.xml:", "target.xml:ffffffffffffffff,1", "target.xml"] {
        assert_eq!(talk.ask(&format!("qXfer:features:read:{silly}")), "E16");
    }
    assert_eq!(talk.ask(&format!("qXfer:features:read:target.xml:{:x},7fb", xml.len())), "l");
    assert_eq!(talk.ask("qXfer:features:read:target.xml:0,0"), "m");
}

#[test]
fn registers_all_and_one() {
    let mut talk = Talk::attached();
    talk.machine.regs[0].rbx = 0x0807_0605_0403_0201;
    let all = talk.ask("g");
    assert_eq!(&all[16..32], "0102030405060708");
    assert_eq!(&all[16 * 16..17 * 16], "0010000000000000");
    assert_eq!(&all[164 * 2..174 * 2], "xxxxxxxxxxxxxxxxxxxx", "st0");
    assert_eq!(talk.ask("p1"), "0102030405060708");
    assert_eq!(talk.ask("p18"), "xxxxxxxxxxxxxxxxxxxx");
    assert_eq!(talk.ask("P0=8877665544332211"), "OK");
    assert_eq!(talk.machine.regs[0].rax, 0x1122_3344_5566_7788);
    assert_eq!(talk.ask("P0=88"), "E16", "too short");
    assert_eq!(talk.ask("P18=00000000000000000000"), "E16", "not held");
    let cr0 = Register::ALL.iter().position(|r| *r == Register::Cr0).unwrap() + 16;
    assert_eq!(talk.ask(&format!("P{cr0:x}=0000000000000000")), "E16", "refused");
    assert_eq!(talk.ask("pfff"), "", "no such register");

    talk.machine.regs[0].cs.base = 0xf_0000;
    assert_eq!(talk.ask("P10=f0ff0f0000000000"), "OK");
    assert_eq!(talk.machine.regs[0].ip, 0xfff0);

    assert_eq!(talk.ask(&format!("G{all}")), "OK");
    assert_eq!(talk.machine.regs[0].rax, 0);
    assert_eq!(talk.ask(&format!("G{all}00")), "E16");
}

#[test]
fn threads_are_cpus() {
    let mut talk = Talk::attached();
    assert_eq!(talk.ask("qfThreadInfo"), "m01,02");
    assert_eq!(talk.ask("qsThreadInfo"), "l");
    assert_eq!(talk.ask("T2"), "OK");
    assert_eq!(talk.ask("T3"), "E01");
    let name = "4350552031202868616c746564";
    assert_eq!(talk.ask("qThreadExtraInfo,2"), format!("{name}29"), "CPU 1 (halted)");
    assert_eq!(talk.ask("qThreadExtraInfo,3"), "E16");
    assert_eq!(talk.ask("qThreadStopInfo2"), stop("T00thread:2;name:CPU 1;"));
    assert_eq!(talk.ask("qThreadStopInfo1"), stop("T05thread:1;name:CPU 0;"));
    assert_eq!(talk.ask("qThreadStopInfo3"), "E16");
    assert_eq!(talk.ask("Hg2"), "OK");
    assert_eq!(talk.ask("p10"), "0011000000000000");
    assert_eq!(talk.ask("Hg3"), "E16");
    assert_eq!(talk.ask("Hg0"), "OK");
    assert_eq!(talk.ask("p10"), "0011000000000000", "any is the one chosen before");
}

#[test]
fn memory_and_its_holes() {
    let mut talk = Talk::attached();
    assert_eq!(talk.ask("M1800,4:01020304"), "OK");
    assert_eq!(talk.ask("m1800,5"), "0102030490");
    assert_eq!(talk.raw(&framed(b"X1800,3:\x03}\x03}\x04")), Action::None);
    assert_eq!(talk.sent(), reply("OK"));
    assert_eq!(talk.machine.memory[0x800..0x804], *b"\x03#$\x04");
    assert_eq!(talk.ask("m0,4"), "E0e");
    assert_eq!(talk.ask("m2ffe,10"), "9090", "what there is");
    assert_eq!(talk.ask("mffffffffffffffff,10"), "E0e");
    assert_eq!(talk.ask("M2ffe,4:00000000"), "E0e");
    assert_eq!(talk.ask("m1000,800").len(), 0x1000);
    for silly in ["m1000,801", "m1000,ffffffffffffffff", "m1000", "m,1", "mx,1", "M1000", "X1000"] {
        assert_eq!(talk.ask(silly), "E16", "{silly}");
    }
    assert_eq!(talk.ask("m1000,1"), "90", "the session lives");
}

#[test]
fn regions_are_told_of() {
    let mut talk = Talk::attached();
    assert_eq!(talk.ask("qMemoryRegionInfo:1010"), "start:1000;size:2000;permissions:rx;");
    assert_eq!(talk.ask("qMemoryRegionInfo:0"), "start:0;size:1000;");
    assert_eq!(talk.ask("qMemoryRegionInfo:3000"), "start:3000;size:ffffffffffffd000;");
    assert_eq!(talk.ask("qMemoryRegionInfo:"), "E16");
    assert_eq!(talk.ask("qMemoryRegionInfo:x"), "E16");
}

#[test]
fn a_reset_is_answered_before_it_is_done() {
    for (words, stop) in [("reset", false), ("reset stop", true)] {
        let mut talk = Talk::attached();
        assert_eq!(talk.ask("Z0,1800,1"), "OK");
        let hex = words.bytes().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(talk.packet(&format!("qRcmd,{hex}")), Action::Reset { stop });
        assert!(talk.sent().ends_with("$OK#9a"));
        assert!(!talk.stub.attached());
        assert_eq!(talk.machine.breakpoints, []);
        talk.attach();
    }
}

#[test]
fn breakpoints_of_every_kind() {
    let mut talk = Talk::attached();
    let kinds = [
        Breakpoint::Software,
        Breakpoint::Hardware,
        Breakpoint::Write,
        Breakpoint::Read,
        Breakpoint::Access,
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        assert_eq!(talk.ask(&format!("Z{number},1800,1")), "OK");
        assert_eq!(talk.machine.breakpoints, [(kind, 0x1800, 1)]);
        assert_eq!(talk.ask(&format!("z{number},1800,1")), "OK");
        assert_eq!(talk.ask(&format!("z{number},1800,1")), "E16", "not set");
    }
    assert_eq!(talk.ask("Z0,0,1"), "E0e");
    for _ in 0..4 {
        assert_eq!(talk.ask("Z1,1800,1"), "OK");
    }
    assert_eq!(talk.ask("Z1,1800,1"), "E1c");
    assert_eq!(talk.ask("Z9,1800,1"), "");
}

#[test]
fn monitor_speaks_in_hexadecimal() {
    let mut talk = Talk::attached();
    let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(talk.packet(&format!("qRcmd,{}", hex("version"))), Action::None);
    let said = format!("O{}", hex(&format!("{}\n", wire::VERSION)));
    let sent = talk.sent();
    let (console, end) = sent.split_at(sent.len() - "$OK#9a".len());
    assert_eq!(unrolled(&unframed(&console[1..])), said);
    assert_eq!(end, "$OK#9a");
}
