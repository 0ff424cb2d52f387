//! The figures of a run, for people and for programs.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::Result;
use serde::Serialize;

use crate::config::Format;
use crate::usage::Usage;

/// What one workload has cost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) workload: String,
    /// What was done, with how much.
    pub(crate) what: String,
    pub(crate) figures: Vec<Figure>,
    pub(crate) processes: Vec<Process>,
    /// What is to be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<&'static str>,
    /// Why there are no figures, or not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Process {
    pub(crate) name: String,
    /// Whether it is measured, or only helps.
    pub(crate) under_test: bool,
    #[serde(flatten)]
    pub(crate) usage: Usage,
}

impl Row {
    pub(crate) fn new(workload: &str, what: String) -> Self {
        Self {
            workload: workload.to_owned(),
            what,
            figures: Vec::new(),
            processes: Vec::new(),
            goal: None,
            problem: None,
        }
    }

    #[must_use]
    pub(crate) fn figure(
        mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Self {
        let name = name.into();
        self.figures.push(Figure { name, value, unit });
        self
    }

    #[must_use]
    pub(crate) fn processes(mut self, processes: impl IntoIterator<Item = Process>) -> Self {
        self.processes.extend(processes);
        self
    }

    #[must_use]
    pub(crate) fn goal(mut self, goal: &'static str) -> Self {
        self.goal = Some(goal);
        self
    }
}

/// Writes `rows` to stdout.
///
/// # Errors
///
/// If that cannot be written to.
pub(crate) fn print(rows: &[Row], format: Format) -> Result<()> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(rows)? + "\n",
        Format::Table => rows.iter().map(paragraph).collect(),
    };
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// One row as a few lines: what was done, then the figures, then what they cost.
fn paragraph(row: &Row) -> String {
    let mut text = format!("{}: {}\n", row.workload, row.what);
    for it in &row.figures {
        line(
            &mut text,
            &it.name,
            &format!("{} {}", number(it.value), it.unit),
        );
    }
    for it in &row.processes {
        let usage = format!(
            "{} CPU-s, {} MB{}",
            number(it.usage.cpu_seconds),
            it.usage.peak_bytes / 1_000_000,
            if it.under_test {
                ""
            } else {
                " (not under test)"
            }
        );
        line(&mut text, &it.name, &usage);
    }
    if let Some(goal) = row.goal {
        line(&mut text, "goal", goal);
    }
    if let Some(problem) = &row.problem {
        line(&mut text, "PROBLEM", problem);
    }
    text + "\n"
}

fn line(text: &mut String, name: &str, value: &str) {
    // A string takes all that is written to it.
    let _ = writeln!(text, "    {name:<24} {value}");
}

/// Three significant digits, or all before the point.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        it if it < 1.0 => 3,
        it if it < 10.0 => 2,
        it if it < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_three_digits() {
        let shown = [0.0123, 1.234, 12.34, 12_345.6].map(number);
        assert_eq!(shown, ["0.012", "1.23", "12.3", "12346"]);
    }
}
