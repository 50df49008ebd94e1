use firmware::options::{BootFrom, CommandLine, OPTIONS, Problem, boot_at_least, next_disk, parse};
use handover::{Options, Uart};
use proptest::prelude::*;

const COM1: Uart = Uart { port: 0x3f8, baud: 115_200 };
const COM2: Uart = Uart { port: 0x2f8, baud: 115_200 };
const NONE: Uart = Uart { port: 0, baud: 0 };

#[test]
fn what_is_not_given_has_a_default() {
    let vmm = Options { link: COM1, log: NONE, wait: false, tsc_freeze: false };
    let default = CommandLine { vmm, boot: BootFrom::Int19 };
    for line in ["", "  ", "/boot/ramooflax.elf", "(hd0,1)/ramooflax", "tftp://10.0.2.2/ramooflax"]
    {
        assert_eq!(parse(line.as_bytes()), Ok(default), "{line}");
    }
}

#[test]
fn all_options() {
    let line = b"/ramooflax wait\tlink=uart:0x3e8,9600 log=uart:760 boot=disk:0x81 tsc=freeze";
    let link = Uart { port: 0x3e8, baud: 9600 };
    let vmm = Options { link, log: COM2, wait: true, tsc_freeze: true };
    assert_eq!(parse(line), Ok(CommandLine { vmm, boot: BootFrom::Disk(0x81) }));
    // The default link does not stand in the way of a link named later.
    let swapped = parse(b"log=uart:0x3f8 link=uart:0x2f8").map(|line| line.vmm);
    assert_eq!(swapped, Ok(Options { link: COM2, log: COM1, wait: false, tsc_freeze: false }));
}

#[test]
fn mistakes_are_named() {
    let cases = [
        ("wait verbose", "verbose", Problem::Unknown),
        ("wait /late/path", "/late/path", Problem::Unknown),
        ("ramooflax.elf", "ramooflax.elf", Problem::Unknown),
        ("wait=1", "wait=1", Problem::Unknown),
        ("link=com1", "link=com1", Problem::NotUart),
        ("link=", "link=", Problem::NotUart),
        ("link=uart:", "link=uart:", Problem::Port),
        ("link=uart:com1", "link=uart:com1", Problem::Port),
        ("link=uart:+760", "link=uart:+760", Problem::Port),
        ("link=uart:0x+2f8", "link=uart:0x+2f8", Problem::Port),
        ("link=uart:0", "link=uart:0", Problem::Port),
        ("log=uart:0xfff9", "log=uart:0xfff9", Problem::Port),
        ("log=uart:0x102f8", "log=uart:0x102f8", Problem::Port),
        ("log=uart:0x2f8,", "log=uart:0x2f8,", Problem::Baud),
        ("log=uart:0x2f8,0", "log=uart:0x2f8,0", Problem::Baud),
        ("log=uart:0x2f8,1", "log=uart:0x2f8,1", Problem::Baud),
        ("log=uart:0x2f8,14000", "log=uart:0x2f8,14000", Problem::Baud),
        ("log=uart:0x2f8,230400", "log=uart:0x2f8,230400", Problem::Baud),
        ("log=uart:0x2f8,9600,8n1", "log=uart:0x2f8,9600,8n1", Problem::Baud),
        ("tsc=", "tsc=", Problem::Tsc),
        ("tsc=stop", "tsc=stop", Problem::Tsc),
        ("tsc=run tsc=freeze", "tsc=freeze", Problem::Twice),
        ("boot=", "boot=", Problem::Boot),
        ("boot=disk", "boot=disk", Problem::Boot),
        ("boot=disk:", "boot=disk:", Problem::Boot),
        ("boot=disk:0x7f", "boot=disk:0x7f", Problem::Boot),
        ("boot=disk:256", "boot=disk:256", Problem::Boot),
        ("boot=disk:0x+81", "boot=disk:0x+81", Problem::Boot),
        ("boot=NEXT", "boot=NEXT", Problem::Boot),
        ("boot=next boot=next", "boot=next", Problem::Twice),
        ("wait tftp://late/path", "tftp://late/path", Problem::Unknown),
        ("wait wait", "wait", Problem::Twice),
        ("log=uart:0x3f8", "log=uart:0x3f8", Problem::SamePort),
        ("log=uart:0x2ff link=uart:0x2f8", "log=uart:0x2ff", Problem::SamePort),
    ];
    for (line, word, problem) in cases {
        let error = parse(line.as_bytes()).expect_err(line);
        assert_eq!((error.word, error.problem), (word.as_bytes(), problem), "{line}");
        assert!(error.to_string().starts_with(&format!("option `{word}`: ")), "{error}");
    }
}

