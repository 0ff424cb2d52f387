//! Decides from what several vantage points see: a target is down when most of those say so that
//! have a verdict on it.
//!
//! All authorities that hear each other hear the same votes and count them alike, so they agree.
//! One that sees everything down while most others do not has lost its own network rather than all
//! targets: its votes do not count. Whoever hears nobody decides alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvstore::follower::{Change, Record as Stored, Update};
use topology::health::Health;

use super::Vantage;
use super::record::{self, InvalidRecord, Record};
use crate::check::{Checks, Fingerprint};

/// What is heard of other authorities, and what it means for the checks of this one.
#[derive(Debug)]
pub struct Quorum {
    own: Vantage,
    process: u64,
    checks: Vec<Fingerprint>,
    others: BTreeMap<Vantage, Other>,
    hearing: Hearing,
    /// Another process goes by our name.
    is_doubled: bool,
}

/// Whether what was heard is still in force.
///
/// ```text
/// Deaf ──connected──▶ Hears ──lost──▶ Since ──LEASE_TTL over──▶ (as Deaf)
///                       ▲──connected────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    /// Nothing was heard yet.
    Deaf,
    Hears,
    /// The store is gone since then.
    Since(Instant),
}

/// Another authority, as the store tells of it.
#[derive(Debug, Default)]
struct Other {
    shards: BTreeMap<u8, Record>,
    /// By our checks.
    verdicts: Vec<Health>,
}

/// What follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By check.
    pub health: Arc<[Health]>,
    /// Authorities whose votes do not count, because each sees everything down alone.
    pub doubted: BTreeSet<Vantage>,
    /// How many other authorities were heard.
    pub heard: usize,
}

/// How long an authority's verdicts outlive it, or the way to it.
pub const LEASE_TTL: Duration = Duration::from_secs(10);

/// More authorities than anybody runs.
const OTHERS_MAX: usize = 64;

/// One target that is down is no sign of a lost network.
const DOUBT_CHECKS_MIN: usize = 2;

impl Quorum {
    /// Hears nobody yet. `process` is what this process writes into its records.
    pub fn new(own: Vantage, process: u64) -> Self {
        Self {
            own,
            process,
            checks: Vec::new(),
            others: BTreeMap::new(),
            hearing: Hearing::Deaf,
            is_doubled: false,
        }
    }

    pub fn own(&self) -> &Vantage {
        &self.own
    }

    /// Takes over a new set of checks.
    pub fn set_checks(&mut self, checks: &Checks) {
        self.checks = checks.iter().map(|it| Fingerprint::of(it)).collect();
        for other in self.others.values_mut() {
            other.map(&self.checks);
        }
    }

    /// Takes in what the store says below [`record::PREFIX`]; returns the keys that make no sense.
    pub fn handle(&mut self, update: &Update, now: Instant) -> Vec<(String, InvalidRecord)> {
        let mut rejected = Vec::new();
        match update {
            Update::Connected { .. } => self.hearing = Hearing::Hears,
            Update::Lost { .. } if self.hearing == Hearing::Hears => {
                self.hearing = Hearing::Since(now);
            }
            // Only a follower that is asked to tells parts of lists.
            Update::Lost { .. } | Update::Page(_) => (),
            Update::Listed(records) => {
                self.others.clear();
                self.is_doubled = false;
                rejected.extend(records.iter().filter_map(|it| self.put(it)));
            }
            Update::Changed(changes) => {
                for change in changes {
                    match change {
                        Change::Put(stored) => rejected.extend(self.put(stored)),
                        Change::Delete { key, .. } => self.delete(key),
                    }
                }
            }
        }
        for other in self.others.values_mut() {
            other.map(&self.checks);
        }
        rejected
    }

    /// Whether another process writes under this one's name.
    pub fn is_doubled(&self) -> bool {
        self.is_doubled
    }

    /// Counts the votes: `own` are this authority's, by check.
    pub fn decide(&self, own: &[Health], now: Instant) -> Outcome {
        let heard: Vec<(&Vantage, &[Health])> = self.heard(now).collect();
        let mut voters = vec![(&self.own, own)];
        voters.extend(&heard);
        let doubted = doubted(&voters);
        let counted = voters
            .iter()
            .filter(|(vantage, _)| !doubted.contains(vantage));
        let counted: Vec<&[Health]> = counted.map(|(_, verdicts)| *verdicts).collect();

        let decide = |check: usize| {
            let votes = counted.iter().map(|it| of(it, check));
            match majority(votes) {
                // Nobody whose word counts knows: then that of those in doubt is better than none.
                Health::Unknown => majority(voters.iter().map(|(_, it)| of(it, check))),
                known @ (Health::Healthy | Health::Unhealthy) => known,
            }
        };
        Outcome {
            health: (0..own.len()).map(decide).collect(),
            doubted: doubted.into_iter().cloned().collect(),
            heard: heard.len(),
        }
    }

