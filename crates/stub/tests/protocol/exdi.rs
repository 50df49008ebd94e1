//! WinDbg's end of the line: `ExdiGdbSrv`, the EXDi server of Microsoft's WinDbg-Samples (directory
//! `Exdi/exdigdbsrv/GdbSrvControllerLib`, commit 1b0b2f336f959c1caadcd51bb2c82149a9bce2d5), with the settings its
//! `exdiConfigData.xml` has for QEMU. What it sends is built by the functions named below; what it makes of the
//! answers is done here as there.

use crate::fake::framed;
use crate::talk::{Talk, stop};
use stub::{Action, Breakpoint, Reason, Register};

/// `MaximumGdbServerPacketLength`.
const PACKET: usize = 1024;

/// The client.
struct Exdi {
    talk: Talk,
    no_ack: bool,
}

impl Exdi {
    /// `ReqGdbServerSupportedFeatures`: the features, acknowledgements off, the description.
    fn connect() -> Self {
        let mut exdi = Exdi { talk: Talk::new(), no_ack: false };
        let hello = "qSupported:xmlRegisters=aarch64,i386";
        assert_eq!(exdi.talk.packet(hello), Action::Interrupt);
        assert_eq!(exdi.talk.stop(Reason::Attached), Action::None);
        let features = exdi.received();
        // `UpdateRspPacketFeatures`: a name, and behind it `=` with a number in hexadecimal, or `+`.
        let (_, size) = features.split_once("PacketSize=").unwrap();
        let size = usize::from_str_radix(size.split(';').next().unwrap(), 16).unwrap();
        // `WriteMemoryEx` takes it for bytes of memory, twice of which cross the line.
        assert!(size * 2 + "$Mffffffffffffffff,400:#00".len() <= stub::PACKET);
        assert!(size <= PACKET);
        for feature in ["QStartNoAckMode+", "qXfer:features:read+"] {
            assert!(features.contains(feature));
        }
        assert_eq!(exdi.ask("QStartNoAckMode"), "OK");
        exdi.no_ack = true;
        exdi
    }

    fn ask(&mut self, body: &str) -> String {
        assert_eq!(self.talk.packet(body), Action::None, "{body}");
        self.received()
    }

    /// `ReceiveRspPacket`: what comes before a `$` is dropped, run lengths and escapes are not undone.
    fn received(&mut self) -> String {
        let sent = self.talk.sent();
        let (sign, packet) = sent.split_once('$').unwrap();
        assert_eq!(sign, if self.no_ack { "" } else { "+" });
        let (body, sum) = packet.split_once('#').unwrap();
        assert_eq!(packet, &String::from_utf8(framed(body.as_bytes())).unwrap()[1..]);
        assert!(sum.len() == 2 && packet.len() < PACKET);
        assert!(!body.contains(['*', '}']), "{body}");
        if !self.no_ack {
            assert_eq!(self.talk.raw(b"+"), Action::None);
        }
        body.to_owned()
    }
}

#[test]
fn the_description_comes_on_one_line_in_short_pieces() {
    let mut exdi = Exdi::connect();
    // `RequestXmlFileDescriptionFeature`: it asks for more than it takes, and counts what came.
    let (mut xml, mut request) = (String::new(), "qXfer:features:read:target.xml:0,ffb".to_owned());
    loop {
        let reply = exdi.ask(&request);
        assert!(reply.len() > 1);
        xml.push_str(&reply[1..]);
        if reply.starts_with('l') {
            break;
        }
        assert!(reply.starts_with('m'));
        request = format!("qXfer:features:read:target.xml:{:x},ffb", xml.len());
    }
    assert!(!xml.contains('\n') && xml.ends_with("</target>"));
    assert!(
        xml.contains("<architecture>i386:x86-64</architecture>") && !xml.contains("xi:include")
    );
    assert!(Register::ALL.iter().all(|it| xml.contains(&format!("name=\"{}\"", it.name()))));
}

#[test]
fn registers_are_read_all_at_once_and_one_by_one() {
    let mut exdi = Exdi::connect();
    exdi.talk.machine.regs[0].rax = 0x1122;
    // `ReportReasonTargetHalted`, `GetProcessorCount`, `SetThreadCommand`.
    assert_eq!(exdi.ask("?"), stop("T05thread:1;"));
    assert_eq!(exdi.ask("qfThreadInfo"), "m01,02");
    assert_eq!(exdi.ask("qsThreadInfo"), "l");
    assert_eq!(exdi.ask("Hg01"), "OK");
    // `QueryAllRegistersEx` takes the registers of its list from the front of the reply.
    let all = exdi.ask("g");
    assert_eq!(&all[..16], "2211000000000000");
    assert_eq!(&all[16 * 16..17 * 16], "0010000000000000", "rip");
    let cr3 = Register::ALL.iter().position(|it| *it == Register::Cr3).unwrap();
    let before: usize =
        Register::ALL[..cr3].iter().map(|it| it.bytes()).sum::<usize>() + 8 * 10 + 8 * 4;
    assert_eq!(&all[before * 2..before * 2 + 16], "0050341200000000", "it is among them");
    // `QueryRegistersEx`, `SetRegistersEx`.
    let dr7 = Register::ALL.len() - 1 + 16;
    assert_eq!(
        exdi.ask(&format!("p{dr7:x}")),
        "0004000000000000",
        "those left out are had by number"
    );
    assert_eq!(exdi.ask("P0=8877665544332211"), "OK");
    assert_eq!(exdi.talk.machine.regs[0].rax, 0x1122_3344_5566_7788);
}

