//! Puts measured things into words, and prints a step as soon as it is over.
#![expect(
    clippy::print_stdout,
    reason = "the story's lines are the program's output"
)]

use std::time::Duration;

use lab::{Lab, Program};

use crate::region::CITIES;
use crate::report::{Fact, Measure, Region, Step};
use crate::traffic::Counts;

/// A step as one line, with its measures below.
pub(crate) fn print_step(step: &Step) {
    let verdict = if step.holds() { "ok" } else { "FAILED" };
    println!(
        "{}. {} ... {verdict} ({:.1} s)",
        step.number,
        step.title,
        step.ended - step.started
    );
    for Measure {
        what,
        value,
        goal,
        ok,
        timed: _,
    } in &step.measures
    {
        let goal = goal
            .as_ref()
            .map(|it| format!("  (goal: {it})"))
            .unwrap_or_default();
        let mark = if *ok { " " } else { "!" };
        println!("   {mark} {what}: {value}{goal}");
    }
    if let Some(failure) = &step.failure {
        println!("   ! {failure}");
    }
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
