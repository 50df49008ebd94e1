//! Whether a system left the same on the bare machine and under the VMM.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};
use testing::Screen;

use super::{Play, play::Left, rules::Rules};

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
    if let (Some(one), Some(other)) = (&bare.screen, &under.screen) {
        text(&rules, &one.to_string(), &other.to_string(), &under.hole)
            .context("the screens differ")?;
        colours(&rules, one, other)?;
    }
    if let (Some(one), Some(other)) = (&bare.pixels, &under.pixels) {
        let differ = one.iter().zip(other).filter(|(one, other)| one != other).count();
        ensure!(
            one.len() == other.len() && differ == 0,
            "the pixels differ: {} and {} bytes, {differ} of them not the same",
            one.len(),
            other.len()
        );
    }
    if let (Some(one), Some(other)) = (&bare.serial, &under.serial) {
        text(&rules, one, other, &under.hole).context("the serial output differs")?;
    }
    Ok(())
}

/// Whether two texts are the same but for what may differ.
fn text(rules: &Rules, bare: &str, under: &str, hole: &Range<u64>) -> Result<()> {
    ensure!(!bare.trim().is_empty(), "there is nothing to compare");
    let both = || format!("\n--- bare ---\n{bare}\n--- under the VMM ---\n{under}");
    let (one, other) = (rules.sift(bare)?, rules.sift(under)?);
    for (line, theirs) in one.lines.iter().zip(&other.lines) {
        if line != theirs {
            bail!("{line:?}\n{theirs:?}{}", both());
        }
    }
    let (here, there) = (one.lines.len(), other.lines.len());
    ensure!(here == there, "{here} lines and {there}{}", both());
    rules.judge(&one, &other, hole).with_context(both)
}

/// Whether the colours are the same: row by row while no row is missing by the rules.
fn colours(rules: &Rules, bare: &Screen, under: &Screen) -> Result<()> {
    let kept = |screen: &Screen| -> Result<Vec<Vec<u8>>> {
        let rows = screen.rows().into_iter().zip(screen.colours());
        let kept = rows.map(|(row, colours)| {
            // An empty row has no line of its own, but colours.
            Ok((row.is_empty() || !rules.sift(&row)?.lines.is_empty()).then_some(colours))
        });
        Ok(kept.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    };
    for (row, (one, other)) in kept(bare)?.iter().zip(&kept(under)?).enumerate() {
        ensure!(one == other, "the colours of row {row} differ:\n{one:x?}\n{other:x?}\n{bare}");
    }
    Ok(())
}