#[test]
fn an_unknown_option_is_answered_with_all_known_ones() {
    let text = parse(b"\xff\x1b").unwrap_err().to_string();
    assert!(text.starts_with(r"option `\xff\x1b`: unknown; expected one of"), "{text}");
    assert!(OPTIONS.iter().all(|(name, _)| text.contains(name)), "{text}");
}

#[test]
fn what_a_refused_line_says_of_the_boot_is_kept() {
    for (line, boot) in [
        ("nonsense", BootFrom::Int19),
        ("nonsense boot=next", BootFrom::Next),
        ("boot=disk:129 link=com1", BootFrom::Disk(0x81)),
        ("boot=second boot=next", BootFrom::Next),
        ("boot=second", BootFrom::Int19),
    ] {
        assert!(parse(line.as_bytes()).is_err());
        assert_eq!(boot_at_least(line.as_bytes()), boot, "{line}");
    }
}

#[test]
fn the_next_disk_is_the_first_that_is_not_ours() {
    let pairs =
        [(None, 0x80), (Some(0x80), 0x81), (Some(0x81), 0x80), (Some(0xe0), 0x80), (Some(0), 0x80)];
    for (drive, next) in pairs {
        assert_eq!(next_disk(drive), next);
    }
}

/// The book and the README have the same text, for the same options.
#[test]
fn the_book_has_the_list() {
    let row =
        |(name, meaning): &(&str, &str)| format!("| `{}` | {meaning} |", name.replace('|', "\\|"));
    let list: Vec<String> = OPTIONS.iter().map(row).collect();
    for (name, text) in [
        ("docs/src/options.md", include_str!("../../../../docs/src/options.md")),
        ("README.md", include_str!("../../../../README.md")),
    ] {
        let table = text.split("| option | meaning |").nth(1).unwrap_or_default();
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        assert!(rows.eq(list.iter()), "{name} differs from firmware::options::OPTIONS");
    }
}

/// And so have the comments of the piece of GRUB's configuration.
#[test]
fn the_menu_has_the_list() {
    let menu = include_str!("../../../../dist/grub.d/41_ramooflax");
    let words: Vec<&str> = menu.split_whitespace().filter(|word| *word != "#").collect();
    let menu = words.join(" ");
    for (name, meaning) in OPTIONS {
        assert!(menu.contains(&format!("{name} {meaning}")), "dist/grub.d/41_ramooflax: {name}");
    }
}

fn divisor() -> impl Strategy<Value = u32> {
    prop::sample::select((1..=57_600).filter(|n| 115_200 % n == 0).collect::<Vec<u32>>())
}

proptest! {
    #[test]
    fn every_good_line_is_read(port in 1..=0xfff8u16, divisor in divisor(), hex: bool) {
        let baud = 115_200 / divisor;
        let text = if hex { format!("{port:#x}") } else { port.to_string() };
        let line = format!("link=uart:{text},{baud}");
        prop_assert_eq!(parse(line.as_bytes()).unwrap().vmm.link, Uart { port, baud });
    }

    #[test]
    fn any_bytes_are_survived(line in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse(&line).map_err(|error| error.to_string());
    }

    #[test]
    fn any_words_are_survived(line in "((link|log)=uart:(0x)?[0-9a-g]{0,9}(,[0-9+]{0,11})? ?|wait ?|boot=(int19|next|disk:(0x)?[0-9a-f]{0,4}) ?){0,4}") {
        if let Ok(CommandLine { vmm: options, .. }) = parse(line.as_bytes()) {
            let apart = options.link.port.abs_diff(options.log.port) >= 8;
            prop_assert!(apart || options.log == NONE);
        }
    }
}
