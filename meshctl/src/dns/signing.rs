//! Shows what DNS authorities say of the keys of their zones and of the parents of these.

use std::net::SocketAddr;

use topology::report::{DelegationReport, KeysReport};

use crate::context::Context;
use crate::output::Output;
use crate::questions;
use crate::status::text::age;
use crate::table::{Cell, Table, Tone};

/// Returns whether the parent says what it should.
pub(super) async fn show_delegation(
    zone: &str,
    parent: Option<SocketAddr>,
    context: &Context,
    output: &Output,
) -> anyhow::Result<bool> {
    let report = questions::delegation(context, zone, parent).await?;
    output.print(&report, |colours| delegation(&report, colours))?;
    Ok(report.problems.is_empty())
}

pub(super) async fn show_keys(
    zone: &str,
    context: &Context,
    output: &Output,
) -> anyhow::Result<bool> {
    let report = questions::keys(context, zone).await?;
    let now = daemon::Clock.unix_milliseconds();
    output.print(&report, |colours| keys(&report, now, colours))?;
    Ok(true)
}

fn delegation(report: &DelegationReport, colours: bool) -> String {
    let mut text = format!("; for the parent of {}\n", report.zone);
    for record in &report.records {
        text.push_str(&format!("{record}\n"));
    }
    if let Some(parent) = &report.parent {
        let list = |words: &[String]| match words {
            [] => "none".to_owned(),
            words => words.join(", "),
        };
        text.push_str(&format!("\n; as {} knows it\n", parent.asked));
        text.push_str(&format!("; servers: {}\n", list(&parent.servers)));
        text.push_str(&format!("; DS: {}\n", list(&parent.ds)));
    }
    for problem in &report.problems {
        let what = Tone::Bad.paint(&problem.what, colours);
        text.push_str(&format!("; - {what}: {}\n", problem.remedy));
    }
    text
}

fn keys(report: &KeysReport, now: u64, colours: bool) -> String {
    let mut table = Table::new(["TAG", "ALGORITHM", "ROLE", "STAGE", "SINCE", "MADE"]);
    for key in &report.keys {
        let tone = match key.stage.as_str() {
            "active" => Tone::Good,
            "retired" => Tone::Faint,
            _ => Tone::Plain,
        };
        table.row([
            Cell::new(key.tag.to_string(), Tone::Plain),
            Cell::new(&key.algorithm, Tone::Plain),
            Cell::new(&key.role, Tone::Plain),
            Cell::new(&key.stage, tone),
            Cell::new(format!("{} ago", age(key.since, now)), Tone::Plain),
            Cell::new(format!("{} ago", age(key.made, now)), Tone::Plain),
        ]);
    }
    let head = format!("{}, {} denial\n", report.zone, report.denial);
    head + &table.render(colours)
}

#[cfg(test)]
mod tests {
    use topology::report::{KeyReport, ParentReport, Problem};

    use super::*;

    #[test]
    fn shows_how_far_keys_are() {
        let key = |tag, stage: &str, since| KeyReport {
            tag,
            algorithm: "ed25519".to_owned(),
            role: "csk".to_owned(),
            stage: stage.to_owned(),
            since,
            until: None,
            made: 0,
        };
        let report = KeysReport {
            zone: "example.test.".to_owned(),
            denial: "compact".to_owned(),
            keys: vec![key(7, "active", 0), key(4711, "published", 3_600_000)],
        };
        let expected = "\
example.test., compact denial
TAG   ALGORITHM  ROLE  STAGE      SINCE   MADE
7     ed25519    csk   active     2h ago  2h ago
4711  ed25519    csk   published  1h ago  2h ago
";
        assert_eq!(keys(&report, 7_200_000, false), expected);
    }

    #[test]
    fn shows_records_so_that_they_can_be_copied_as_they_are() {
        let report = DelegationReport {
            zone: "a.test.".to_owned(),
            records: vec!["a.test. 60 IN NS ns.a.test.".to_owned()],
            parent: Some(ParentReport {
                asked: "192.0.2.53:53".parse().unwrap(),
                servers: vec!["ns.a.test.".to_owned()],
                ds: Vec::new(),
            }),
            problems: vec![Problem {
                what: "no DS".to_owned(),
                remedy: "hand it over".to_owned(),
            }],
        };
        let expected = "\
; for the parent of a.test.
a.test. 60 IN NS ns.a.test.

; as 192.0.2.53:53 knows it
; servers: ns.a.test.
; DS: none
; - no DS: hand it over
";
        assert_eq!(delegation(&report, false), expected);
    }
}
