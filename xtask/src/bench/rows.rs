//! A figure, and how it is printed.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::BenchArgs;
use crate::sh;

/// The heading over [`Row::text`].
pub(super) const HEAD: &str =
    "figure                         guest             value       baseline         target";

/// What a figure is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// A cost: no more than this.
    AtMost(f64),
    /// A rate: no less than this.
    AtLeast(f64),
}

impl Target {
    fn value(self) -> f64 {
        match self {
            Self::AtMost(value) | Self::AtLeast(value) => value,
        }
    }
}

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
    /// `None` for a row that only explains another.
    pub(super) target: Option<Target>,
}

impl Row {
    /// A figure that is not judged.
    pub(super) fn new(
        name: &'static str,
        part: &str,
        guest: &str,
        value: f64,
        unit: &'static str,
    ) -> Self {
        let (part, guest) = (part.to_owned(), guest.to_owned());
        Self { name, part, guest, value, unit, baseline: 0.0, target: None }
    }

    /// The same with what the rival of the same run reaches.
    pub(super) fn against(self, baseline: f64) -> Self {
        Self { baseline, ..self }
    }

    /// The same, judged as a cost.
    pub(super) fn at_most(self, target: f64) -> Self {
        Self { target: Some(Target::AtMost(target)), ..self }
    }

    /// The same, judged as a rate.
    pub(super) fn at_least(self, target: f64) -> Self {
        Self { target: Some(Target::AtLeast(target)), ..self }
    }

    /// Whether the figure misses its target.
    pub(super) fn missed(&self) -> bool {
        match self.target {
            Some(Target::AtMost(target)) => self.value > target,
            Some(Target::AtLeast(target)) => self.value < target,
            None => false,
        }
    }

    /// Its name and its part.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.name, self.part).trim_end().to_owned()
    }

    /// A line for a person.
    pub(super) fn text(&self) -> String {
        let name = self.title();
        let judged = match self.target {
            Some(target) if self.missed() => format!("{:>14}  MISSED", tidy(target.value())),
            Some(target) => format!("{:>14}  ok", tidy(target.value())),
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
            "target": self.target.map(Target::value),
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

/// QEMU's name and version, as in `QEMU 7.2`.
///
/// # Errors
/// When it cannot be asked.
pub(crate) fn qemu_version() -> Result<String> {
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
    fn which_side_of_the_target() {
        let cost = |value| Row::new("ram.taken", "512 MiB", "cloud", value, "bytes");
        assert!(!cost(2.0).at_most(2.0).missed() && !cost(3.0).missed());
        let over = cost(2.5).at_most(2.0);
        assert!(over.missed() && over.text().contains("MISSED"));
        assert_eq!(over.title(), "ram.taken 512 MiB");
        let rate = |value| Row::new("step.rate", "", "cloud", value, "steps/s").against(9.0);
        assert!(rate(4.0).at_least(4.5).missed() && !rate(4.5).at_least(4.5).missed());
    }
}
