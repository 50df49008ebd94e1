//! The command line: what the person who boots Ramooflax may choose.
use core::fmt;
use handover::{Options, Uart};

/// Every option and its meaning: the one list. The loader's messages, `cargo xtask` and GRUB's menu
/// use it, and tests compare the book with it.
pub const OPTIONS: &[(&str, &str)] = &[
    (
        "link=uart:PORT[,BAUD]",
        "serial port the analyst attaches to (uart:0x3f8,115200 if not given)",
    ),
    ("log=uart:PORT[,BAUD]", "serial port the log is mirrored to (none if not given)"),
    ("wait", "hold the machine before its first instruction until an analyst lets it go"),
    (
        "tsc=run|freeze",
        "the guest's time-stamp counter while the analyst has it stopped: goes on as all its other \
         clocks do (run, if not given), or stands still (freeze)",
    ),
    (
        "boot=int19|next|disk:NUMBER",
        "what the machine boots: what the firmware's boot order says, and the next disk when that \
         starts Ramooflax again (int19, if not given); at once the next disk, the first that \
         Ramooflax was not started from (next); the disk of this BIOS number, as in disk:0x81",
    ),
];

/// What the machine boots once the VMM runs, and what it boots without it when that cannot be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootFrom {
    /// `int19`: what the firmware's boot order says.
    #[default]
    Int19,
    /// `next`: see [`next_disk`].
    Next,
    /// `disk:NUMBER`: the disk of this BIOS number, 80h or above.
    Disk(u8),
}

/// BIOS number of the first hard disk.
pub const FIRST_DISK: u8 = 0x80;

/// The next disk: the first BIOS hard disk that is not `drive`, the one Ramooflax was started from, if
/// it was from a disk.
#[must_use]
pub const fn next_disk(drive: Option<u8>) -> u8 {
    match drive {
        Some(FIRST_DISK) => 0x81,
        _ => FIRST_DISK,
    }
}

/// The command line, parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// What the VMM must know.
    pub vmm: Options,
    /// What the machine boots.
    pub boot: BootFrom,
}

/// Speed of a UART whose divisor is 1, and the default.
const MAX_BAUD: u32 = 115_200;
/// Ports of a 16550.
const UART_PORTS: u16 = 8;

const DEFAULT_LINK: Uart = Uart { port: 0x3f8, baud: MAX_BAUD };

/// What is wrong with a word of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No option has this name.
    Unknown,
    /// Not of the form `uart:PORT[,BAUD]`.
    NotUart,
    /// Not a port: a decimal number, or a hexadecimal one with 0x.
    Port,
    /// Not a speed a 16550 can have.
    Baud,
    /// The option was given before.
    Twice,
    /// `link` and `log` share ports.
    SamePort,
    /// Not `int19`, `next` or `disk:NUMBER` with a number from 80h to FFh.
    Boot,
    /// Not `run` or `freeze`.
    Tsc,
}

/// A word of the command line that is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionError<'a> {
    /// The word.
    pub word: &'a [u8],
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for OptionError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "option `{}`: ", self.word.escape_ascii())?;
        match self.problem {
            Problem::Unknown => {
                write!(f, "unknown; expected one of")?;
                let mut names = OPTIONS.iter().map(|(name, _)| name);
                names.try_for_each(|name| write!(f, " `{name}`"))
            }
            Problem::NotUart => write!(f, "expected uart:PORT[,BAUD], as in uart:0x3f8,115200"),
            Problem::Port => write!(
                f,
                "expected a port from 1 to 0xfff8, decimal or hexadecimal with 0x, as in 0x3f8"
            ),
            Problem::Baud => {
                write!(f, "expected a speed from 2 to {MAX_BAUD} that divides {MAX_BAUD}")
            }
            Problem::Twice => write!(f, "given twice; expected once"),
            Problem::SamePort => write!(f, "link and log share ports; expected two serial ports"),
            Problem::Tsc => write!(f, "expected tsc=run or tsc=freeze"),
            Problem::Boot => write!(
                f,
                "expected boot=int19, boot=next or boot=disk: with a number from 0x80 to 0xff, \
                 as in boot=disk:0x81"
            ),
        }
    }
}

impl core::error::Error for OptionError<'_> {}

