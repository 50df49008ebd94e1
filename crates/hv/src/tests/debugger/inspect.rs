//! What the analyst asks beyond registers and memory: regions, threads, `monitor`.
use super::super::bench::{Bench, CODE};
use super::std;
use handover::Note;
use std::string::String;
use std::vec::Vec;
use vcpu::{Seg, System, Vcpu};
use x86defs::dr;

/// The reply to one packet.
fn ask(bench: &mut Bench, packet: &str) -> String {
    let replies = bench.analyst(&["?", packet, "D"]);
    let said: Vec<&str> = replies.split('$').filter_map(|reply| reply.split('#').next()).collect();
    String::from(said[2])
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| std::format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> String {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| char::from(u8::from_str_radix(pair, 16).unwrap())).collect()
}

/// What a `monitor` command prints.
fn monitor(bench: &mut Bench, words: &str) -> String {
    let command = std::format!("qRcmd,{}", hex(words));
    // Not as gdb, so that nothing is run-length encoded.
    let replies = bench.analyst(&["qSupported:", &command, "D"]);
    let pieces = replies.split('$').filter_map(|reply| reply.split('#').next()?.strip_prefix('O'));
    pieces.filter(|piece| *piece != "K").map(unhex).collect()
}

#[test]
fn regions_of_memory() {
    // Real mode: what is RAM, and nothing above the last address there is.
    let mut bench = Bench::new();
    let ram = "start:0;size:400000;permissions:rwx;";
    assert_eq!(ask(&mut bench, "qMemoryRegionInfo:7c10"), ram);
    let above = ask(&mut bench, "qMemoryRegionInfo:400000");
    assert!(above.starts_with("start:400000;size:") && !above.contains("permissions"), "{above}");
    let none = "start:100000000;size:ffffffff00000000;";
    assert_eq!(ask(&mut bench, "qMemoryRegionInfo:123456789"), none);

    // Long mode: two large pages, then entries that are not present; a read-only page among them.
    let mut bench = Bench::long();
    bench.write(0x10_2000, &u64::to_le_bytes(0x10_3000 | 3));
    for n in 0..512 {
        let flags = if n == 8 { 1 } else { 3 };
        bench.write(0x10_3000 + n * 8, &u64::to_le_bytes(n << 12 | flags));
    }
    let region = |bench: &mut Bench, at: u64| ask(bench, &std::format!("qMemoryRegionInfo:{at:x}"));
    assert_eq!(region(&mut bench, 0x7fff), "start:7000;size:1000;permissions:rwx;");
    assert_eq!(region(&mut bench, 0x8001), "start:8000;size:1000;permissions:rx;");
    assert_eq!(region(&mut bench, 0x9000), "start:9000;size:3f7000;permissions:rwx;");
    let gap = region(&mut bench, 0x40_0000);
    assert!(gap.starts_with("start:400000;size:") && !gap.contains("permissions"), "{gap}");
    assert_eq!(region(&mut bench, 1 << 47), "start:800000000000;size:ffff800000000000;");
}

#[test]
fn threads_have_names() {
    for (bench, text) in [
        (Bench::new(), "CPU 0: real mode, ring 0"),
        (Bench::bits32(), "CPU 0: protected mode, 32-bit code, ring 0"),
        (Bench::long(), "CPU 0: 64-bit mode, ring 0"),
    ] {
        let mut bench = bench;
        assert_eq!(unhex(&ask(&mut bench, "qThreadExtraInfo,1")), text);
    }
    let mut bench = Bench::long();
    let code = bench.vcpu.segment(Seg::Cs);
    bench.vcpu.set_segment(Seg::Cs, vcpu::Segment { attributes: 0x9b, ..code });
    let text = unhex(&ask(&mut bench, "qThreadExtraInfo,1"));
    assert_eq!(text, "CPU 0: compatibility mode, 16-bit code, ring 0");
}

#[test]
fn physical_memory_is_dumped_as_qemus_monitor_does() {
    let mut bench = Bench::long();
    bench.write(0x9000, &[1, 2, 3, 0x84, 0x41, 0, 0xff, 0xff, 8]);
    for (words, text) in [
        ("xp 0x9000", "0000000000009000: 0x84030201\n"),
        ("xp /3xb 0x9000", "0000000000009000: 0x01 0x02 0x03\n"),
        ("xp /2dh 0x9004", "0000000000009004: 65 -1\n"),
        ("xp /1ug 0x9001", "0000000000009001: 648517247928894210\n"),
        ("xp /1ob 0x9006", "0000000000009006: 0377\n"),
        ("xp /2c 0x9004", "0000000000009004: 'A' '\\x00'\n"),
        (
            "xp /3xg 0x3ffff0",
            "00000000003ffff0: 0x0000000000000000 0x0000000000000000\n\
             0000000000400000: no memory of the guest's\n",
        ),
        ("xp 0x3ffffe", "00000000003ffffe: no memory of the guest's\n"),
        ("xp 0xfffffffffffffffe", "fffffffffffffffe: no memory of the guest's\n"),
        ("xp 0x600000", "0000000000600000: no memory of the guest's\n"),
    ] {
        assert_eq!(monitor(&mut bench, words), text, "{words}");
    }
    // Two lines of 16 bytes.
    assert_eq!(monitor(&mut bench, "xp /32xb 0x9000").lines().count(), 2);
}

