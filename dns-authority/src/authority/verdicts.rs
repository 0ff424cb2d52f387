//! Everything about health that the owner's task owns: what this authority finds, what it hears of
//! others, what follows, and since when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvstore::follower::Update;
use topology::health::Health;
use topology::report::{DnsHealth, Problem, StoreReport, TargetHealth};
use tracing::{info, warn};

use crate::check::board::{Board, Moment, Verdict};
use crate::check::memory::Memory;
use crate::check::{Check, CheckId, Checks};
use crate::shared_health::Vantage;
use crate::shared_health::publication::{Publication, Table};
use crate::shared_health::quorum::{Outcome, Quorum};

/// A probe that ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Of the set of checks that `id` belongs to.
    pub(super) generation: u64,
    pub(super) id: CheckId,
    pub(super) outcome: Result<(), String>,
}

pub(super) struct Verdicts {
    board: Board,
    /// Counts the sets of checks.
    generation: u64,
    /// What an earlier life knew.
    memory: Memory,
    /// What this authority finds, by check.
    own: Vec<Health>,
    quorum: Quorum,
    publication: Publication,
    /// The way to the others; `None` if there are none.
    link: Option<StoreReport>,
    decided: Outcome,
    /// When the health that was decided last changed, by check, in milliseconds since 1970.
    since: Vec<u64>,
    /// When votes came that were not counted yet, in milliseconds since 1970.
    undecided: Option<u64>,
    /// Whether there may be something that others have not been told.
    is_untold: bool,
    /// Whether verdicts have come since they were written down.
    is_news: bool,
}

impl Verdicts {
    /// On no checks yet. `process` tells this process from others that go by `vantage`.
    pub(super) fn new(vantage: &Vantage, process: u64, memory: Memory) -> Self {
        Self {
            board: Board::default(),
            generation: 0,
            memory,
            own: Vec::new(),
            quorum: Quorum::new(vantage.clone(), process),
            publication: Publication::new(vantage.clone(), process),
            link: None,
            decided: Outcome::default(),
            since: Vec::new(),
            undecided: None,
            is_untold: true,
            is_news: false,
        }
    }

    /// From now on, others are heard, or their silence is a problem.
    pub(super) fn share(&mut self, now_unix_milliseconds: u64) {
        self.link = Some(StoreReport {
            connected: false,
            since: now_unix_milliseconds,
            reason: "not connected yet".to_owned(),
        });
    }

    /// Takes over a new set of checks. What is known of the same ones is kept.
    pub(super) fn load(&mut self, checks: &Checks, now: Moment) {
        let before = std::mem::take(&mut self.board);
        self.board = Board::new(checks, before, &self.memory, now);
        self.generation += 1;
        self.own = self.board.health();
        self.quorum.set_checks(checks);
        self.publication.set_checks(checks);
        self.decided = self.quorum.decide(&self.own, now.monotonic);
        // By its own account: whose health others changed is as good as new.
        let verdicts = self.board.verdicts(now.monotonic);
        self.since = verdicts.map(|it| it.since).collect();
        self.undecided = None;
        self.is_untold = true;
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.board.next_due()
    }

    pub(super) fn take_due(&mut self, now: Instant, limit: usize) -> Vec<(CheckId, Arc<Check>)> {
        self.board.take_due(now, limit)
    }

    /// Takes in how a probe ended; what follows waits for [`decide`](Self::decide).
    pub(super) fn handle_ended(&mut self, ended: Ended, now: Moment) {
        if ended.generation != self.generation {
            return;
        }
        let Ended { id, outcome, .. } = ended;
        let Some(changed) = self.board.handle_outcome(id, outcome, now) else {
            return;
        };
        match changed.health {
            Health::Healthy => info!(check = %changed.check, "healthy"),
            Health::Unknown | Health::Unhealthy => {
                info!(check = %changed.check, reason = changed.last_error, "unhealthy");
            }
        }
        self.own[id.index()] = changed.health;
        self.undecided.get_or_insert(now.unix_milliseconds);
        self.is_untold = true;
        self.is_news = true;
    }

    /// Takes in what the store tells of other authorities.
    pub(super) fn handle_update(&mut self, update: &Update, now: Moment) {
        let since = now.unix_milliseconds;
        let link = match update {
            Update::Connected { .. } => {
                info!("hears other authorities");
                Some((true, String::new()))
            }
            Update::Lost { reason, .. } => {
                warn!(%reason, "hears no other authorities; decides on health alone before long");
                Some((false, reason.clone()))
            }
            Update::Listed(_) | Update::Page(_) | Update::Changed(_) => None,
        };
        if let Some((connected, reason)) = link {
            self.link = Some(StoreReport {
                connected,
                since,
                reason,
            });
        }
        for (key, error) in self.quorum.handle(update, now.monotonic) {
            warn!(key, reason = %error, "dropped a record of another authority");
        }
        self.undecided.get_or_insert(now.unix_milliseconds);
    }

    /// Time has passed: what was heard long ago may count no more.
    pub(super) fn handle_tick(&mut self, now: Moment) {
        if self.link.as_ref().is_some_and(|it| !it.connected) {
            self.undecided.get_or_insert(now.unix_milliseconds);
        }
    }

