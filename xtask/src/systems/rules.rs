//! What may differ, taken out of a text: the rest must be the same, and what was taken out must fit the
//! rule that took it.

use std::ops::Range;

use anyhow::{Context as _, Result, ensure};
use regex::{Captures, Regex};

use super::Differs;
use crate::facts;

/// What stands for a value that is not compared.
const MASK: &str = "···";

/// The rules of a play, ready for use.
pub(super) struct Rules {
    rules: Vec<(Regex, Differs)>,
}

/// A text after the rules.
#[derive(Debug, Default)]
pub(super) struct Sifted<'t> {
    /// What is compared as it is.
    pub(super) lines: Vec<String>,
    /// The amounts of memory and the numbers of their rules.
    amounts: Vec<(usize, &'t str)>,
    /// Maps of memory: the range and whether it is usable.
    map: Vec<(Range<u64>, bool)>,
}

impl Rules {
    pub(super) fn of(differs: &[Differs]) -> Result<Self> {
        let ready = |differs: &Differs| {
            let (Differs::Varies { pattern, .. }
            | Differs::Lines { pattern, .. }
            | Differs::Map { pattern, .. }
            | Differs::Memory { pattern, .. }) = differs;
            Ok((Regex::new(pattern)?, *differs))
        };
        Ok(Self { rules: differs.iter().map(ready).collect::<Result<_>>()? })
    }

    pub(super) fn sift<'t>(&self, text: &'t str) -> Result<Sifted<'t>> {
        let mut sifted = Sifted::default();
        for line in text.lines() {
            self.line(line.trim_end(), &mut sifted)?;
        }
        Ok(sifted)
    }

    fn line<'t>(&self, line: &'t str, sifted: &mut Sifted<'t>) -> Result<()> {
        let mut cuts = Vec::new();
        for (number, (pattern, differs)) in self.rules.iter().enumerate() {
            for found in pattern.captures_iter(line) {
                match differs {
                    Differs::Lines { .. } => return Ok(()),
                    Differs::Map { usable, .. } => {
                        sifted.map.push(entry(&found, usable)?);
                        return Ok(());
                    }
                    Differs::Varies { .. } => {
                        let groups = found.iter().skip(usize::from(found.len() > 1)).flatten();
                        cuts.extend(groups.map(|group| group.range()));
                    }
                    Differs::Memory { .. } => {
                        let group = found.get(1).with_context(|| format!("{pattern}: no group"))?;
                        cuts.push(group.range());
                        sifted.amounts.push((number, group.as_str()));
                    }
                }
            }
        }
        sifted.lines.push(cut(line, cuts));
        Ok(())
    }

    /// Whether what the rules took out of the two texts is as it must be.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn judge(
        &self,
        bare: &Sifted<'_>,
        under: &Sifted<'_>,
        hole: &Range<u64>,
    ) -> Result<()> {
        maps(&bare.map, &under.map, hole).context("the maps of memory")?;
        for ((number, had), (_, has)) in bare.amounts.iter().zip(&under.amounts) {
            let Some((rule, Differs::Memory { unit, rounding, less, .. })) =
                self.rules.get(*number)
            else {
                continue;
            };
            let number =
                |text: &str| text.parse::<f64>().with_context(|| format!("{text:?} by {rule}"));
            let differ = number(had)? - number(has)?;
            let expected = less(hole) as f64 / unit;
            ensure!(
                (differ - expected).abs() <= *rounding,
                "{rule}: {had} and {has} differ by {differ}, not by {expected}"
            );
        }
        Ok(())
    }
}

/// `line` without `cuts`.
fn cut(line: &str, mut cuts: Vec<Range<usize>>) -> String {
    cuts.sort_by_key(|cut| cut.start);
    let (mut out, mut at) = (String::new(), 0);
    for cut in cuts {
        if cut.start >= at {
            out += line.get(at..cut.start).unwrap_or_default();
            out += MASK;
            at = cut.end;
        }
    }
    out + line.get(at..).unwrap_or_default()
}

