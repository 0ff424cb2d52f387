//! Decides when each check is probed, and keeps what the probes found. Sends nothing itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use topology::health::{Health, HealthCheck, Outcome, Policy};

use super::memory::Memory;
use super::{Check, CheckId, Checks};

/// The health of every check of a set of zones.
///
/// Drive it in a loop: when [`next_due`](Self::next_due) has come, probe what
/// [`take_due`](Self::take_due) returns, and report each result to
/// [`handle_outcome`](Self::handle_outcome).
#[derive(Debug, Default)]
pub struct Board {
    slots: Vec<Slot>,
    /// Checks that wait for their next probe. Those that are being probed are not in it.
    due: BTreeSet<(Instant, CheckId)>,
}

#[derive(Debug)]
struct Slot {
    check: Arc<Check>,
    state: HealthCheck,
    /// When the health last changed, in milliseconds since 1970.
    since: u64,
    /// Empty while probes succeed.
    last_error: String,
    /// How many probes were started; also what spreads them.
    probes_count: u64,
    started: Instant,
}

/// What is known of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    pub check: &'a Check,
    pub health: Health,
    pub since: u64,
    pub last_error: &'a str,
}

/// One moment, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub monotonic: Instant,
    /// Milliseconds since 1970.
    pub unix_milliseconds: u64,
}

/// The first probes are spread over this long, so that a start is no burst, and over half an
/// interval where that is shorter.
const START_SPREAD_MAX: Duration = Duration::from_millis(500);
/// Probes come early by up to this part of an interval, never late: what is promised about
/// detection holds for every probe.
const JITTER_PARTS: u32 = 20;

impl Board {
    /// A board for `checks`. What `before` knew of the same checks is kept, and what `memory` tells
    /// is believed until the first probe; the rest is unknown.
    pub fn new(checks: &Checks, before: Self, memory: &Memory, now: Moment) -> Self {
        let mut before: BTreeMap<Arc<Check>, Slot> = before
            .slots
            .into_iter()
            .map(|it| (Arc::clone(&it.check), it))
            .collect();
        let slots: Vec<Slot> = checks
            .iter()
            .map(|it| {
                before
                    .remove(it)
                    .unwrap_or_else(|| Slot::new(it, memory, now))
            })
            .collect();
        let due = slots
            .iter()
            .enumerate()
            .map(|(index, slot)| {
                (
                    slot.first_probe(index, now.monotonic),
                    CheckId::from_index(index),
                )
            })
            .collect();
        Self { slots, due }
    }

    /// When something is to be probed; `None` if nothing waits.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Up to `limit` checks whose time has come, longest waiting first. Each is to be reported.
    pub fn take_due(&mut self, now: Instant, limit: usize) -> Vec<(CheckId, Arc<Check>)> {
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some((due, id)) = self.due.first().copied()
            && due <= now
        {
            self.due.remove(&(due, id));
            let slot = &mut self.slots[id.index()];
            slot.probes_count += 1;
            slot.started = now;
            taken.push((id, Arc::clone(&slot.check)));
        }
        taken
    }

    /// Records how a probe ended, and returns the verdict if the health changed.
    pub fn handle_outcome(
        &mut self,
        id: CheckId,
        outcome: Result<(), String>,
        now: Moment,
    ) -> Option<Verdict<'_>> {
        let slot = &mut self.slots[id.index()];
        let (outcome, error) = match outcome {
            Ok(()) => (Outcome::Success, String::new()),
            Err(error) => (Outcome::Failure, error),
        };
        slot.last_error = error;
        self.due
            .insert((slot.next_probe(id).max(now.monotonic), id));

        slot.state.handle_outcome(outcome, now.monotonic)?;
        slot.since = now.unix_milliseconds;
        Some(slot.verdict())
    }

    /// The health of all checks, by id.
    pub fn health(&self) -> Arc<[Health]> {
        self.slots.iter().map(|it| it.state.health()).collect()
    }

    /// In the order of the ids.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict<'_>> {
        self.slots.iter().map(Slot::verdict)
    }

    /// How many checks have come to no verdict yet.
    pub fn unknown_count(&self) -> usize {
        self.slots
            .iter()
            .filter(|it| it.state.health() == Health::Unknown)
            .count()
    }
}

impl Slot {
    fn new(check: &Arc<Check>, memory: &Memory, now: Moment) -> Self {
        let policy = Policy {
            interval: check.timing.interval,
            rise: 1,
            fall: check.timing.fall,
        };
        let (health, since) = memory
            .of(check)
            .unwrap_or((Health::Unknown, now.unix_milliseconds));
        Self {
            check: Arc::clone(check),
            state: HealthCheck::new(policy, health, now.monotonic),
            since,
            last_error: String::new(),
            probes_count: 0,
            started: now.monotonic,
        }
    }

