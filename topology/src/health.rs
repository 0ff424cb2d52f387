//! Turns probe outcomes into health, without probing.
//!
//! ```text
//!             first success               `fall` failures in a row
//!  Unknown ──────────────────▶ Healthy ─────────────────────────────▶ Unhealthy
//!     │                          ▲                                     ▲   │
//!     │                          └─────────────────────────────────────┼───┘
//!     │                              `rise` successes in a row         │
//!     └────────────────────────────────────────────────────────────────┘
//!                         `fall` failures in a row
//! ```

mod damping;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use damping::Damper;

/// The health of one target, as a state machine.
///
/// Drive it in a loop: wait until [`next_probe`](Self::next_probe), probe, and report the result to
/// [`handle_outcome`](Self::handle_outcome).
#[derive(Clone, Debug)]
pub struct HealthCheck {
    policy: Policy,
    health: Health,
    /// How many outcomes in a row contradict `health`.
    contradictions: u32,
    next_probe: Instant,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Policy {
    pub interval: Duration,
    /// Successes in a row before an unhealthy target counts as healthy again; at least 1.
    pub rise: u32,
    /// Failures in a row before a target counts as unhealthy; at least 1.
    pub fall: u32,
}

/// Ordered from best to worst, so that the best of several is their minimum.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Healthy,
    /// Never probed to a verdict: neither up nor down.
    Unknown,
    Unhealthy,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    Failure,
    Success,
}

impl HealthCheck {
    /// Starts out unknown, or with what an earlier life of the prober knew.
    pub fn new(policy: Policy, remembered: Health, now: Instant) -> Self {
        Self {
            policy,
            health: remembered,
            contradictions: 0,
            next_probe: now,
        }
    }

    /// Records a probe's outcome and returns the new health if it changed.
    pub fn handle_outcome(&mut self, outcome: Outcome, now: Instant) -> Option<Health> {
        self.next_probe = now + self.policy.interval;

        let (observed, threshold) = match (outcome, self.health) {
            (Outcome::Failure, _) => (Health::Unhealthy, self.policy.fall),
            (Outcome::Success, Health::Unknown) => (Health::Healthy, 1),
            (Outcome::Success, _) => (Health::Healthy, self.policy.rise),
        };
        if observed == self.health {
            self.contradictions = 0;
            return None;
        }

        self.contradictions += 1;
        if self.contradictions < threshold {
            return None;
        }

        self.contradictions = 0;
        self.health = observed;
        Some(observed)
    }

    pub fn health(&self) -> Health {
        self.health
    }

    pub fn next_probe(&self) -> Instant {
        self.next_probe
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
mod tests {
    use super::*;

    #[test]
    fn is_unknown_until_the_first_verdict() {
        check("S", "H");
        check("F F", "- -");
        check("F F F", "- - U");
        check("F F S", "- - H");
    }

    #[test]
    fn falls_after_three_failures_and_rises_after_two_successes() {
        check("S S F F S F F F", "H - - - - - - U");
        check("F F F S F S S", "- - U - - - H");
    }

    #[test]
    fn probes_again_one_interval_after_each_outcome() {
        let start = Instant::now();
        let mut check = HealthCheck::new(POLICY, Health::Unknown, start);
        assert_eq!(check.next_probe(), start);

        check.handle_outcome(Outcome::Success, start);

        assert_eq!(check.next_probe(), start + POLICY.interval);
    }

    const POLICY: Policy = Policy {
        interval: Duration::from_secs(5),
        rise: 2,
        fall: 3,
    };

    /// Feeds `outcomes` (`S`uccess, `F`ailure) and compares each transition (`H`, `U`, or `-`).
    #[track_caller]
    fn check(outcomes: &str, expected: &str) {
        let now = Instant::now();
        let mut check = HealthCheck::new(POLICY, Health::Unknown, now);

        let transitions: Vec<&str> = outcomes
            .split(' ')
            .map(|it| match it {
                "S" => Outcome::Success,
                _ => Outcome::Failure,
            })
            .map(|outcome| match check.handle_outcome(outcome, now) {
                Some(Health::Healthy) => "H",
                Some(Health::Unhealthy) => "U",
                Some(Health::Unknown) | None => "-",
            })
            .collect();

        assert_eq!(transitions.join(" "), expected, "outcomes {outcomes}");
    }
}
