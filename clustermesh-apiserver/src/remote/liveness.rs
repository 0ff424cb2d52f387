//! Decides when our agents are told that a remote cluster is lost, and when that it is back.
//!
//! ```text
//!               listed                      listed
//!  undecided ───────────▶ connected ◀──────────────────── lost
//!      │                      │                            ▲
//!      └──────────────────────┴────────────────────────────┘
//!        silence, or a refusal of its records: at once
//!        anything else: when it has lasted for the grace
//! ```
//!
//! Silence means that nothing comes back from the remote's hosts. A connection that was closed or
//! refused means the opposite: somebody is there, and the API server alone is down or restarting,
//! which takes nothing from the data plane.

use topology::record::PeerState;

/// How long an API server whose host answers may be away, in milliseconds: several restarts.
const GRACE: u64 = 5_000;

/// Times are milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Liveness {
    /// What our agents are told; `None` until that is decided for the first time.
    state: Option<PeerState>,
    /// Since when the link is not as `state` says, or not known.
    in_doubt_since: Option<u64>,
}

/// What the link to the remote says of it now.
pub(super) enum Evidence {
    /// Nothing came back, or what it says is not acceptable.
    Against(String),
    /// Its records are read and believed.
    For,
    /// It is away, but somebody answers in its place; or it has not been read yet.
    Open(String),
}

impl Liveness {
    pub(super) fn new(now: u64) -> Self {
        Self {
            state: None,
            in_doubt_since: Some(now),
        }
    }

    /// Weighs the evidence as it is at `now`.
    pub(super) fn weigh(&mut self, evidence: Evidence, now: u64) {
        match evidence {
            Evidence::For => self.decide(true, String::new(), now),
            Evidence::Against(reason) => self.decide(false, reason, now),
            Evidence::Open(reason) => {
                // A clock that was set back must not prolong the grace.
                let since = self.in_doubt_since.map_or(now, |it| it.min(now));
                self.in_doubt_since = Some(since);
                let is_lost = self.state.as_ref().is_some_and(|it| !it.connected);
                if is_lost || since + GRACE <= now {
                    self.decide(false, reason, now);
                }
            }
        }
    }

    pub(super) fn state(&self) -> Option<&PeerState> {
        self.state.as_ref()
    }

    fn decide(&mut self, connected: bool, reason: String, now: u64) {
        let before = self.state.as_ref().filter(|it| it.connected == connected);
        self.state = Some(PeerState {
            connected,
            since_unix_milliseconds: before.map_or(now, |it| it.since_unix_milliseconds),
            reason,
        });
        self.in_doubt_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_nothing_before_it_knows() {
        check(&[(0, "open")], None);
        check(&[(0, "open"), (4_999, "open")], None);
        check(&[(0, "open"), (5_000, "open")], Some((false, 5_000)));
        check(&[(0, "open"), (100, "for")], Some((true, 100)));
        check(&[(0, "against")], Some((false, 0)));
    }

    #[test]
    fn lets_an_api_server_restart() {
        check(&[(0, "for"), (9_000, "open")], Some((true, 0)));
        check(
            &[(0, "for"), (9_000, "open"), (13_999, "open")],
            Some((true, 0)),
        );
        check(
            &[(0, "for"), (9_000, "open"), (14_000, "open")],
            Some((false, 14_000)),
        );
        check(
            &[
                (0, "for"),
                (9_000, "open"),
                (9_500, "for"),
                (14_000, "open"),
            ],
            Some((true, 0)),
        );
    }

    #[test]
    fn believes_silence_at_once() {
        check(&[(0, "for"), (9_000, "against")], Some((false, 9_000)));
        check(
            &[(0, "for"), (9_000, "open"), (10_000, "against")],
            Some((false, 10_000)),
        );
    }

    #[test]
    fn stays_lost_until_the_remote_is_read_again() {
        check(
            &[(0, "against"), (1_000, "open"), (1_200, "open")],
            Some((false, 0)),
        );
        check(
            &[(0, "against"), (1_000, "open"), (1_300, "for")],
            Some((true, 1_300)),
        );
    }

    #[test]
    fn takes_a_loss_without_a_reason_for_a_loss() {
        let mut liveness = Liveness::new(0);
        liveness.weigh(Evidence::For, 0);
        liveness.weigh(Evidence::Open(String::new()), 1_000);
        liveness.weigh(Evidence::Open(String::new()), 6_000);

        assert!(!liveness.state().unwrap().connected);
    }

    #[test]
    fn survives_a_clock_that_is_set_back() {
        check(
            &[
                (900_000, "for"),
                (900_000, "open"),
                (1_000, "open"),
                (6_000, "open"),
            ],
            Some((false, 6_000)),
        );
    }

    /// Weighs pieces of evidence at their times, and compares whether it is connected, since when.
    #[track_caller]
    fn check(evidence: &[(u64, &str)], expected: Option<(bool, u64)>) {
        let mut liveness = Liveness::new(0);
        for (now, it) in evidence {
            let reason = "a reason".to_owned();
            let it = match *it {
                "for" => Evidence::For,
                "against" => Evidence::Against(reason),
                _ => Evidence::Open(reason),
            };
            liveness.weigh(it, *now);
        }

        let state = liveness.state();
        let found = state.map(|it| (it.connected, it.since_unix_milliseconds));
        assert_eq!(found, expected, "{evidence:?}");
    }
}