#[test]
fn code_is_shown_as_the_cpu_takes_it() {
    let mut bench = Bench::new();
    bench.write(CODE, &[0xea, 0x5b, 0xe0, 0, 0xf0, 0x66, 0x40]);
    let text = "\
>0000000000007c00  ea 5b e0 00 f0           jmp 0xF000:0xE05B
 0000000000007c05  66 40                    inc eax
";
    assert_eq!(monitor(&mut bench, "dis /2"), text);
    let text = " 0000000000007c05  66 40                    inc ax\n";
    assert_eq!(monitor(&mut bench, "dis /1 /32 0x7c05"), text);
    // In a segment the targets are its offsets.
    bench.vcpu.set_segment(Seg::Cs, vcpu::Segment::real(0x700, 0x9b));
    bench.vcpu.set_system(System::Rip, 0xc00);
    bench.write(CODE, &[0xeb, 0xfe]);
    let said = monitor(&mut bench, "dis /1");
    assert_eq!(said, ">0000000000007c00  eb fe                    jmp 0xC00\n");
    // Up to where memory ends.
    bench.write(0x3f_ffff, &[0x90]);
    let text = " 00000000003fffff  90                       nop\n 0000000000400000  no memory of the guest's\n";
    assert_eq!(monitor(&mut bench, "dis /9 0x3fffff"), text);
    let mut bench = Bench::long();
    bench.write(CODE, &[0x48, 0xcf]);
    assert!(monitor(&mut bench, "dis /1i").ends_with("iretq\n"));
}

#[test]
fn the_map_is_the_firmwares_and_our_place_in_it() {
    let text = monitor(&mut Bench::new(), "memory");
    assert_eq!(
        text,
        "0x0000000000000000-0x000000000009efff usable\n\
         0x000000000009f000-0x00000000000fffff reserved\n\
         0x0000000000100000-0x00000000003fffff usable\n\
         0x00000000fffc0000-0x00000000ffffffff type 9\n\
         0x0000000000600000-0x000000000060ffff the VMM's own, reads FFh to the guest\n"
    );
}

#[test]
fn a_reset_may_leave_a_note() {
    for (words, notes) in [("reset", &[][..]), ("reset stop", &[Note { wait: true }])] {
        let mut bench = Bench::new();
        let command = std::format!("qRcmd,{}", hex(words));
        let replies = bench.analyst(&["?", &command]);
        assert!(replies.ends_with("$OK#9a"), "{replies}");
        assert_eq!(bench.machine.host.resets.get(), 1);
        assert_eq!(*bench.machine.host.notes.borrow(), notes);
        assert!(!bench.machine.attached(), "who wants to go on comes anew");
    }
}

#[test]
fn a_watchpoint_on_reads_lets_writes_pass() {
    let mut bench = Bench::new();
    bench.write(0x9000, &[1, 0, 0, 0]);
    bench.analyst(&["qSupported:swbreak+;hwbreak+", "Z3,9000,4", "c"]);
    assert_eq!(bench.vcpu.dr[0], 0x9000);
    assert_eq!(bench.vcpu.system(System::Dr7), dr::DR7_INIT | 2 | 0b1111 << 16, "on accesses");
    // A write: what is there is another value.
    bench.write(0x9000, &[2, 0, 0, 0]);
    bench.vcpu.set_system(System::Rip, CODE + 4);
    bench.debug_exception(1);
    assert_eq!((bench.line.replies().as_str(), bench.queued()), ("", None));
    assert_eq!(bench.dr6() & 0xf, 0, "and nothing is left of it");
    // A read.
    bench.line.packets(&["c"]);
    bench.debug_exception(1);
    let replies = bench.line.replies();
    assert!(replies.contains("T05thread:1;rwatch:9000;"), "{replies}");
    // The next write passes again.
    bench.write(0x9000, &[3, 0, 0, 0]);
    bench.debug_exception(1);
    assert_eq!(bench.line.replies(), "");
    let replies = bench.analyst(&["qSupported:swbreak+", "D"]);
    assert!(replies.contains("$OK#"), "{replies}");
}
