//! What is said on the wire, byte by byte.

use crate::fake::{Machine, Sent, framed, stub};
use stub::{Action, Breakpoint, Reason, Register, Stub};

pub(crate) const SUPPORTED: &str = "PacketSize=1000;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+;\
                         qXfer:features:read+;binary-upload+;qqemu.PhyMemMode+";

pub(crate) struct Talk {
    pub(crate) machine: Machine,
    pub(crate) stub: Stub<Sent>,
}

impl Talk {
    /// Nobody attached, the guest runs.
    pub(crate) fn new() -> Self {
        Talk { machine: Machine::new(), stub: stub(Sent::default()) }
    }

    /// A client that has said hello.
    pub(crate) fn attached() -> Self {
        let mut talk = Talk::new();
        talk.attach();
        talk
    }

    pub(crate) fn attach(&mut self) {
        assert_eq!(self.raw(b"+"), Action::None);
        assert_eq!(self.packet("qSupported:multiprocess+;swbreak+;hwbreak+"), Action::Interrupt);
        assert_eq!(self.sent(), "", "no word before the guest stands still");
        assert_eq!(self.stop(Reason::Attached), Action::None);
        assert_eq!(self.sent(), reply(SUPPORTED));
        assert_eq!(self.raw(b"+"), Action::None);
        assert!(self.stub.attached());
        // As gdb does: from now on stop replies carry registers.
        self.ask("p10");
        assert_eq!(self.raw(b"+"), Action::None);
    }

    /// Sends bytes; returns the one action they cause.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Action {
        let mut done = Action::None;
        for &byte in bytes {
            let action = self.stub.incoming(&mut self.machine, byte);
            assert!(done == Action::None || action == Action::None);
            done = if action == Action::None { done } else { action };
        }
        done
    }

    pub(crate) fn packet(&mut self, body: &str) -> Action {
        self.raw(&framed(body.as_bytes()))
    }

    pub(crate) fn stop(&mut self, why: Reason) -> Action {
        self.stub.stopped(&mut self.machine, why)
    }

    pub(crate) fn sent(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.stub.output().0)).unwrap()
    }

    /// The answer, acknowledgement and frame taken off.
    pub(crate) fn ask(&mut self, body: &str) -> String {
        assert_eq!(self.packet(body), Action::None, "{body}");
        let sent = self.sent();
        let answer = unframed(sent.strip_prefix('+').expect("an acknowledgement"));
        unrolled(&answer)
    }
}

/// A stop reply of the first CPU as it comes up, or of the second.
pub(crate) fn stop(body: &str) -> String {
    let rip = if body.contains("thread:2;") { "0011" } else { "0010" };
    format!("{body}06:{z};07:{z};10:{rip}000000000000;11:02000000;", z = "0".repeat(16))
}

pub(crate) fn reply(body: &str) -> String {
    format!("+{}", String::from_utf8(framed(body.as_bytes())).unwrap())
}

pub(crate) fn unframed(sent: &str) -> String {
    let body = sent.strip_prefix('$').unwrap().split('#').next().unwrap();
    assert_eq!(sent.as_bytes(), framed(body.as_bytes()), "one packet, its checksum right");
    body.to_owned()
}

