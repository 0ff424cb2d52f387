//! What the example found out, as one value: the table, the page and the JSON file show the same.

pub(crate) mod wrap;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::timeline::Track;
use crate::traffic::Counts;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// In milliseconds since 1970; all other times are in seconds since then.
    pub(crate) started_unix_milliseconds: u64,
    /// How long the story took.
    pub(crate) seconds: f64,
    /// In the order of their colors.
    pub(crate) regions: Vec<Region>,
    pub(crate) steps: Vec<Step>,
    pub(crate) clients: Vec<Client>,
    /// What the DNS of each region answered.
    pub(crate) dns: Vec<Track>,
    /// The states of tunnels and clusters.
    pub(crate) states: Vec<Track>,
    /// Where it ran and with what: a version, a kernel, a host.
    pub(crate) facts: Vec<Fact>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Region {
    pub(crate) name: String,
    /// The city, for people.
    pub(crate) place: String,
}

/// One step of the story. Times are in seconds since the report's start.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) number: u8,
    pub(crate) title: String,
    pub(crate) measures: Vec<Measure>,
    pub(crate) started: f64,
    pub(crate) ended: f64,
    pub(crate) ok: bool,
    /// Why it could not be finished.
    pub(crate) failure: Option<String>,
}

/// Something that a step measured, in words with units.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measure {
    pub(crate) what: String,
    pub(crate) value: String,
    pub(crate) goal: Option<String>,
    pub(crate) ok: bool,
    /// Whether the goal is a time, which a busy machine may miss.
    pub(crate) timed: bool,
}

/// A client and all its requests.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Client {
    pub(crate) track: Track,
    pub(crate) counts: Counts,
    /// How many requests each region served.
    pub(crate) served: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fact {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Report {
    /// The story in a sentence.
    pub(crate) fn verdict(&self) -> String {
        let failed: Vec<String> = self
            .steps
            .iter()
            .filter(|it| !it.holds())
            .map(|it| it.number.to_string())
            .collect();
        let steps = self.steps.len();
        match failed.len() {
            0 if steps == 0 => "no step was run".to_owned(),
            0 => format!("all {steps} steps hold"),
            count => format!("{count} of {steps} steps failed: {}", failed.join(", ")),
        }
    }

    /// Whether all of it holds; nothing does before a step was run.
    pub(crate) fn holds(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(Step::holds)
    }
}

impl Step {
    /// Whether it was finished and everything it measured is as it should be.
    pub(crate) fn holds(&self) -> bool {
        self.ok && self.failure.is_none() && self.measures.iter().all(|it| it.ok)
    }
}

/// A count for people, with a space that does not break a line between each three digits.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if 0 < index && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod sample;
#[cfg(test)]
pub(crate) use sample::sample;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_holds_when_every_measure_of_every_step_does() {
        let good = step(1, true);
        let bad = step(2, false);
        let broken = Step {
            failure: Some("no answer".into()),
            ..step(3, true)
        };
        let unfinished = Step {
            ok: false,
            ..step(4, true)
        };

        check(&[], false, "no step was run");
        check(&[&good], true, "all 1 steps hold");
        check(
            &[&good, &bad, &broken, &unfinished],
            false,
            "3 of 4 steps failed: 2, 3, 4",
        );
    }

    #[test]
    fn groups_digits() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1_234), "1\u{a0}234");
        assert_eq!(grouped(12_345_678), "12\u{a0}345\u{a0}678");
    }

    #[track_caller]
    fn check(steps: &[&Step], holds: bool, verdict: &str) {
        let steps = steps.iter().copied().cloned().collect();
        let report = Report { steps, ..sample() };

        assert_eq!((report.holds(), &*report.verdict()), (holds, verdict));
    }

    fn step(number: u8, ok: bool) -> Step {
        let what = "failed requests".to_owned();
        Step {
            number,
            title: "a step".to_owned(),
            measures: vec![Measure {
                what,
                value: "0".to_owned(),
                goal: None,
                ok,
                timed: false,
            }],
            started: 0.0,
            ended: 1.0,
            ok: true,
            failure: None,
        }
    }
}
