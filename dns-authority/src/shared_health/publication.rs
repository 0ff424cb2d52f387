//! Decides what this authority writes of its verdicts, and when: changed shards alone, at once if
//! nothing was written lately, and then once a second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use topology::health::Health;

use super::Vantage;
use super::record::{self, Record, SHARDS};
use crate::check::{Checks, Fingerprint};

/// Keys with their values.
pub type Table = BTreeMap<String, Vec<u8>>;

/// What this authority has in the store, or is about to.
#[derive(Debug)]
pub struct Publication {
    vantage: Vantage,
    process: u64,
    /// The checks of each shard, with their places among all checks.
    members: Vec<Vec<(Fingerprint, usize)>>,
    table: Table,
    /// By check: what was told last.
    told: Vec<Health>,
    /// Of this set of checks nothing was told yet.
    is_new_set: bool,
    /// When something was written last.
    written: Option<Instant>,
}

/// What a store with thousands of readers bears of every writer.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

impl Publication {
    /// Of no checks yet. `process` tells this process from others of the same name.
    pub fn new(vantage: Vantage, process: u64) -> Self {
        Self {
            vantage,
            process,
            members: vec![Vec::new(); usize::from(SHARDS)],
            table: Table::new(),
            told: Vec::new(),
            is_new_set: true,
            written: None,
        }
    }

    /// Takes over a new set of checks, of which nothing was told.
    pub fn set_checks(&mut self, checks: &Checks) {
        self.members.iter_mut().for_each(Vec::clear);
        for (index, check) in checks.iter().enumerate() {
            let fingerprint = Fingerprint::of(check);
            let shard = usize::from(record::shard(fingerprint));
            self.members[shard].push((fingerprint, index));
        }
        self.told.clear();
        self.is_new_set = true;
    }

    /// Whether there is nothing to tell.
    pub fn is_told(&self, own: &[Health]) -> bool {
        !self.is_new_set && self.told == own
    }

    /// The whole table, if it has to change now. `own` is by check.
    pub fn changed(&mut self, own: &[Health], now: Instant) -> Option<Table> {
        let is_early = |it: Instant| now.saturating_duration_since(it) < WRITE_INTERVAL;
        if self.is_told(own) || self.written.is_some_and(is_early) {
            return None;
        }
        let of = |healths: &[Health], index: usize| {
            let health = healths.get(index).copied();
            health.unwrap_or(Health::Unknown)
        };
        for (shard, members) in (0..SHARDS).zip(&self.members) {
            let differs = |(_, it): &(Fingerprint, usize)| of(own, *it) != of(&self.told, *it);
            if !self.is_new_set && !members.iter().any(differs) {
                continue;
            }
            let key = record::key(&self.vantage, shard);
            let verdicts = members.iter().map(|(check, it)| (*check, of(own, *it)));
            let record = Record::new(self.process, verdicts);
            // What says nothing is not there.
            match record.up.is_empty() && record.down.is_empty() {
                true => drop(self.table.remove(&key)),
                false => drop(self.table.insert(key, record.encode())),
            }
        }
        own.clone_into(&mut self.told);
        self.is_new_set = false;
        self.written = Some(now);
        Some(self.table.clone())
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
mod tests {
    use super::super::quorum::tests::checks;
    use super::*;

    const UP: Health = Health::Healthy;
    const DOWN: Health = Health::Unhealthy;

    #[test]
    fn writes_the_first_change_at_once_and_then_once_a_second() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let (checks, mut publication) = (checks(2), Publication::new("eu".parse().unwrap(), 7));
        publication.set_checks(&checks);
        let told = |table: Option<Table>| {
            let records: Vec<Record> = table?
                .values()
                .map(|it| Record::decode(it).unwrap())
                .collect();
            let healths = checks.iter().map(|check| {
                let check = Fingerprint::of(check);
                records
                    .iter()
                    .map(|it| it.of(check))
                    .find(|it| *it != Health::Unknown)
            });
            Some(
                healths
                    .map(|it| it.unwrap_or(Health::Unknown))
                    .collect::<Vec<_>>(),
            )
        };

        assert_eq!(
            told(publication.changed(&[UP, Health::Unknown], at(0))),
            Some(vec![UP, Health::Unknown])
        );
        assert_eq!(told(publication.changed(&[UP, UP], at(999))), None);
        assert_eq!(
            told(publication.changed(&[UP, DOWN], at(1_000))),
            Some(vec![UP, DOWN])
        );
        assert_eq!(told(publication.changed(&[UP, DOWN], at(5_000))), None);
        assert_eq!(
            told(publication.changed(&[DOWN, DOWN], at(5_001))),
            Some(vec![DOWN, DOWN])
        );
    }

    #[test]
    fn takes_back_what_it_knows_no_more() {
        let start = Instant::now();
        let mut publication = Publication::new("eu".parse().unwrap(), 7);
        publication.set_checks(&checks(100));
        let table = publication.changed(&[UP; 100], start).unwrap();
        assert!(table.len() > 32, "{} shards of 64", table.len());

        publication.set_checks(&checks(1));
        let table = publication.changed(&[UP], start + WRITE_INTERVAL).unwrap();
        assert_eq!(table.len(), 1);
        publication.set_checks(&checks(0));
        let table = publication.changed(&[], start + 2 * WRITE_INTERVAL);
        assert_eq!(table, Some(Table::new()));
    }
}