/// The words of a command line, without the image's path that boot loaders put first: a word that
/// begins with `/` or `(`, or a URI.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = line.split(|byte| byte.is_ascii_whitespace() || *byte == 0);
    let words = words.filter(|word| !word.is_empty()).enumerate();
    let uri = |word: &[u8]| word.windows(3).any(|part| part == b"://");
    let path = move |word: &[u8]| word.starts_with(b"/") || word.starts_with(b"(") || uri(word);
    words.filter(move |(index, word)| *index != 0 || !path(word)).map(|(_, word)| word)
}

/// Reads a command line.
///
/// # Errors
/// [`OptionError`] for the first word that is unknown or malformed.
pub fn parse(line: &[u8]) -> Result<CommandLine, OptionError<'_>> {
    let (mut link, mut log, mut wait, mut boot, mut tsc) = (None, None, None, None, None);
    for word in words(line) {
        let error = |problem| OptionError { word, problem };
        let twice = if let Some(value) = word.strip_prefix(b"link=") {
            link.replace(uart(value).map_err(error)?).is_some()
        } else if let Some(value) = word.strip_prefix(b"log=") {
            log.replace((uart(value).map_err(error)?, word)).is_some()
        } else if let Some(value) = word.strip_prefix(b"boot=") {
            boot.replace(boot_from(value).ok_or(error(Problem::Boot))?).is_some()
        } else if let Some(value) = word.strip_prefix(b"tsc=") {
            tsc.replace(tsc_freezes(value).ok_or(error(Problem::Tsc))?).is_some()
        } else if word == b"wait" {
            wait.replace(()).is_some()
        } else {
            return Err(error(Problem::Unknown));
        };
        if twice {
            return Err(error(Problem::Twice));
        }
    }
    let link = link.unwrap_or(DEFAULT_LINK);
    let (log, word) = log.unwrap_or_default();
    if log.port != 0 && log.port.abs_diff(link.port) < UART_PORTS {
        return Err(OptionError { word, problem: Problem::SamePort });
    }
    let vmm = Options { link, log, wait: wait.is_some(), tsc_freeze: tsc.unwrap_or(false) };
    Ok(CommandLine { vmm, boot: boot.unwrap_or_default() })
}

/// What a command line that [`parse`] refuses says of `boot=` all the same: its first such word that
/// makes sense.
#[must_use]
pub fn boot_at_least(line: &[u8]) -> BootFrom {
    let values = words(line).filter_map(|word| word.strip_prefix(b"boot="));
    values.filter_map(boot_from).next().unwrap_or_default()
}

/// Parses `run`, `freeze`.
fn tsc_freezes(value: &[u8]) -> Option<bool> {
    match value {
        b"run" => Some(false),
        b"freeze" => Some(true),
        _ => None,
    }
}

/// Parses `int19`, `next`, `disk:NUMBER`.
fn boot_from(value: &[u8]) -> Option<BootFrom> {
    match value {
        b"int19" => Some(BootFrom::Int19),
        b"next" => Some(BootFrom::Next),
        _ => {
            let drive = u8::try_from(number(value.strip_prefix(b"disk:")?)?).ok()?;
            (drive >= FIRST_DISK).then_some(BootFrom::Disk(drive))
        }
    }
}

/// Parses `uart:PORT[,BAUD]`.
fn uart(value: &[u8]) -> Result<Uart, Problem> {
    let value = value.strip_prefix(b"uart:").ok_or(Problem::NotUart)?;
    let mut parts = value.splitn(2, |byte| *byte == b',');
    let port = parts.next().and_then(number).and_then(|port| u16::try_from(port).ok());
    let last = u16::MAX.wrapping_sub(UART_PORTS).wrapping_add(1);
    let port = port.filter(|port| (1..=last).contains(port)).ok_or(Problem::Port)?;
    let baud = match parts.next() {
        None => MAX_BAUD,
        // The divisor has 16 bits.
        Some(text) => number(text)
            .filter(|baud| (2..=MAX_BAUD).contains(baud) && MAX_BAUD.checked_rem(*baud) == Some(0))
            .ok_or(Problem::Baud)?,
    };
    Ok(Uart { port, baud })
}

/// A number, decimal or hexadecimal with `0x`.
fn number(text: &[u8]) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix(b"0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // from_str_radix also takes a sign.
    let digits = core::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u32::from_str_radix(digits, radix).ok()
}
