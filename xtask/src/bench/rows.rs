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
    /// A line for a person.
    pub(super) fn text(&self) -> String {
        let name = format!("{} {}", self.name, self.part);
        let judged = match self.target {
            Some(target) if self.value <= target => format!("{:>14}  ok", tidy(target)),
            Some(target) => format!("{:>14}  MISSED", tidy(target)),
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
