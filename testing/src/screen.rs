//! What a person in front of the machine sees: the text screen, read from the VGA's memory.

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::{Debugger, Qmp};

/// Columns and rows of the VGA's text mode 3, the one every BIOS starts in.
const COLUMNS: usize = 80;
const ROWS: usize = 25;
/// Where text mode 3 has its cells: a character and its colours each.
const TEXT: usize = 0xb_8000;
const TEXT_SIZE: usize = 32 << 10;

/// Code page 437, the VGA's own font; control characters have glyphs too.
const CP437: &str = "\
    \u{20}☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼ !\"#$%&'()*+,-./0123456789:;<=>?\
    @ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~⌂\
    ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
    └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// A text screen of 25 rows of 80 cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    cells: Vec<[u8; 2]>,
}

impl Screen {
    /// Reads the screen; the machine stands still meanwhile. Scratch files go into `dir`.
    ///
    /// # Errors
    /// When the emulator does not answer.
    pub(crate) fn read(qmp: &mut Qmp, dir: &Path) -> Result<Self> {
        let running = qmp.status()? == "running";
        if running {
            qmp.human("stop")?;
        }
        let file = dir.join("screen");
        let start = start_address(qmp);
        let saved = qmp.human(&format!("pmemsave {TEXT:#x} {TEXT_SIZE:#x} \"{}\"", file.display()));
        if running {
            qmp.human("cont")?;
        }
        let (start, said) = (start?, saved?);
        let bytes = fs::read(&file).with_context(|| format!("pmemsave: {said}"))?;
        ensure!(bytes.len() == TEXT_SIZE, "pmemsave wrote {} bytes: {said}", bytes.len());
        Ok(Self::new(&bytes, start))
    }

    /// Reads the screen of a machine that Bochs runs, which tells no start address: with 0, as firmware and
    /// boot loaders have it.
    ///
    /// # Errors
    /// When the emulator does not answer.
    pub(crate) fn read_from(debugger: &mut Debugger) -> Result<Self> {
        Ok(Self::new(&debugger.memory(TEXT as u64, 2 * COLUMNS * ROWS)?, 0))
    }

    /// The screen that begins at cell `start` of the memory `bytes`.
    fn new(bytes: &[u8], start: usize) -> Self {
        let all: Vec<[u8; 2]> = bytes.chunks_exact(2).map(|cell| [cell[0], cell[1]]).collect();
        // The window wraps around as the VGA's does.
        let cells = all.iter().cycle().skip(start % all.len()).take(COLUMNS * ROWS).copied();
        Self { cells: cells.collect() }
    }

    /// The characters of each row, without the blanks at its end.
    #[must_use]
    pub fn rows(&self) -> Vec<String> {
        let glyphs: Vec<char> = CP437.chars().collect();
        let glyph = |cell: &[u8; 2]| glyphs.get(usize::from(cell[0])).copied().unwrap_or(' ');
        let rows = self.cells.chunks(COLUMNS);
        rows.map(|row| row.iter().map(glyph).collect::<String>().trim_end().to_owned()).collect()
    }

    /// The colours of each row, as the VGA's attribute bytes.
    #[must_use]
    pub fn colours(&self) -> Vec<Vec<u8>> {
        let rows = self.cells.chunks(COLUMNS);
        rows.map(|row| row.iter().map(|cell| cell[1]).collect()).collect()
    }
}

impl fmt::Display for Screen {
    /// The rows down to the last one with anything on it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rows().join("\n").trim_end())
    }
}

/// The first cell on the screen: the CRTC's registers 0Ch and 0Dh. The guest's choice of register is put
/// back.
fn start_address(qmp: &mut Qmp) -> Result<usize> {
    let index = port(qmp, 0x3d4)?;
    let mut register = |number: usize| {
        qmp.human(&format!("o /1b 0x3d4 {number}"))?;
        port(qmp, 0x3d5)
    };
    let (high, low) = (register(0x0c)?, register(0x0d)?);
    qmp.human(&format!("o /1b 0x3d4 {index}"))?;
    Ok(high << 8 | low)
}

/// Reads a port; the emulator says `portb[0x03d5] = 0x00`.
fn port(qmp: &mut Qmp, port: u16) -> Result<usize> {
    let said = qmp.human(&format!("i /1b {port:#x}"))?;
    let hex = said.trim().rsplit_once("0x").map(|(_, hex)| hex);
    hex.and_then(|hex| usize::from_str_radix(hex, 16).ok())
        .with_context(|| format!("port {port:x}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_glyph() {
        assert_eq!(CP437.chars().count(), 256);
        assert_eq!(CP437.chars().nth(0x41), Some('A'));
        assert_eq!(CP437.chars().nth(0xdb), Some('█'));
    }

    #[test]
    fn rows_lose_the_blanks_at_their_end() {
        let mut cells = vec![[b' ', 7]; COLUMNS * ROWS];
        cells[COLUMNS] = [b'x', 0x1f];
        let screen = Screen { cells };
        assert_eq!(screen.rows()[..3], ["", "x", ""]);
        assert_eq!(screen.to_string(), "\nx");
        assert_eq!(screen.colours()[1][..2], [0x1f, 7]);
    }
}
