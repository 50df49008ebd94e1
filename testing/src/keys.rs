//! The keys of a PC's keyboard.

use anyhow::{Context, Result};

/// Keys without a character, written `<name>`, by QEMU's names.
const NAMED: &[&str] =
    &["esc", "ret", "spc", "tab", "up", "down", "left", "right", "f1", "f2", "f9", "f10"];

/// Characters and the names of their keys; with Shift in the second table.
const PLAIN: &[(char, &str)] = &[
    (' ', "spc"),
    ('\n', "ret"),
    ('-', "minus"),
    ('=', "equal"),
    (',', "comma"),
    ('.', "dot"),
    ('/', "slash"),
    (';', "semicolon"),
    ('\'', "apostrophe"),
    ('\\', "backslash"),
    ('[', "bracket_left"),
    (']', "bracket_right"),
];
const SHIFTED: &[(char, &str)] = &[
    ('_', "minus"),
    ('+', "equal"),
    ('(', "9"),
    (')', "0"),
    ('*', "8"),
    ('$', "4"),
    (':', "semicolon"),
    ('"', "apostrophe"),
    ('?', "slash"),
];

/// Keys whose symbol is not a character.
const SYMBOLS: &[(&str, u32)] = &[
    ("shift", 0xffe1),
    ("esc", 0xff1b),
    ("ret", 0xff0d),
    ("tab", 0xff09),
    ("up", 0xff52),
    ("down", 0xff54),
    ("left", 0xff51),
    ("right", 0xff53),
    ("f1", 0xffbe),
    ("f2", 0xffbf),
    ("f9", 0xffc6),
    ("f10", 0xffc7),
];

/// The keys to be pressed together, for each character of `text` and each `<name>` in it.
///
/// # Errors
/// When a character or name is on no key known here.
pub(crate) fn codes(text: &str) -> Result<Vec<Vec<String>>> {
    let mut chords = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let named = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        if let Some((name, after)) = named.filter(|(name, _)| NAMED.contains(name)) {
            chords.push(vec![name.to_owned()]);
            rest = after;
            continue;
        }
        chords.push(chord(next).with_context(|| format!("no key for {next:?}"))?);
        rest = rest.strip_prefix(next).unwrap_or_default();
    }
    Ok(chords)
}

/// The key symbol (`keysymdef.h` of X11) of the key that QEMU calls `name`.
pub(crate) fn symbol(name: &str) -> Option<u32> {
    let known = SYMBOLS.iter().find(|(known, _)| *known == name).map(|(_, symbol)| *symbol);
    let mut characters = name.chars();
    let single = match (characters.next(), characters.next()) {
        (Some(character), None) => Some(character),
        _ => PLAIN.iter().find(|(_, key)| *key == name).map(|(character, _)| *character),
    };
    known.or(single.map(u32::from))
}

fn chord(of: char) -> Option<Vec<String>> {
    let find = |table: &[(char, &str)]| {
        table.iter().find(|(character, _)| *character == of).map(|(_, key)| (*key).to_owned())
    };
    if of.is_ascii_lowercase() || of.is_ascii_digit() {
        return Some(vec![of.to_string()]);
    }
    if of.is_ascii_uppercase() {
        return Some(vec!["shift".to_owned(), of.to_ascii_lowercase().to_string()]);
    }
    find(PLAIN).map(|key| vec![key]).or_else(|| find(SHIFTED).map(|key| vec!["shift".into(), key]))
}

#[cfg(test)]
mod tests {
    use super::{NAMED, PLAIN, SHIFTED, codes, symbol};

    #[test]
    fn every_key_has_a_symbol() {
        let named = NAMED.iter().copied();
        for key in named.chain(PLAIN.iter().chain(SHIFTED).map(|(_, key)| *key)) {
            assert!(symbol(key).is_some(), "{key}");
        }
        assert_eq!(["a", "minus", "ret", "spc"].map(symbol), [0x61, 0x2d, 0xff0d, 0x20].map(Some));
    }

    #[test]
    fn characters_and_named_keys() {
        let keys = codes("aB-<esc>\n").unwrap();
        assert_eq!(keys, [vec!["a"], vec!["shift", "b"], vec!["minus"], vec!["esc"], vec!["ret"]]);
        assert!(codes("ä").is_err() && codes("<nokey>").is_err());
    }
}
