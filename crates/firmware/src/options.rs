//! The command line: what the person who boots Ramooflax may choose.
use core::fmt;
use handover::{Options, Uart};

/// Every option and its meaning.
pub const OPTIONS: &[(&str, &str)] = &[
    (
        "link=uart:PORT[,BAUD]",
        "serial port the analyst attaches to (uart:0x3f8,115200 if not given)",
    ),
    ("log=uart:PORT[,BAUD]", "serial port the log is mirrored to (none if not given)"),
    ("wait", "hold the machine before its first instruction until an analyst lets it go"),
];

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
        }
    }
}

impl core::error::Error for OptionError<'_> {}

/// Reads a command line. A first word that begins with `/` or `(` is the image's path, which boot
/// loaders put there, and is passed over.
///
/// # Errors
/// [`OptionError`] for the first word that is unknown or malformed.
pub fn parse(cmdline: &[u8]) -> Result<Options, OptionError<'_>> {
    let words = cmdline.split(|byte| byte.is_ascii_whitespace() || *byte == 0);
    let words = words.filter(|word| !word.is_empty()).enumerate();
    let (mut link, mut log, mut wait) = (None, None, None);
    for (index, word) in words {
        let error = |problem| OptionError { word, problem };
        let twice = if let Some(value) = word.strip_prefix(b"link=") {
            link.replace(uart(value).map_err(error)?).is_some()
        } else if let Some(value) = word.strip_prefix(b"log=") {
            log.replace((uart(value).map_err(error)?, word)).is_some()
        } else if word == b"wait" {
            wait.replace(()).is_some()
        } else if index == 0 && (word.starts_with(b"/") || word.starts_with(b"(")) {
            false
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
    Ok(Options { link, log, wait: wait.is_some() })
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