    /// Counts the votes if there are new ones, and returns what changed.
    pub(super) fn decide(&mut self, now: Moment) -> Vec<CheckId> {
        let Some(begin) = self.undecided.take() else {
            return Vec::new();
        };
        let decided = self.quorum.decide(&self.own, now.monotonic);
        for vantage in decided.doubted.difference(&self.decided.doubted) {
            warn!(%vantage, "sees everything down alone; its verdicts do not count");
        }
        let before = std::mem::replace(&mut self.decided, decided);
        let pairs = before.health.iter().zip(self.decided.health.iter());
        let changed = pairs.enumerate().filter(|(_, (before, now))| before != now);
        let changed: Vec<CheckId> = changed
            .map(|(index, _)| CheckId::from_index(index))
            .collect();
        for id in &changed {
            // What this authority has just found itself has begun when it found it.
            let own = self.board.verdict(*id, now.monotonic);
            let is_own = own.health == self.decided.health[id.index()] && begin <= own.since;
            self.since[id.index()] = if is_own {
                own.since
            } else {
                now.unix_milliseconds
            };
        }
        changed
    }

    /// What others are to be told now, if anything.
    pub(super) fn publication(&mut self, now: Instant) -> Option<Table> {
        if !self.is_untold || self.link.is_none() {
            return None;
        }
        let table = self.publication.changed(&self.own, now);
        // What comes too soon after the last is told later.
        self.is_untold = !self.publication.is_told(&self.own);
        table
    }

    /// What answers follow, by check.
    pub(super) fn health(&self) -> &Arc<[Health]> {
        &self.decided.health
    }

    /// When what answers follow last changed, by check, in milliseconds since 1970.
    pub(super) fn since(&self) -> &[u64] {
        &self.since
    }

    /// Everything that is known of each check: the last verdicts of this authority, and what answers
    /// follow.
    pub(super) fn verdicts(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (Verdict<'_>, Health, u64)> {
        let verdicts = self.board.verdicts(now).zip(&*self.decided.health);
        let verdicts = verdicts.zip(&self.since);
        verdicts.map(|((verdict, health), since)| (verdict, *health, *since))
    }

    pub(super) fn verdict(&self, id: CheckId, now: Instant) -> Verdict<'_> {
        self.board.verdict(id, now)
    }

    /// How many other authorities are heard, and how many are in doubt.
    pub(super) fn vantages(&self) -> (usize, usize) {
        (self.decided.heard, self.decided.doubted.len())
    }

    pub(super) fn unknown_count(&self) -> usize {
        let unknown = self.decided.health.iter();
        unknown.filter(|it| **it == Health::Unknown).count()
    }

    /// What is worth writing down, if it is news.
    pub(super) fn take_news(&mut self) -> Option<Vec<(Arc<Check>, Health, u64)>> {
        std::mem::take(&mut self.is_news).then(|| self.board.known())
    }

    /// The news were not written down, and are news yet.
    pub(super) fn keep_news(&mut self) {
        self.is_news = true;
    }

    pub(super) fn report(&self, now: Moment) -> DnsHealth {
        let targets = self.verdicts(now.monotonic).enumerate();
        let targets = targets.map(|(index, (verdict, health, since))| {
            let others = self.quorum.opinions(index, now.monotonic);
            let others = others.map(|(vantage, health)| (vantage.to_string(), health));
            target(&verdict, health, since, others.collect(), now)
        });
        DnsHealth {
            vantage: self.quorum.own().to_string(),
            heard: self.decided.heard,
            doubted: self.doubted(),
            store: self.link.clone(),
            targets: targets.collect(),
            drains: Vec::new(),
        }
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut say = |what: String, remedy: &str| {
            problems.push(Problem {
                what,
                remedy: remedy.to_owned(),
            });
        };
        if let Some(link) = self.link.as_ref().filter(|it| !it.connected) {
            say(
                format!("hears no other authorities: {}", link.reason),
                "check --etcd-config and that clustermesh-apiserver runs; health is what this authority finds alone meanwhile",
            );
        }
        if self.decided.doubted.contains(self.quorum.own()) {
            say(
                "this authority finds every target down, and others do not: its verdicts do not count".to_owned(),
                "look at its network; answers follow what the others find meanwhile",
            );
        }
        if self.quorum.is_doubled() {
            say(
                format!(
                    "another authority goes by the name {} too",
                    self.quorum.own()
                ),
                "give each a --vantage of its own; they overwrite each other's verdicts",
            );
        }
        problems
    }

    fn doubted(&self) -> Vec<String> {
        let doubted = self.decided.doubted.iter();
        doubted.map(ToString::to_string).collect()
    }
}

fn target(
    verdict: &Verdict<'_>,
    health: Health,
    since: u64,
    others: BTreeMap<String, Health>,
    now: Moment,
) -> TargetHealth {
    let milliseconds = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
    let microseconds = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
    let history = verdict.history;
    TargetHealth {
        target: verdict.check.target.to_string(),
        question: verdict.check.question(),
        health,
        since,
        own: verdict.health,
        others,
        last_error: verdict.last_error.to_owned(),
        probes: history
            .last()
            .map(|it| if it { '+' } else { '-' })
            .collect(),
        probe_microseconds: history.took.map(microseconds),
        falls: history.falls,
        held_until: verdict
            .held
            .map(|it| now.unix_milliseconds.saturating_add(milliseconds(it))),
    }
}