/// Undoes gdb's run-length encoding: `0* ` is four zeros.
pub(crate) fn unrolled(body: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = body.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'*' => {
                let count = rest.next().unwrap() - 29;
                bytes.extend(vec![*bytes.last().unwrap(); count.into()]);
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_first_packet_of_a_client_stops_the_guest_and_is_answered() {
    let mut talk = Talk::new();
    assert!(!talk.stub.attached());
    assert_eq!(talk.raw(b"\0noise+-#00\xff"), Action::None);
    assert_eq!(talk.sent(), "");
    talk.attach();
    assert_eq!(talk.ask("?"), stop("T05thread:1;"));
    // gdb repeats a packet that stays without an answer for two seconds.
    let mut slow = Talk::new();
    assert_eq!(slow.packet("?"), Action::Interrupt);
    assert_eq!(slow.packet("?"), Action::None);
    assert_eq!(slow.stop(Reason::Attached), Action::None);
    assert_eq!(slow.sent(), reply(&stop("T05thread:1;")));
}

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
fn run_step_and_stop() {
    let mut talk = Talk::attached();
    for go in ["c", "vCont;c", "C05", "vCont;c:1"] {
        assert_eq!(talk.packet(go), Action::Resume { step: None }, "{go}");
        assert_eq!(talk.sent(), "+");
        assert_eq!(talk.raw(b"\x03"), Action::Interrupt);
        assert_eq!(talk.raw(b"\x03"), Action::None, "one is enough");
        assert_eq!(talk.stop(Reason::Interrupt { cpu: 0 }), Action::None);
        assert_eq!(talk.sent(), reply(&stop("T02thread:1;"))[1..]);
    }
    assert_eq!(talk.ask("?"), stop("T02thread:1;"));
    for (go, cpu) in [("s", 0), ("vCont;s", 0), ("vCont;s:2;c", 1), ("vCont;s:1", 0)] {
        assert_eq!(talk.packet(go), Action::Resume { step: Some(cpu) }, "{go}");
        assert_eq!(talk.stop(Reason::Step { cpu: 0 }), Action::None);
        assert_eq!(talk.sent(), "+".to_owned() + &reply(&stop("T05thread:1;"))[1..]);
    }
    for (why, said) in [
        (Reason::Breakpoint { cpu: 1 }, "T05thread:2;swbreak:;"),
        (Reason::HardwareBreakpoint { cpu: 1 }, "T05thread:2;hwbreak:;"),
        (
            Reason::Watch { cpu: 0, kind: Breakpoint::Write, addr: 0x1800 },
            "T05thread:1;watch:1800;",
        ),
        (Reason::Watch { cpu: 0, kind: Breakpoint::Read, addr: 1 }, "T05thread:1;rwatch:1;"),
        (Reason::Watch { cpu: 0, kind: Breakpoint::Access, addr: 1 }, "T05thread:1;awatch:1;"),
    ] {
        assert_eq!(talk.packet("c"), Action::Resume { step: None });
        assert_eq!(talk.stop(why), Action::None);
        assert_eq!(talk.sent(), "+".to_owned() + &reply(&stop(said))[1..]);
    }
    assert_eq!(talk.ask("c1000"), "", "to resume elsewhere is not offered");
    for go in ["vCont;s:9;t", "vCont;s:9", "vCont;c:9", "vCont;s:3;c", "vCont;r1000,1010:9"] {
        assert_eq!(talk.ask(go), "E16", "{go}: two CPUs are there");
    }
    assert_eq!(talk.ask("vCont?"), "vCont;c;C;s;S;r");
}

#[test]
fn a_client_is_told_no_more_than_it_asked_for() {
    let mut talk = Talk::new();
    assert_eq!(talk.packet("qSupported:"), Action::Interrupt);
    assert_eq!(talk.stop(Reason::Attached), Action::None);
    assert_eq!(talk.packet("c"), Action::Resume { step: None });
    talk.sent();
    assert_eq!(talk.stop(Reason::Breakpoint { cpu: 0 }), Action::None);
    assert_eq!(talk.sent(), reply(&stop("T05thread:1;"))[1..]);
}

/// Steps once; gives the stop reply.
fn step(talk: &mut Talk) -> String {
    assert_eq!(talk.packet("s"), Action::Resume { step: Some(0) });
    assert_eq!(talk.sent(), "+");
    assert_eq!(talk.stop(Reason::Step { cpu: 0 }), Action::None);
    unframed(&talk.sent())
}

#[test]
fn registers_come_with_a_stop_once_the_client_has_looked_at_anything() {
    let mut talk = Talk::new();
    assert_eq!(talk.packet("qSupported:swbreak+"), Action::Interrupt);
    assert_eq!(talk.stop(Reason::Attached), Action::None);
    assert_eq!(talk.sent(), reply(SUPPORTED));
    assert_eq!(step(&mut talk), "T05thread:1;");
    for looks in ["p10", "g", "m1000,1", "x1000,1"] {
        assert_eq!(talk.packet(looks), Action::None);
        talk.stub.output().0.clear();
        assert_eq!(step(&mut talk), stop("T05thread:1;"), "{looks}");
        // The next client has not.
        assert_eq!(talk.ask("qSupported:swbreak+"), SUPPORTED);
        assert_eq!(step(&mut talk), "T05thread:1;");
    }
    assert_eq!(talk.ask("?"), stop("T05thread:1;"));
}

/// LLDB 14 to 19 (`GDBRemoteCommunicationClient::GetRemoteQSupported`) offers no `swbreak`, and takes all the same
/// long packets, all registers and run lengths. WinDbg's client, which does not, is in `exdi.rs`.
#[test]
fn lldb_before_it_offered_swbreak_is_no_plain_client() {
    let mut talk = Talk::new();
    assert_eq!(talk.packet("QStartNoAckMode"), Action::Interrupt);
    assert_eq!(talk.stop(Reason::Attached), Action::None);
    assert_eq!(talk.sent(), reply("OK"));
    let hello =
        "qSupported:xmlRegisters=i386,arm,mips,arc;multiprocess+;fork-events+;vfork-events+";
    assert_eq!(talk.ask(hello), SUPPORTED);
    let registers = |talk: &mut Talk| {
        assert_eq!(talk.packet("g"), Action::None);
        (talk.sent().contains('*'), talk.ask("g").len())
    };
    let mut plain = Talk::new();
    assert_eq!(plain.packet("qSupported:xmlRegisters=aarch64,i386"), Action::Interrupt);
    assert_eq!(plain.stop(Reason::Attached), Action::None);
    assert!(plain.sent().contains("PacketSize=400;"));
    let ((long, all), (short, some)) = (registers(&mut talk), registers(&mut plain));
    assert!(long && !short && all > some, "run lengths and all registers for one alone");
    assert_eq!(talk.packet("c"), Action::Resume { step: None });
    talk.sent();
    assert_eq!(talk.stop(Reason::Breakpoint { cpu: 0 }), Action::None);
    assert_eq!(
        talk.sent(),
        reply(&stop("T05thread:1;"))[1..],
        "no `swbreak`, which it did not offer"
    );
}

#[test]
fn acknowledgements_go_off_and_come_back_with_the_next_client() {
    let mut talk = Talk::attached();
    assert_eq!(talk.ask("QStartNoAckMode"), "OK");
    assert_eq!(talk.packet("T1"), Action::None);
    assert_eq!(talk.sent(), reply("OK")[1..]);
    assert_eq!(talk.packet("qSupported:swbreak+"), Action::None);
    assert_eq!(talk.sent(), reply(SUPPORTED));
    assert_eq!(talk.ask("QStartNoAckMode"), "OK");
    assert_eq!(talk.ask("QStartNoAckMode"), "OK", "how LLDB begins");
}

#[test]
fn a_client_that_leaves_takes_its_breakpoints_with_it() {
    for (bye, action, answer) in [
        ("D", Action::Detached, reply("OK")),
        ("k", Action::Kill, "+".into()),
        ("vKill;a410", Action::Kill, reply("OK")),
    ] {
        let mut talk = Talk::attached();
        assert_eq!(talk.ask("Z0,1800,1"), "OK");
        assert_eq!(talk.packet(bye), action);
        assert_eq!(talk.sent(), answer);
        assert!(!talk.stub.attached());
        assert_eq!(talk.machine.breakpoints, []);
        talk.attach();
    }
}

#[test]
fn a_client_may_die_and_another_come() {
    // While the guest stands still, in the middle of a packet, without acknowledgements.
    let mut talk = Talk::attached();
    assert_eq!(talk.ask("Z0,1800,1"), "OK");
    assert_eq!(talk.ask("QStartNoAckMode"), "OK");
    assert_eq!(talk.raw(b"$m10"), Action::None);
    assert_eq!(talk.raw(b"+"), Action::None);
    assert_eq!(talk.ask("qSupported:swbreak+"), SUPPORTED);
    assert_eq!(talk.machine.breakpoints, [], "the dead one's are gone");

    // While it runs.
    assert_eq!(talk.ask("Z0,1800,1"), "OK");
    assert_eq!(talk.ask("QStartNoAckMode"), "OK");
    assert_eq!(talk.packet("c"), Action::Resume { step: None });
    talk.sent();
    talk.attach();
    assert_eq!(talk.machine.breakpoints, []);

    // After it asked to stop, and before the guest did.
    assert_eq!(talk.packet("c"), Action::Resume { step: None });
    assert_eq!(talk.raw(b"\x03"), Action::Interrupt);
    assert_eq!(talk.packet("?"), Action::None);
    talk.sent();
    assert_eq!(talk.stop(Reason::Interrupt { cpu: 0 }), Action::None);
    assert_eq!(talk.sent(), reply(&stop("T02thread:1;")), "one answer, not two");
}

#[test]
fn a_packet_that_runs_the_guest_may_be_the_first() {
    let mut talk = Talk::new();
    assert_eq!(talk.packet("D"), Action::Interrupt);
    assert_eq!(talk.stop(Reason::Attached), Action::Detached);
    assert_eq!(talk.sent(), reply("OK"));
}

#[test]
fn damage_is_asked_for_again() {
    let mut talk = Talk::attached();
    assert_eq!(talk.raw(b"$?#40"), Action::None);
    assert_eq!(talk.raw(b"$?#x"), Action::None);
    assert_eq!(talk.sent(), "--");
    assert_eq!(talk.raw(b"$m1000,$?#3f"), Action::None);
    assert_eq!(talk.sent(), reply(&stop("T05thread:1;")));
    // The longest packet is taken, a longer one dropped.
    let longest = format!("M1000,7f4:{}", "41".repeat(0x7f4));
    let fits = stub::PACKET - 4 - longest.len();
    assert_eq!(talk.ask(&longest.replace("M1", &format!("M{}1", "0".repeat(fits)))), "OK");
    assert_eq!(
        talk.packet(&longest.replace("M1", &format!("M{}1", "0".repeat(fits + 1)))),
        Action::None
    );
    assert_eq!(talk.sent(), "");
    assert_eq!(talk.ask("?"), stop("T05thread:1;"));
}

#[test]
fn half_a_packet_does_not_hide_ctrl_c() {
    let mut talk = Talk::attached();
    assert_eq!(talk.packet("c"), Action::Resume { step: None });
    assert_eq!(talk.raw(b"$qSup\x03"), Action::Interrupt);
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

/// The stub that answers for a VMM that failed: who waits for a stop gets text and a stop, who waits for an answer
/// an error, and is then served like anybody.
#[test]
fn a_vmm_that_failed() {
    let mut talk = Talk::new();
    talk.stub.take_over();
    let text = "x".repeat(300);
    talk.stub.say(format_args!("{text}\n"));
    assert_eq!(talk.stop(Reason::Aborted { cpu: 1 }), Action::None);
    let sent = talk.sent();
    let packets: Vec<&str> =
        sent.split('#').filter_map(|it| it.split_once('$')).map(|it| it.1).collect();
    let [first, second, stop] = packets[..] else { panic!("{sent}") };
    assert_eq!((first.len(), &first[..5]), (1 + 512, "O7878"));
    assert!(second.starts_with('O') && second.ends_with("780a") && second.len() == 1 + 90);
    assert!(stop.starts_with("T06thread:2;"), "{stop}");

    let mut talk = Talk::new();
    talk.stub.fail();
    assert_eq!(talk.stop(Reason::Aborted { cpu: 1 }), Action::None);
    assert_eq!(talk.sent(), "$E05#aa");
    assert_eq!(talk.packet("?"), Action::None);
    assert!(talk.sent().contains("T06thread:2;"));
}
