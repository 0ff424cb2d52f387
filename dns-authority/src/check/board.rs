//! Decides when each check is probed, and keeps what the probes found. Sends nothing itself.

mod crowd;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use topology::health::{Damper, Health, HealthCheck, Outcome, Policy};

use super::memory::Memory;
use super::{Check, CheckId, Checks};
use crowd::Crowd;

/// The health of every check of a set of zones, as this authority finds it.
///
/// Drive it in a loop: when [`next_due`](Self::next_due) has come, probe what
/// [`take_due`](Self::take_due) returns, and report each result to
/// [`handle_outcome`](Self::handle_outcome).
#[derive(Debug, Default)]
pub struct Board {
    slots: Vec<Slot>,
    /// Checks that wait for their next probe. Those that are being probed are not in it.
    due: BTreeSet<(Instant, CheckId)>,
    crowd: Crowd,
}

#[derive(Debug)]
struct Slot {
    check: Arc<Check>,
    state: HealthCheck,
    damper: Damper,
    /// What follows from both.
    health: Health,
    /// When the health last changed, in milliseconds since 1970.
    since: u64,
    /// Empty while probes succeed.
    last_error: String,
    /// How many probes were started; also what spreads them.
    probes_count: u64,
    started: Instant,
    history: History,
}

/// What the last probes were like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Successes as ones, the last probe lowest.
    successes: u16,
    /// How many of the bits mean something.
    known: u8,
    pub succeeded: u64,
    pub failed: u64,
    /// How often a healthy target turned out not to be.
    pub falls: u64,
    /// How long the last probe took; `None` before any.
    pub took: Option<Duration>,
}

/// What is known of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    pub check: &'a Check,
    pub health: Health,
    pub since: u64,
    pub last_error: &'a str,
    pub history: History,
    /// For how much longer a healthy target is shown as down, because it came and went too often.
    pub held: Option<Duration>,
}

/// One moment, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub monotonic: Instant,
    /// Milliseconds since 1970.
    pub unix_milliseconds: u64,
}

/// The first probes of a few checks are spread over this long, so that a start is no burst.
const START_SPREAD_MIN: Duration = Duration::from_millis(500);
/// More are begun at this rate, which is what many of them cost later at an interval of five seconds.
const STARTS_PER_SECOND: u32 = 20_000;
/// Probes come early by up to this part of an interval, never late: what is promised about
/// detection holds for every probe.
const JITTER_PARTS: u32 = 20;
/// The second probe comes early by up to this part, so that all that began together are spread over
/// the interval from then on.
const SPREAD_PARTS: u32 = 2;

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
        let count = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let spread = START_SPREAD_MIN.max(Duration::from_secs(1) * count / STARTS_PER_SECOND);
        let due = slots
            .iter()
            .enumerate()
            .map(|(index, slot)| {
                (
                    slot.first_probe(index, spread, now.monotonic),
                    CheckId::from_index(index),
                )
            })
            .collect();
        let crowd = Crowd::new(slots.iter().map(|it| &*it.check));
        Self { slots, due, crowd }
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
            if !self.crowd.enter(id) {
                continue;
            }
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
        if let Some(next) = self.crowd.leave(id) {
            self.due.insert((now.monotonic, next));
        }
        let slot = &mut self.slots[id.index()];
        self.due
            .insert((slot.next_probe(id).max(now.monotonic), id));
        if !slot.handle_outcome(outcome, now) {
            return None;
        }
        Some(slot.verdict(now.monotonic))
    }

    /// The health of all checks, by id.
    pub fn health(&self) -> Vec<Health> {
        self.slots.iter().map(|it| it.health).collect()
    }

    /// In the order of the ids.
    pub fn verdicts(&self, now: Instant) -> impl Iterator<Item = Verdict<'_>> {
        self.slots.iter().map(move |it| it.verdict(now))
    }

    /// What is worth remembering: each check with a verdict, and since when it holds.
    pub fn known(&self) -> Vec<(Arc<Check>, Health, u64)> {
        let known = self.slots.iter().filter(|it| it.health != Health::Unknown);
        known
            .map(|it| (Arc::clone(&it.check), it.health, it.since))
            .collect()
    }

    pub fn verdict(&self, id: CheckId, now: Instant) -> Verdict<'_> {
        self.slots[id.index()].verdict(now)
    }
}

impl Slot {
    fn new(check: &Arc<Check>, memory: &Memory, now: Moment) -> Self {
        let policy = Policy {
            interval: check.timing.interval,
            rise: check.timing.rise,
            fall: check.timing.fall,
        };
        let (health, since) = memory
            .of(check)
            .unwrap_or((Health::Unknown, now.unix_milliseconds));
        Self {
            check: Arc::clone(check),
            state: HealthCheck::new(policy, health, now.monotonic),
            damper: Damper::new(health),
            health,
            since,
            last_error: String::new(),
            probes_count: 0,
            started: now.monotonic,
            history: History::default(),
        }
    }

    /// Returns whether the health changed.
    fn handle_outcome(&mut self, outcome: Result<(), String>, now: Moment) -> bool {
        let took = now.monotonic.saturating_duration_since(self.started);
        self.history.push(outcome.is_ok(), took);
        let (outcome, error) = match outcome {
            Ok(()) => (Outcome::Success, String::new()),
            Err(error) => (Outcome::Failure, error),
        };
        self.last_error = error;
        self.state.handle_outcome(outcome, now.monotonic);
        let health = self.damper.judge(self.state.health(), now.monotonic);
        if health == self.health {
            return false;
        }
        if self.health == Health::Healthy {
            self.history.falls += 1;
        }
        self.health = health;
        self.since = now.unix_milliseconds;
        true
    }

    /// When the check is probed first, or next after a reload.
    fn first_probe(&self, index: usize, spread: Duration, now: Instant) -> Instant {
        if self.probes_count > 0 {
            return self.next_probe(CheckId::from_index(index)).max(now);
        }
        let spread = spread.min(self.check.timing.interval / 2);
        now + spread.mul_f64(share(index as u64, 0))
    }

    /// One interval after the last probe began, less the jitter.
    fn next_probe(&self, id: CheckId) -> Instant {
        let interval = self.check.timing.interval;
        let parts = match self.probes_count {
            1 => SPREAD_PARTS,
            _ => JITTER_PARTS,
        };
        let early = (interval / parts).mul_f64(share(id.index() as u64, self.probes_count));
        self.started + interval - early
    }

    fn verdict(&self, now: Instant) -> Verdict<'_> {
        let held = self.damper.held_until(now);
        Verdict {
            check: &self.check,
            health: self.health,
            since: self.since,
            last_error: &self.last_error,
            history: self.history,
            held: held.map(|it| it - now),
        }
    }
}

impl History {
    fn push(&mut self, is_success: bool, took: Duration) {
        self.successes = self.successes << 1 | u16::from(is_success);
        self.known = (self.known + 1).min(16);
        match is_success {
            true => self.succeeded += 1,
            false => self.failed += 1,
        }
        self.took = Some(took);
    }

    /// The last probes, the newest at the end: whether each succeeded.
    pub fn last(self) -> impl Iterator<Item = bool> {
        (0..self.known)
            .rev()
            .map(move |it| self.successes >> it & 1 == 1)
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
mod tests;