fn entry(found: &Captures<'_>, usable: &str) -> Result<(Range<u64>, bool)> {
    let number = |name| {
        let text = found.name(name)?.as_str();
        u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    let first = number("first").context("a map without `first`")?;
    let length = |length| first.checked_add(length);
    let end = number("end").or_else(|| number("last")?.checked_add(1));
    let end = end.or_else(|| number("length").and_then(length));
    let kind = found.name("kind").context("a map without `kind`")?;
    Ok((first..end.context("a map without `last`, `end` or `length`")?, kind.as_str() == usable))
}

/// Whether the one map is the other less the hole and a page or two of conventional memory, which are
/// reserved instead.
fn maps(
    bare: &[(Range<u64>, bool)],
    under: &[(Range<u64>, bool)],
    hole: &Range<u64>,
) -> Result<()> {
    if bare.is_empty() && under.is_empty() {
        return Ok(());
    }
    let of = |map: &[(Range<u64>, bool)], usable: bool| -> Vec<Range<u64>> {
        map.iter().filter(|(_, is)| *is == usable).map(|(range, _)| range.clone()).collect()
    };
    let gone = facts::missing(&of(bare, true), &of(under, true));
    let new = facts::missing(&of(under, true), &of(bare, true));
    ensure!(new.is_empty(), "{new:x?} became usable");
    let (low, high): (Vec<_>, Vec<_>) = gone.into_iter().partition(|range| range.end <= 1 << 20);
    ensure!(high == [hole.clone()], "{high:x?} is gone, and the hole is {hole:x?}");
    let low_size: u64 = low.iter().map(|range| range.end - range.start).sum();
    ensure!(low_size <= 2 * 4096, "{low:x?} of conventional memory is gone");
    let kept = facts::missing(&of(bare, false), &of(under, false));
    ensure!(kept.is_empty(), "{kept:x?} is no longer reserved");
    for range in facts::missing(&of(under, false), &of(bare, false)) {
        let is_low = range.end <= 1 << 20 && range.end - range.start <= 3 * 4096;
        ensure!(range == *hole || is_low, "{range:x?} is reserved");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &[Differs] = &[
        Differs::Varies { pattern: r"CPU: ([\d.]+) MHz", why: "measured" },
        Differs::Memory {
            pattern: r"RAM: (\d+) KiB",
            unit: 1024.0,
            rounding: 0.0,
            less: |h| h.end - h.start,
        },
        Differs::Lines { pattern: "^once", why: "for the test" },
        Differs::Map { pattern: r"^(?<first>\w+)-(?<last>\w+) (?<kind>\w+)", usable: "RAM" },
    ];
    const HOLE: Range<u64> = 0x30_0000..0x31_0000;

    fn judge(bare: &str, under: &str) -> Result<()> {
        let rules = Rules::of(RULES)?;
        let (one, other) = (rules.sift(bare)?, rules.sift(under)?);
        ensure!(one.lines == other.lines, "the texts differ");
        rules.judge(&one, &other, &HOLE)
    }

    #[test]
    fn only_what_is_named_may_differ() {
        assert!(judge("CPU: 12.5 MHz a", "CPU: 13 MHz a").is_ok());
        assert!(judge("CPU: 12.5 MHz a", "CPU: 13 MHz b").is_err());
        assert!(judge("a\nonce b\nc", "a\nc").is_ok());
        assert!(judge("a\nnot once b\nc", "a\nc").is_err());
    }

    #[test]
    fn memory_is_less_by_what_was_taken() {
        assert!(judge("RAM: 1000 KiB", "RAM: 936 KiB").is_ok());
        for wrong in ["RAM: 937 KiB", "RAM: 935 KiB", "RAM: 1000 KiB", "RAM: 1064 KiB"] {
            assert!(judge("RAM: 1000 KiB", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_map_is_less_by_the_hole_and_the_low_page() {
        let bare = "0-9efff RAM\n9f000-fffff kept\n100000-3fffff RAM";
        let low = "0-9dfff RAM\n9e000-fffff kept\n";
        let judge = |under: &str| judge(bare, &format!("{low}{under}"));
        assert!(judge("100000-2fffff RAM\n300000-30ffff kept\n310000-3fffff RAM").is_ok());
        assert!(judge("100000-3fffff RAM").is_err());
        assert!(judge("100000-2fffff RAM\n300000-31ffff kept\n320000-3fffff RAM").is_err());
        assert!(judge("100000-2fffff RAM\n310000-3fffff RAM\n500000-5fffff RAM").is_err());
        assert!(judge("100000-2fffff RAM\n310000-3fffff RAM\n500000-5fffff kept").is_err());
    }
}
