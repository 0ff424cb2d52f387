//! Says what an operator should know of a target, and what to do about it.

use topology::health::Health;
use topology::report::Problem;

use crate::check::board::Verdict;

/// What is wrong with a target whose health, as answers follow it, is `health`.
pub(super) fn verdict_problem(verdict: &Verdict<'_>, health: Health) -> Option<Problem> {
    let check = verdict.check;
    let (what, remedy) = match (health, verdict.last_error) {
        (Health::Healthy, _) => return None,
        (Health::Unknown, "") => (
            format!("{check} has no verdict yet"),
            "wait for its first probes",
        ),
        (Health::Unknown, error) => (
            format!("{check} has no verdict yet: {error}"),
            "look at the target; it counts as unhealthy if the next probes fail as well",
        ),
        (Health::Unhealthy, "") if verdict.held.is_some() => (
            format!("{check} is held as unhealthy: it comes and goes"),
            "find out why; it is answered again once it has stayed for some minutes",
        ),
        (Health::Unhealthy, "") if verdict.health == Health::Healthy => (
            format!("{check} is unhealthy to other authorities, and healthy from here"),
            "look at the ways to it",
        ),
        (Health::Unhealthy, "") => (
            format!("{check} is unhealthy: it was when the process before this one ended"),
            "wait for its first probes",
        ),
        (Health::Unhealthy, error) => (
            format!("{check} is unhealthy: {error}"),
            "look at the target; it is answered only if all others fail",
        ),
    };
    Some(Problem {
        what,
        remedy: remedy.to_owned(),
    })
}
