//! Whether a system left the same on the bare machine and under the VMM.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};
use testing::Screen;

use super::{Compared, Play, play::Left, rules::Rules};

/// A screen without what may differ, to see whether it stands still.
///
/// # Errors
/// When a rule makes no sense.
pub(super) fn sifted(play: &Play, screen: &Screen) -> Result<Vec<String>> {
    Ok(Rules::of(play.differs)?.sift(&screen.to_string())?.lines)
}

/// Whether what was left is the same.
///
/// # Errors
/// When it is not: with both texts, and the first line that differs.
pub(super) fn same(play: &Play, bare: &Left, under: &Left) -> Result<()> {
    let rules = Rules::of(play.differs)?;
    if let Some((one, other)) = both("screen", bare.screen.as_ref(), under.screen.as_ref())? {
        text(&rules, &one.to_string(), &other.to_string(), &under.hole, false)
            .context("the screens differ")?;
        colours(&rules, one, other)?;
    }
    if let Some((one, other)) = both("serial output", bare.serial.as_ref(), under.serial.as_ref())?
    {
        let any_order = play.compared.contains(&Compared::Lines);
        text(&rules, one, other, &under.hole, any_order).context("the serial output differs")?;
    }
    Ok(())
}

/// What both left, or neither: what one alone has is a difference.
fn both<T>(what: &str, bare: Option<T>, under: Option<T>) -> Result<Option<(T, T)>> {
    match (bare, under) {
        (Some(one), Some(other)) => Ok(Some((one, other))),
        (None, None) => Ok(None),
        (Some(_), None) => bail!("a {what} on the bare machine alone"),
        (None, Some(_)) => bail!("a {what} under the VMM alone"),
    }
}

/// Whether two texts are the same but for what may differ.
fn text(rules: &Rules, bare: &str, under: &str, hole: &Range<u64>, any_order: bool) -> Result<()> {
    ensure!(!bare.trim().is_empty(), "there is nothing to compare");
    let both = || format!("\n--- bare ---\n{bare}\n--- under the VMM ---\n{under}");
    let (mut one, mut other) = (rules.sift(bare)?, rules.sift(under)?);
    if any_order {
        one.lines.sort();
        other.lines.sort();
        let alone = |lines: &[String], others: &[String]| -> Vec<String> {
            lines.iter().filter(|line| !others.contains(line)).cloned().collect()
        };
        let (here, there) = (alone(&one.lines, &other.lines), alone(&other.lines, &one.lines));
        ensure!(
            here.is_empty() && there.is_empty(),
            "only on the bare machine:\n{}\nonly under the VMM:\n{}{}",
            here.join("\n"),
            there.join("\n"),
            both()
        );
    }
    for (line, theirs) in one.lines.iter().zip(&other.lines) {
        if line != theirs {
            bail!("{line:?}\n{theirs:?}{}", both());
        }
    }
    let (here, there) = (one.lines.len(), other.lines.len());
    ensure!(here == there, "{here} lines and {there}{}", both());
    rules.judge(&one, &other, hole).with_context(both)
}

/// The colours of some rows of a screen.
type Rows = Vec<Vec<u8>>;

/// Whether the colours are the same in the rows in which nothing may differ. Where the rules take a row out of
/// one screen alone, what stood below it has moved up or down, so that only rows with text can be told apart.
fn colours(rules: &Rules, bare: &Screen, under: &Screen) -> Result<()> {
    let kept = |screen: &Screen| -> Result<(Rows, Rows)> {
        let (mut text, mut all) = (Vec::new(), Vec::new());
        for (row, colours) in screen.rows().into_iter().zip(screen.colours()) {
            // An empty row has no line of its own, but colours.
            if rules.sift(&format!("{row}\n"))?.lines != [row.as_str()] {
                continue;
            }
            if !row.is_empty() {
                text.push(colours.clone());
            }
            all.push(colours);
        }
        Ok((text, all))
    };
    let ((text, all), (their_text, their_all)) = (kept(bare)?, kept(under)?);
    let moved = all.len() != their_all.len();
    let (one, other) = if moved { (text, their_text) } else { (all, their_all) };
    rows(&one, &other).with_context(|| format!("\n{bare}"))
}

/// Whether the rows are as many, and the same.
fn rows(bare: &[Vec<u8>], under: &[Vec<u8>]) -> Result<()> {
    for (row, (one, other)) in bare.iter().zip(under).enumerate() {
        ensure!(one == other, "the colours of row {row} differ:\n{one:x?}\n{other:x?}");
    }
    let (here, there) = (bare.len(), under.len());
    ensure!(here == there, "colours of {here} rows and of {there}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_alone_left_is_a_difference() {
        assert_eq!(both("screen", Some(1), Some(2)).unwrap(), Some((1, 2)));
        assert_eq!(both::<u8>("screen", None, None).unwrap(), None);
        assert!(both("screen", Some(1), None).unwrap_err().to_string().contains("bare machine"));
        assert!(both("screen", None, Some(1)).unwrap_err().to_string().contains("under the VMM"));
    }

    #[test]
    fn a_row_too_many_is_a_difference() {
        let (one, two, other) = ([vec![7; 80]], [vec![7; 80], vec![7; 80]], [vec![8; 80]]);
        assert!(rows(&one, &one).is_ok() && rows(&two, &two).is_ok());
        for (bare, under) in [(&one[..], &two[..]), (&two, &one), (&one, &other)] {
            assert!(rows(bare, under).is_err());
        }
    }
}