    /// When the check is probed first, or next after a reload.
    fn first_probe(&self, index: usize, now: Instant) -> Instant {
        if self.probes_count > 0 {
            return self.next_probe(CheckId::from_index(index)).max(now);
        }
        let spread = START_SPREAD_MAX.min(self.check.timing.interval / 2);
        now + spread.mul_f64(share(index as u64, 0))
    }

    /// One interval after the last probe began, less the jitter.
    fn next_probe(&self, id: CheckId) -> Instant {
        let interval = self.check.timing.interval;
        let early = (interval / JITTER_PARTS).mul_f64(share(id.index() as u64, self.probes_count));
        self.started + interval - early
    }

    fn verdict(&self) -> Verdict<'_> {
        Verdict {
            check: &self.check,
            health: self.state.health(),
            since: self.since,
            last_error: &self.last_error,
        }
    }
}

/// A number from 0 to 1 that differs between checks and between probes of one check, and is the
/// same on every run (the finalizer of SplitMix64).
fn share(index: u64, probe: u64) -> f64 {
    let mut bits = index
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(probe);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let high = u32::try_from((bits ^ (bits >> 31)) >> 32).expect("32 bits");
    f64::from(high) / f64::from(u32::MAX)
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
mod tests {
    use super::*;
    use crate::check::{Method, Timing};

    #[test]
    fn probes_every_check_soon_and_then_once_per_interval() {
        let checks = checks(100);
        let start = moment(0);
        let mut board = Board::new(&checks, Board::default(), &Memory::default(), start);

        let mut counts = [0; 100];
        for tick in 0..100 {
            let now = at(start, tick * 100);
            for (id, _) in board.take_due(now.monotonic, 1000) {
                counts[id.index()] += 1;
                board.handle_outcome(id, Ok(()), now);
            }
            if tick == 5 {
                assert_eq!(counts, [1; 100]);
                assert_eq!(board.unknown_count(), 0);
            }
        }
        // Ten seconds, an interval of two less at most 5 % of jitter.
        assert!(counts.iter().all(|it| (5..=6).contains(it)), "{counts:?}");
    }

    #[test]
    fn never_probes_a_check_twice_at_once_and_keeps_to_the_limit() {
        let checks = checks(10);
        let start = moment(0);
        let mut board = Board::new(&checks, Board::default(), &Memory::default(), start);
        let later = at(start, 60_000);

        let taken = board.take_due(later.monotonic, 4);
        assert_eq!(taken.len(), 4);
        let rest = board.take_due(later.monotonic, 100);
        assert_eq!(rest.len(), 6);
        assert_eq!(board.next_due(), None);
    }

    #[test]
    fn tells_transitions_with_their_reason() {
        let checks = checks(1);
        let start = moment(7);
        let mut board = Board::new(&checks, Board::default(), &Memory::default(), start);
        let id = CheckId::from_index(0);

        assert_eq!(
            board.handle_outcome(id, Ok(()), start).unwrap().health,
            Health::Healthy
        );
        assert_eq!(board.handle_outcome(id, Ok(()), at(start, 1)), None);
        let down = board
            .handle_outcome(id, Err("refused".to_owned()), at(start, 2))
            .unwrap();
        assert_eq!(
            (down.health, down.since, down.last_error),
            (Health::Unhealthy, 9, "refused")
        );
        assert_eq!(*board.health(), [Health::Unhealthy]);
    }

    #[test]
    fn keeps_what_it_knows_over_a_reload() {
        let start = moment(0);
        let mut board = Board::new(&checks(3), Board::default(), &Memory::default(), start);
        for (id, _) in board.take_due(at(start, 1000).monotonic, 3) {
            board.handle_outcome(id, Ok(()), start);
        }

        let board = Board::new(&checks(5), board, &Memory::default(), at(start, 1500));

        let (up, new) = (Health::Healthy, Health::Unknown);
        assert_eq!(*board.health(), [up, up, up, new, new]);
    }

    fn checks(count: u16) -> Checks {
        let mut checks = Checks::default();
        for port in 1..=count {
            let timing = Timing {
                interval: Duration::from_secs(2),
                timeout: Duration::from_secs(1),
                fall: 1,
            };
            let target = ([127, 0, 0, 1], port).into();
            checks.intern(Check {
                target,
                method: Method::Tcp,
                timing,
                source: None,
            });
        }
        checks
    }

    fn moment(unix_milliseconds: u64) -> Moment {
        Moment {
            monotonic: Instant::now(),
            unix_milliseconds,
        }
    }

    fn at(start: Moment, milliseconds: u64) -> Moment {
        Moment {
            monotonic: start.monotonic + Duration::from_millis(milliseconds),
            unix_milliseconds: start.unix_milliseconds + milliseconds,
        }
    }
}
