//! The words behind a command.

use crate::{Code, Command, Dump, Format, MOST, ParseError, Request};

/// The arguments of one command, taken one after the other.
pub(crate) struct Words<'a> {
    command: &'static Command,
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    pub(crate) fn new(command: &'static Command, rest: &'a [u8]) -> Self {
        Words { command, rest }
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        let (word, rest) = word(self.rest)?;
        self.rest = rest;
        Some(word)
    }

    /// The next words that begin with a slash, the slash taken off.
    fn option(&mut self) -> Option<&'a [u8]> {
        let (word, rest) = word(self.rest)?;
        let option = word.strip_prefix(b"/")?;
        self.rest = rest;
        Some(option)
    }

    fn end(&mut self, request: Request) -> Result<Request, ParseError<'a>> {
        match self.next() {
            Some(extra) => Err(ParseError::Extra { command: self.command, extra }),
            None => Ok(request),
        }
    }

    fn wrong<T>(&self, given: &'a [u8]) -> Result<T, ParseError<'a>> {
        Err(ParseError::Wrong { command: self.command, given })
    }

    fn address(&mut self) -> Result<Option<u64>, ParseError<'a>> {
        match self.next() {
            None => Ok(None),
            Some(word) => number(word).map_or_else(|| self.wrong(word), |value| Ok(Some(value))),
        }
    }

    pub(crate) fn nothing(mut self, request: Request) -> Result<Request, ParseError<'a>> {
        self.end(request)
    }

    /// `[stop]`
    pub(crate) fn reset(mut self) -> Result<Request, ParseError<'a>> {
        match self.next() {
            None => Ok(Request::Reset { stop: false }),
            Some(b"stop") => self.end(Request::Reset { stop: true }),
            Some(given) => self.wrong(given),
        }
    }

    /// `[/COUNT FORMAT SIZE] ADDR`, as the `xp` of QEMU's monitor has it: count, letter and size in one word.
    pub(crate) fn dump(mut self) -> Result<Request, ParseError<'a>> {
        let (mut count, mut format, mut size) = (1, Format::Hexadecimal, 4);
        while let Some(option) = self.option() {
            let (digits, letters) = leading_digits(option);
            if !digits.is_empty() {
                count = counted(digits).map_or_else(|| self.wrong(option), Ok)?;
            }
            for letter in letters {
                match letter {
                    b'x' => format = Format::Hexadecimal,
                    b'd' => format = Format::Decimal,
                    b'u' => format = Format::Unsigned,
                    b'o' => format = Format::Octal,
                    b'c' => (format, size) = (Format::Character, 1),
                    b'b' => size = 1,
                    b'h' => size = 2,
                    b'w' => size = 4,
                    b'g' => size = 8,
                    _ => return self.wrong(option),
                }
            }
        }
        let Some(addr) = self.address()? else {
            return Err(ParseError::Missing { command: self.command });
        };
        self.end(Request::Physical(Dump { addr, count, format, size }))
    }

    /// `[/16|/32|/64] [/COUNT] [ADDR]`: no count is 16, 32 or 64 but by the letter `i` (`/16i`).
    pub(crate) fn code(mut self) -> Result<Request, ParseError<'a>> {
        let mut code = Code { at: None, count: 8, bits: None };
        while let Some(option) = self.option() {
            match option {
                b"16" => code.bits = Some(16),
                b"32" => code.bits = Some(32),
                b"64" => code.bits = Some(64),
                _ => {
                    let (digits, letters) = leading_digits(option);
                    code.count = counted(digits)
                        .filter(|_| matches!(letters, b"" | b"i"))
                        .map_or_else(|| self.wrong(option), Ok)?;
                }
            }
        }
        code.at = self.address()?;
        self.end(Request::Disassemble(code))
    }
}

/// The first word of `text` and what follows. A slash begins a word: `xp/4xg` is two.
pub(crate) fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let (_, rest) = text.split_first()?;
    let ends = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'/';
    let len = rest.iter().position(ends).unwrap_or(rest.len()).saturating_add(1);
    text.split_at_checked(len)
}

fn leading_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let len = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(len).unwrap_or((text, &[]))
}

fn counted(digits: &[u8]) -> Option<u32> {
    let value = u32::try_from(number(digits)?).ok()?;
    (1..=MOST).contains(&value).then_some(value)
}

/// A number, decimal or behind `0x` hexadecimal.
fn number(word: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(word).ok()?;
    // `from_str_radix` would take a sign.
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if digits(hex) => u64::from_str_radix(hex, 16).ok(),
        None if digits(text) => text.parse().ok(),
        _ => None,
    }
}