    /// What other authorities say of one check, if they have a verdict.
    pub fn opinions(&self, check: usize, now: Instant) -> impl Iterator<Item = (&Vantage, Health)> {
        let heard = self.heard(now);
        let opinions = heard.map(move |(vantage, verdicts)| (vantage, of(verdicts, check)));
        opinions.filter(|(_, health)| *health != Health::Unknown)
    }

    fn heard(&self, now: Instant) -> impl Iterator<Item = (&Vantage, &[Health])> {
        let is_fresh = match self.hearing {
            Hearing::Deaf => false,
            Hearing::Hears => true,
            Hearing::Since(lost) => now.saturating_duration_since(lost) < LEASE_TTL,
        };
        let others = self.others.iter().filter(move |_| is_fresh);
        others.map(|(vantage, it)| (vantage, &*it.verdicts))
    }

    fn put(&mut self, stored: &Stored) -> Option<(String, InvalidRecord)> {
        if !stored.key.starts_with(record::PREFIX) {
            // Of something else that is followed together with this.
            return None;
        }
        let place = record::parse_key(&stored.key);
        let read = place.and_then(|place| Ok((place, Record::decode(&stored.value)?)));
        let ((vantage, shard), record) = match read {
            Ok(read) => read,
            Err(error) => {
                // What cannot be read says nothing any more.
                self.delete(&stored.key);
                return Some((stored.key.clone(), error));
            }
        };
        if vantage == self.own {
            self.is_doubled = record.process != self.process;
            return None;
        }
        if self.others.len() < OTHERS_MAX || self.others.contains_key(&vantage) {
            let other = self.others.entry(vantage).or_default();
            other.shards.insert(shard, record);
            other.verdicts.clear();
        }
        None
    }

    fn delete(&mut self, key: &str) {
        let Ok((vantage, shard)) = record::parse_key(key) else {
            return;
        };
        if let Some(other) = self.others.get_mut(&vantage) {
            other.shards.remove(&shard);
            other.verdicts.clear();
        }
        self.others.retain(|_, it| !it.shards.is_empty());
    }
}

impl Other {
    /// Brings the verdicts up to date, if they are not.
    fn map(&mut self, checks: &[Fingerprint]) {
        if self.verdicts.len() == checks.len() {
            return;
        }
        let of = |check: &Fingerprint| {
            let record = self.shards.get(&record::shard(*check));
            record.map_or(Health::Unknown, |it| it.of(*check))
        };
        self.verdicts = checks.iter().map(of).collect();
    }
}

fn of(verdicts: &[Health], check: usize) -> Health {
    verdicts.get(check).copied().unwrap_or(Health::Unknown)
}

/// Down if more than half of the verdicts say so, up if there are any others, else unknown.
fn majority(votes: impl Iterator<Item = Health>) -> Health {
    let (mut up, mut down) = (0, 0);
    for vote in votes {
        match vote {
            Health::Healthy => up += 1,
            Health::Unhealthy => down += 1,
            Health::Unknown => (),
        }
    }
    match (up, down) {
        (0, 0) => Health::Unknown,
        _ if up < down => Health::Unhealthy,
        _ => Health::Healthy,
    }
}

/// Those who see everything down, while more than half of the others see something up.
fn doubted<'a>(voters: &[(&'a Vantage, &[Health])]) -> BTreeSet<&'a Vantage> {
    let views = voters.iter().map(|(vantage, verdicts)| {
        let count = |health| verdicts.iter().filter(|it| **it == health).count();
        (*vantage, count(Health::Healthy), count(Health::Unhealthy))
    });
    let views: Vec<(&Vantage, usize, usize)> =
        views.filter(|(_, up, down)| 0 < up + down).collect();
    let seeing = views.iter().filter(|(_, up, _)| 0 < *up).count();
    let is_blind = |(_, up, down): &(_, usize, usize)| *up == 0 && DOUBT_CHECKS_MIN <= *down;
    // Whoever is blind is not among those who see, so the others' majority is counted without him.
    let is_outvoted = views.len().saturating_sub(1) < 2 * seeing;
    let blind = views.into_iter().filter(|it| is_outvoted && is_blind(it));
    blind.map(|(vantage, ..)| vantage).collect()
}

#[cfg(test)]
pub(super) mod tests;