#[test]
fn memory_is_read_in_zeros_too() {
    let mut exdi = Exdi::connect();
    exdi.talk.machine.memory.fill(0);
    // `ReadMemory`: as much as a packet holds, less its frame, in one request.
    let most = (PACKET - 4) / 2;
    assert_eq!(exdi.ask(&format!("m1000,{most:x}")), "0".repeat(most * 2));
    // `enableThrowExceptionOnMemoryErrors`.
    assert_eq!(exdi.ask("m0,8"), "E0e");
    assert_eq!(exdi.ask("M1000,2:abcd"), "OK");
    // `SetTextPA`: it chooses physical memory as QEMU's clients do.
    assert_eq!(exdi.ask("qqemu.PhyMemMode"), "0");
    assert_eq!(exdi.ask("Qqemu.PhyMemMode:1"), "OK");
    assert_eq!(exdi.ask("m10,2"), "1111");
    assert_eq!(exdi.ask("Qqemu.PhyMemMode:0"), "OK");
    assert_eq!(exdi.ask("m1000,2"), "abcd");
}

#[test]
fn watchpoints_come_in_bits_and_in_bytes() {
    let mut exdi = Exdi::connect();
    // `CreateDataBreakpoint` prints the width in decimal; the debugger engine counts in bits, newer ones in bytes.
    for (width, address, bytes) in [
        ("8", 0x1801, 1),
        ("16", 0x1802, 2),
        ("32", 0x1804, 4),
        ("64", 0x1808, 8),
        ("1", 0x1801, 1),
        ("2", 0x1802, 2),
        ("4", 0x1804, 4),
        // One byte or eight: all are watched that can be.
        ("8", 0x1808, 8),
    ] {
        for (kind, expected) in
            [(2, Breakpoint::Write), (3, Breakpoint::Read), (4, Breakpoint::Access)]
        {
            assert_eq!(exdi.ask(&format!("Z{kind},{address:x},{width}")), "OK");
            assert_eq!(exdi.talk.machine.breakpoints, [(expected, address, bytes)]);
            assert_eq!(exdi.ask(&format!("z{kind},{address:x},{width}")), "OK");
            assert_eq!(exdi.talk.machine.breakpoints, []);
        }
    }
    // `CreateCodeBreakpoint`.
    assert_eq!(exdi.ask("Z0,1800,1"), "OK");
    assert_eq!(exdi.talk.machine.breakpoints, [(Breakpoint::Software, 0x1800, 1)]);
    assert_eq!(exdi.ask("z0,1800,1"), "OK");
}

#[test]
fn it_runs_steps_and_breaks_in() {
    let mut exdi = Exdi::connect();
    // `g_GdbResumeEx`, `g_GdbStepEx`, and what `forceLegacyResumeStepCommands` makes of them.
    for go in ["vCont;c", "c"] {
        assert_eq!(exdi.talk.packet(go), Action::Resume { step: None });
        assert_eq!(exdi.talk.sent(), "");
        assert_eq!(exdi.talk.raw(b"\x03"), Action::Interrupt);
        assert_eq!(exdi.talk.stop(Reason::Interrupt { cpu: 0 }), Action::None);
        assert_eq!(exdi.received(), stop("T02thread:1;"));
    }
    for go in ["vCont;s", "s"] {
        assert_eq!(exdi.talk.packet(go), Action::Resume { step: Some(0) });
        assert_eq!(exdi.talk.stop(Reason::Step { cpu: 0 }), Action::None);
        assert_eq!(exdi.received(), stop("T05thread:1;"));
    }
    // It offered neither `swbreak` nor `hwbreak`, and is not told of them.
    assert_eq!(exdi.talk.packet("vCont;c"), Action::Resume { step: None });
    assert_eq!(exdi.talk.stop(Reason::Breakpoint { cpu: 0 }), Action::None);
    assert_eq!(exdi.received(), stop("T05thread:1;"));
}

#[test]
fn monitor_prints_in_packets_it_can_take() {
    let mut exdi = Exdi::connect();
    let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    // `ExecuteMonitorCmd`, and what it does with each packet until `OK`.
    assert_eq!(exdi.talk.packet(&format!("qRcmd,{}", hex("log"))), Action::None);
    let sent = exdi.talk.sent();
    let mut text = String::new();
    for packet in sent.split_terminator('$').skip(1) {
        assert!(packet.len() < PACKET && !packet.contains('*'));
        match packet.split('#').next().unwrap() {
            "OK" => {}
            body => text.push_str(body.strip_prefix('O').unwrap()),
        }
    }
    assert_eq!(text, hex(&(0..30).map(|n| format!("line {n}\n")).collect::<String>()));
    assert!(sent.ends_with("$OK#9a"));
}
