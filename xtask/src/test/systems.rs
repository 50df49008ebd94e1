//! Real systems, on the bare machine and under the VMM: one test for each that can be run.

use super::Test;
use crate::systems::{self, System, Table};

pub(super) fn tests() -> Vec<Test> {
    let played = systems::all().into_iter().filter_map(|system| Some((system, system.play.ok()?)));
    played
        .map(|(system, play)| {
            // Both runs, and fetching and building what they need.
            let limit = 2 * play.limit + 900;
            let test = Test::new(&name(&system), limit, move || systems::run(&system));
            if system.quick { test } else { test.long() }
        })
        .collect()
}

/// The name of a system's test.
fn name(system: &System) -> String {
    format!("system.{}", system.name)
}

/// The table, from what each test said that was run.
pub(super) fn table<'a>(said: impl Fn(&str) -> Option<&'a str>) -> Table {
    let mut table = Table::default();
    for system in systems::all() {
        match said(&name(&system)) {
            Some(said) => table.take(&system, said, "FAILED without a result"),
            None => table.take(&system, "", "not asked for"),
        }
    }
    table
}
