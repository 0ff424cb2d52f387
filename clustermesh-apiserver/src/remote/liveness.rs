//! Decides when our agents are told that a remote cluster is lost, and when that it is back.
//!
//! ```text
//!               listed           listed, and for a while if it was lost often
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

use std::collections::VecDeque;

use topology::record::PeerState;

use crate::moment::Moment;

/// How long an API server whose host answers may be away, in milliseconds: several restarts.
const GRACE: u64 = 5_000;

/// A remote that was lost once or twice is believed as soon as it is back. One that comes and goes
/// must stay for a while first, in milliseconds, by its losses within the window: each change of its
/// state moves traffic in all clusters.
const FLAPPING_WINDOW: u64 = 60_000;
const STAYS: [u64; 5] = [0, 0, 0, 5_000, 15_000];

/// Times are uptime in milliseconds.
#[derive(Debug)]
pub(super) struct Liveness {
    /// What our agents are told; `None` until that is decided for the first time.
    state: Option<PeerState>,
    /// Since when the link is not as `state` says, or not known.
    in_doubt_since: Option<u64>,
    /// When it was lost last, oldest first.
    losses: VecDeque<u64>,
    /// Since when a lost remote is back.
    back_since: Option<u64>,
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
    pub(super) fn new(now: Moment) -> Self {
        Self {
            state: None,
            in_doubt_since: Some(now.uptime_milliseconds),
            losses: VecDeque::new(),
            back_since: None,
        }
    }

    /// Weighs the evidence as it is at `now`.
    pub(super) fn weigh(&mut self, evidence: Evidence, now: Moment) {
        let uptime = now.uptime_milliseconds;
        match evidence {
            Evidence::For => {
                let since = *self.back_since.get_or_insert(uptime);
                if !self.is_lost() || since + self.stay(uptime) <= uptime {
                    self.decide(true, String::new(), now);
                }
            }
            Evidence::Against(reason) => self.decide(false, reason, now),
            Evidence::Open(reason) => {
                self.back_since = None;
                let since = *self.in_doubt_since.get_or_insert(uptime);
                if self.is_lost() || since + GRACE <= uptime {
                    self.decide(false, reason, now);
                }
            }
        }
    }

    pub(super) fn state(&self) -> Option<&PeerState> {
        self.state.as_ref()
    }

    fn is_lost(&self) -> bool {
        self.state.as_ref().is_some_and(|it| !it.connected)
    }

    /// How long it must be back before it is believed.
    fn stay(&self, uptime: u64) -> u64 {
        let recent = |it: &&u64| uptime < **it + FLAPPING_WINDOW;
        let losses = self.losses.iter().filter(recent).count();
        STAYS[losses.min(STAYS.len() - 1)]
    }

    fn decide(&mut self, connected: bool, reason: String, now: Moment) {
        if !connected {
            self.back_since = None;
            if self.state.as_ref().is_some_and(|it| it.connected) {
                self.losses.push_back(now.uptime_milliseconds);
                if STAYS.len() < self.losses.len() {
                    self.losses.pop_front();
                }
            }
        }
        let before = self.state.as_ref().filter(|it| it.connected == connected);
        let now = now.unix_milliseconds;
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
        let mut liveness = Liveness::new(0.into());
        liveness.weigh(Evidence::For, 0.into());
        liveness.weigh(Evidence::Open(String::new()), 1_000.into());
        liveness.weigh(Evidence::Open(String::new()), 6_000.into());

        assert!(!liveness.state().unwrap().connected);
    }

    #[test]
    fn counts_spans_whatever_the_clock_says() {
        let at = |unix_milliseconds, uptime_milliseconds| Moment {
            unix_milliseconds,
            uptime_milliseconds,
        };
        let open = || Evidence::Open("a reason".to_owned());
        let mut liveness = Liveness::new(at(900_000, 0));
        liveness.weigh(Evidence::For, at(900_000, 0));
        liveness.weigh(open(), at(1_000, 1_000));
        assert!(liveness.state().unwrap().connected);
        liveness.weigh(open(), at(2_000_000, 5_999));
        assert!(liveness.state().unwrap().connected);

        liveness.weigh(open(), at(6_000, 6_000));
        let state = liveness.state().unwrap();
        assert_eq!(
            (state.connected, state.since_unix_milliseconds),
            (false, 6_000)
        );
    }

    #[test]
    fn waits_for_one_that_comes_and_goes_to_stay() {
        let thrice = [
            (0, "for"),
            (1_000, "against"),
            (2_000, "for"),
            (3_000, "against"),
            (4_000, "for"),
            (5_000, "against"),
        ];
        let then = |more: &[(u64, &'static str)]| [&thrice[..], more].concat();

        check(&thrice[..5], Some((true, 4_000)));
        let lost = Some((false, 5_000));
        check(&then(&[(7_000, "for"), (11_999, "for")]), lost);
        let back = [(7_000, "for"), (12_000, "for")];
        check(&then(&back), Some((true, 12_000)));
        let again = [
            (7_000, "for"),
            (8_000, "open"),
            (9_000, "for"),
            (13_999, "for"),
        ];
        check(&then(&again), lost);
        check(&then(&[(66_000, "for")]), Some((true, 66_000)));
    }

    /// Weighs pieces of evidence at their times, and compares whether it is connected, since when.
    #[track_caller]
    fn check(evidence: &[(u64, &str)], expected: Option<(bool, u64)>) {
        let mut liveness = Liveness::new(0.into());
        for (now, it) in evidence {
            let reason = "a reason".to_owned();
            let it = match *it {
                "for" => Evidence::For,
                "against" => Evidence::Against(reason),
                _ => Evidence::Open(reason),
            };
            liveness.weigh(it, (*now).into());
        }

        let state = liveness.state();
        let found = state.map(|it| (it.connected, it.since_unix_milliseconds));
        assert_eq!(found, expected, "{evidence:?}");
    }
}
