//! Shows the health of every target, and who says so.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::ensure;
use topology::health::Health;
use topology::report::{DnsHealth as Report, DrainReport, TargetHealth};

use crate::config::DnsHealth;
use crate::context::Context;
use crate::output::Output;
use crate::questions;
use crate::status::text::age;
use crate::status::{Asked, Outcome};
use crate::table::{Cell, Table, Tone};

/// Often enough to see a failure happen.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Returns whether every authority answered, and finds every target healthy.
pub(super) async fn health(
    options: &DnsHealth,
    context: &Context,
    output: &Output,
) -> anyhow::Result<bool> {
    ensure!(!context.dns.is_empty(), "the context file lists no dns");
    loop {
        let answers = questions::everyone_at(&context.dns, "/v1/dns/health").await;
        let now = daemon::Clock.unix_milliseconds();
        output.print(&answers, |colours| {
            let clear = if options.watch && io::stdout().is_terminal() {
                "\x1b[H\x1b[2J"
            } else {
                ""
            };
            format!("{clear}{}", text(&answers, options.unwell, now, colours))
        })?;
        if !options.watch {
            return Ok(answers.iter().all(is_well));
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

fn is_well(asked: &Asked<Report>) -> bool {
    let is_healthy = |it: &TargetHealth| it.health == Health::Healthy;
    asked
        .answer()
        .is_some_and(|it| it.targets.iter().all(is_healthy))
}

/// One target, as all authorities that answered tell of it.
struct Seen<'a> {
    /// By the first of them.
    report: &'a TargetHealth,
    /// What each authority finds itself, by name.
    verdicts: BTreeMap<&'a str, Health>,
    /// Some answer otherwise.
    is_disputed: bool,
}

fn text(answers: &[Asked<Report>], unwell: bool, now: u64, colours: bool) -> String {
    let mut targets: BTreeMap<(&str, &str), Seen<'_>> = BTreeMap::new();
    for report in answers.iter().filter_map(Asked::answer) {
        for target in &report.targets {
            let seen = targets
                .entry((&target.target, &target.question))
                .or_insert_with(|| Seen {
                    report: target,
                    verdicts: BTreeMap::new(),
                    is_disputed: false,
                });
            seen.is_disputed |= seen.report.health != target.health;
            seen.verdicts.insert(&report.vantage, target.own);
            let others = target.others.iter().map(|(name, it)| (name.as_str(), *it));
            for (name, health) in others {
                seen.verdicts.entry(name).or_insert(health);
            }
        }
    }
    let mut table = Table::new([
        "TARGET",
        "QUESTION",
        "HEALTH",
        "SINCE",
        "PROBES",
        "TOOK",
        "FALLS",
        "VANTAGES",
        "LAST ERROR",
    ]);
    for seen in targets.values().filter(|it| !unwell || !it.is_well()) {
        table.row(seen.row(now));
    }

    let mut text = match table.is_empty() {
        true if unwell => "Every target is healthy.\n".to_owned(),
        true => "There are no health checks.\n".to_owned(),
        false => table.render(colours),
    };
    for asked in answers {
        if let Outcome::Error(error) = &asked.outcome {
            let line = format!("\n{}: {error}\n", asked.endpoint);
            text.push_str(&Tone::Bad.paint(&line, colours));
        }
    }
    for report in answers.iter().filter_map(Asked::answer) {
        text.push_str(&doubts(report));
    }
    let drains = answers
        .iter()
        .filter_map(Asked::answer)
        .flat_map(|it| &it.drains);
    let drains: BTreeMap<&str, &DrainReport> = drains.map(|it| (&*it.subject, it)).collect();
    for drain in drains.values() {
        let left = f64::from(drain.per_mille) / 10.0;
        text.push_str(&format!(
            "\n{} is being drained: {left} % left\n",
            drain.subject
        ));
    }
    text
}

/// What keeps an authority from knowing what the others do.
fn doubts(report: &Report) -> String {
    let mut text = String::new();
    if let Some(store) = report.store.as_ref().filter(|it| !it.connected) {
        let reason = &store.reason;
        text.push_str(&format!("\n{} hears no others: {reason}\n", report.vantage));
    }
    for vantage in &report.doubted {
        text.push_str(&format!(
            "\n{vantage} finds everything down alone, so its verdicts do not count\n"
        ));
    }
    text
}

impl Seen<'_> {
    fn is_well(&self) -> bool {
        let mut verdicts = self.verdicts.values();
        self.report.health == Health::Healthy && verdicts.all(|it| *it == Health::Healthy)
    }

    fn row(&self, now: u64) -> Vec<Cell> {
        let report = self.report;
        let (health, tone) = match report.health {
            _ if self.is_disputed => ("disputed", Tone::Bad),
            Health::Healthy => ("healthy", Tone::Good),
            Health::Unknown => ("unknown", Tone::Plain),
            Health::Unhealthy if report.held_until.is_some() => ("held", Tone::Bad),
            Health::Unhealthy => ("unhealthy", Tone::Bad),
        };
        let count = |health| self.verdicts.values().filter(|it| **it == health).count();
        let (up, down) = (count(Health::Healthy), count(Health::Unhealthy));
        let took = report.probe_microseconds.map(|it| {
            let it = Duration::from_micros(it);
            format!("{:.1} ms", it.as_secs_f64() * 1_000.0)
        });
        vec![
            report.target.clone().into(),
            report.question.clone().into(),
            Cell::new(health, tone),
            age(report.since, now).into(),
            report.probes.clone().into(),
            took.unwrap_or_else(|| "-".to_owned()).into(),
            report.falls.to_string().into(),
            format!("{up} up, {down} down").into(),
            report.last_error.clone().into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_each_target_once_with_what_everybody_finds() {
        let answers = [
            asked("one", Health::Healthy),
            asked("two", Health::Unhealthy),
        ];

        assert_eq!(
            text(&answers, false, 61_000, false),
            "TARGET        QUESTION  HEALTH   SINCE  PROBES  TOOK    FALLS  VANTAGES      LAST ERROR\n\
             192.0.2.1:80  tcp       healthy  1m     ++-     1.5 ms  1      2 up, 1 down  refused\n"
        );
        assert!(text(&answers[..1], true, 0, false).contains("192.0.2.1"));
        assert!(answers.iter().all(is_well));
    }

    /// A third finds it healthy; answers follow that.
    fn asked(vantage: &str, own: Health) -> Asked<Report> {
        let other = if vantage == "one" {
            ("two", Health::Unhealthy)
        } else {
            ("one", Health::Healthy)
        };
        let others = [other, ("three", Health::Healthy)];
        let target = TargetHealth {
            target: "192.0.2.1:80".to_owned(),
            question: "tcp".to_owned(),
            health: Health::Healthy,
            since: 1_000,
            own,
            others: others.map(|(name, it)| (name.to_owned(), it)).into(),
            last_error: "refused".to_owned(),
            probes: "++-".to_owned(),
            probe_microseconds: Some(1_500),
            falls: 1,
            held_until: None,
        };
        Asked {
            endpoint: "http://192.0.2.1:9963".to_owned().try_into().unwrap(),
            outcome: Outcome::Answer(Report {
                vantage: vantage.to_owned(),
                heard: 2,
                doubted: Vec::new(),
                store: None,
                targets: vec![target],
                drains: Vec::new(),
            }),
        }
    }
}
