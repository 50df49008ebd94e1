//! A figure, and how it is printed.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::BenchArgs;
use crate::sh;

/// The heading over [`Row::text`].
pub(super) const HEAD: &str =
    "figure                         guest             value       baseline         target";

/// One measured figure.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its name in the list of figures.
    pub(super) name: &'static str,
    /// What of it, when there are several rows: a reason of exits.
    pub(super) part: String,
    /// What ran.
    pub(super) guest: String,
    /// The figure.
    pub(super) value: f64,
    /// What it is counted in.
    pub(super) unit: &'static str,
    /// The same work on the same machine without the VMM.
    pub(super) baseline: f64,
    /// The most it may be; `None` for a row that only explains another.
    pub(super) target: Option<f64>,
}

impl Row {
    /// Whether the figure is over its target.
    pub(super) fn missed(&self) -> bool {
        self.target.is_some_and(|target| self.value > target)
    }

    /// Its name and its part.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.name, self.part).trim_end().to_owned()
    }

    /// A line for a person.
    pub(super) fn text(&self) -> String {
        let name = self.title();
        let judged = match self.target {
            Some(target) if self.missed() => format!("{:>14}  MISSED", tidy(target)),
            Some(target) => format!("{:>14}  ok", tidy(target)),
            None => String::new(),
        };
        format!(
            "{name:<30} {:<10} {:>12} {:>14} {judged}  {}",
            self.guest,
            tidy(self.value),
            tidy(self.baseline),
            self.unit
        )
    }

    /// A line for a program.
    pub(super) fn json(&self, args: &BenchArgs, emulator: &str) -> String {
        let mut object = json!({
            "name": self.name, "cpu": args.cpu.to_string(), "firmware": args.firmware.to_string(),
            "cpus": 1, "link": args.link.to_string(), "guest": self.guest, "emulator": emulator,
            "value": self.value, "unit": self.unit, "baseline": self.baseline,
            "target": self.target,
        });
        if !self.part.is_empty() {
            object["part"] = json!(self.part);
        }
        object.to_string()
    }
}

/// Without a fraction where there is none.
fn tidy(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.4}") }
}

/// The emulator and its version, as in `QEMU 7.2`.
///
/// # Errors
/// When it cannot be asked.
pub(super) fn emulator() -> Result<String> {
    let text = sh::output(Command::new("qemu-system-x86_64").arg("--version"))?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "version");
    let version = words.nth(1).with_context(|| format!("no version in: {text}"))?;
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap_or("?"), parts.next().unwrap_or("?"));
    Ok(format!("QEMU {major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::Row;

    #[test]
    fn over_the_target_is_missed() {
        let row = |value, target| Row {
            name: "ram.taken",
            part: "512 MiB".into(),
            guest: "cloud".into(),
            value,
            unit: "bytes",
            baseline: 0.0,
            target,
        };
        assert!(!row(2.0, Some(2.0)).missed() && !row(3.0, None).missed());
        let over = row(2.5, Some(2.0));
        assert!(over.missed() && over.text().contains("MISSED"));
        assert_eq!(over.title(), "ram.taken 512 MiB");
    }
}
