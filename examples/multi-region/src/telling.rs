//! Puts measured things into words, and prints a step as soon as it is over.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::{Lab, Program};

use crate::region::CITIES;
use crate::report::{Fact, Measure, Region, Step};
use crate::traffic::Counts;

/// Writes a text and a line's end to standard output.
///
/// # Errors
///
/// If nobody reads it any more; it is no use to go on then.
pub(crate) fn say(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").context("cannot write to standard output")
}

/// A step as one line, with its measures below.
pub(crate) fn step(step: &Step) -> String {
    let verdict = if step.holds() { "ok" } else { "FAILED" };
    let (number, title) = (step.number, &step.title);
    let took = step.ended - step.started;
    let mut lines = vec![format!("{number}. {title} ... {verdict} ({took:.1} s)")];
    lines.extend(step.measures.iter().map(|it| {
        let goal = it.goal.iter().map(|it| format!("  (goal: {it})"));
        let mark = if it.ok { " " } else { "!" };
        let (what, value) = (&it.what, &it.value);
        format!("   {mark} {what}: {value}{}", goal.collect::<String>())
    }));
    lines.extend(step.failure.iter().map(|it| format!("   ! {it}")));
    lines.join("\n")
}

pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// Something worth knowing that has no goal.
pub(crate) fn fact(what: &str, value: String) -> Measure {
    Measure {
        what: what.to_owned(),
        value,
        goal: None,
        ok: true,
        timed: false,
    }
}

/// A time that should not be longer than `goal`.
pub(crate) fn at_most(what: &str, value: Duration, goal: Duration) -> Measure {
    Measure {
        what: what.to_owned(),
        value: seconds(value),
        goal: Some(format!("≤ {}", seconds(goal))),
        ok: value <= goal,
        timed: true,
    }
}

/// A value that should be the expected one.
pub(crate) fn expected(what: &str, value: &str, expected: &str) -> Measure {
    Measure {
        what: what.to_owned(),
        value: value.to_owned(),
        goal: Some(expected.to_owned()),
        ok: value == expected,
        timed: false,
    }
}

/// Something that should not have happened; `ok` says whether it has not.
pub(crate) fn none(what: &str, value: &str, ok: bool) -> Measure {
    Measure {
        what: what.to_owned(),
        value: value.to_owned(),
        goal: Some("0".to_owned()),
        ok,
        timed: false,
    }
}

/// A count that should not be smaller than `goal`.
pub(crate) fn at_least(what: &str, value: u64, goal: u64) -> Measure {
    Measure {
        what: what.to_owned(),
        value: value.to_string(),
        goal: Some(format!("≥ {goal}")),
        ok: goal <= value,
        timed: false,
    }
}

/// Failures that a step is allowed to have.
pub(crate) fn failed(what: &str, counts: Counts) -> Measure {
    fact(
        what,
        format!("{} of {} failed", counts.failed, counts.total),
    )
}

/// Requests of which none may have failed, and which there were.
pub(crate) fn none_failed(what: &str, counts: Counts) -> Measure {
    let value = format!("{} of {}", counts.failed, counts.total);
    none(what, &value, counts.failed == 0 && 0 < counts.total)
}

pub(crate) fn regions() -> Vec<Region> {
    let regions = CITIES.iter().map(|it| Region {
        name: it.region.to_owned(),
        place: it.name.to_owned(),
    });
    regions.collect()
}

/// Where and with what the story was told.
pub(crate) fn facts(lab: &Lab) -> Vec<Fact> {
    let place = lab.plan().regions[0].control();
    let ask = |name: &str, program: &str, arguments: &[&str]| {
        let program = Program::new(program, program).arguments(arguments.iter().copied());
        let finished = lab.run(&place, program, Duration::from_secs(10)).ok()?;
        let value = finished.stdout.lines().next()?.trim().to_owned();
        Some(Fact {
            name: name.to_owned(),
            value,
        })
    };
    let own = Fact {
        name: "Causeway".to_owned(),
        value: env!("CARGO_PKG_VERSION").to_owned(),
    };
    [
        Some(own),
        ask("kernel", "uname", &["-sr"]),
        ask("processors", "nproc", &[]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_line_with_its_measures_below() {
        let step = Step {
            number: 3,
            title: "Pods die".to_owned(),
            measures: vec![
                at_most(
                    "served after",
                    Duration::from_millis(3_210),
                    Duration::from_secs(3),
                ),
                fact("restarted", "9".to_owned()),
            ],
            started: 1.0,
            ended: 2.5,
            ok: true,
            failure: Some("no answer".to_owned()),
        };

        let expected = "\
3. Pods die ... FAILED (1.5 s)
   ! served after: 3.21 s  (goal: ≤ 3.00 s)
     restarted: 9
   ! no answer";
        assert_eq!(super::step(&step), expected);
    }

    #[test]
    fn a_goal_is_met_exactly_or_missed() {
        let goal = Duration::from_secs(3);
        assert!(at_most("", goal, goal).ok);
        assert!(!at_most("", goal + Duration::from_micros(1), goal).ok);
        assert!(expected("", "eu", "eu").ok && !expected("", "us", "eu").ok);
        assert!(at_least("", 7, 7).ok && !at_least("", 6, 7).ok);
    }

    #[test]
    fn no_failure_of_no_request_is_no_success() {
        let check = |total, failed| none_failed("", Counts { total, failed }).ok;

        assert!(check(10, 0));
        assert!(!check(10, 1));
        assert!(!check(0, 0));
    }
}
