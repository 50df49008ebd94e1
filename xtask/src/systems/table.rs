//! The table: what came of each system.

use std::{collections::BTreeMap, fmt};

use super::{Compared, System};

/// How a row begins on the output of the process that ran it.
const ROW: &str = "ROW\t";

/// One row as it was run.
pub(super) struct Row {
    name: &'static str,
    compared: String,
    /// Seconds on the bare machine to the stated point, GRUB and firmware included.
    pub(super) bare: Option<f64>,
    /// The same under the VMM.
    pub(super) under: Option<f64>,
    result: String,
}

impl Row {
    pub(super) fn of(system: &System) -> Self {
        let compared = match &system.play {
            Ok(play) => {
                let names = play.seen().map(|what| match what {
                    Compared::Screen => "screen",
                    Compared::Serial => "serial",
                    Compared::Lines => "lines",
                });
                names.collect::<Vec<_>>().join(", ")
            }
            Err(_) => String::new(),
        };
        Self { name: system.name, compared, bare: None, under: None, result: "the same".to_owned() }
    }

    /// Notes why it failed, in one line.
    pub(super) fn failed(&mut self, error: &anyhow::Error) {
        let whole = format!("{error:#}");
        self.result = format!("FAILED {}", whole.lines().next().unwrap_or_default());
    }

    /// Tells it to the process that makes the table.
    pub(super) fn print(&self) {
        let seconds = |run: Option<f64>| run.map_or("-".to_owned(), |s| format!("{s:.1}"));
        println!(
            "{ROW}{}\t{}\t{}\t{}\t{}",
            self.name,
            seconds(self.bare),
            seconds(self.under),
            self.compared,
            self.result
        );
    }
}

/// The table of all systems: those that were run, and what became of the others.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    about: Vec<String>,
    differs: BTreeMap<String, Vec<&'static str>>,
}

impl Table {
    /// Takes the row out of what a test printed; a system that printed none has `otherwise` as its result.
    pub(crate) fn take(&mut self, system: &System, said: &str, otherwise: &str) {
        let told = said.lines().find_map(|line| line.strip_prefix(ROW));
        let row = match told {
            Some(row) => row.split('\t').map(str::to_owned).collect(),
            None => self.without_run(system, otherwise),
        };
        self.rows.push(row);
        if told.is_some() {
            self.note(system);
        }
    }

    /// What a system is, and what may differ in it.
    fn note(&mut self, system: &System) {
        self.about.push(format!("{}: {}", system.name, system.about));
        for differs in system.play.iter().flat_map(|play| play.differs) {
            self.differs.entry(differs.to_string()).or_default().push(system.name);
        }
    }

    fn without_run(&self, system: &System, otherwise: &str) -> Vec<String> {
        let result = match system.play {
            Ok(_) => otherwise.to_owned(),
            Err(why) => format!("not run: {why}"),
        };
        vec![system.name.to_owned(), "-".into(), "-".into(), "-".into(), result]
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["system", "bare s", "VMM s", "compared", "result"].map(str::to_owned).to_vec();
        let rows: Vec<&Vec<String>> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        for row in &rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = if column == 4 { 0 } else { width(column).unwrap_or(0) };
                line += &format!("{cell:width$}  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        for about in &self.about {
            writeln!(f, "{about}")?;
        }
        if !self.differs.is_empty() {
            writeln!(f, "What may differ, and in which:")?;
        }
        for (differs, names) in &self.differs {
            writeln!(f, "{differs} ({})", names.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_is_missing() {
        let missing = System { name: "none", about: "", quick: false, play: Err("nowhere") };
        let mut table = Table::default();
        table.take(&missing, "", "not asked for");
        table.take(&missing, "noise\nROW\tother\t1.0\t2.0\tscreen\tthe same\n", "died");
        let shown = table.to_string();
        assert!(shown.contains("not run: nowhere"), "{shown}");
        assert!(shown.contains("other   1.0     2.0    screen    the same"), "{shown}");
    }
}
