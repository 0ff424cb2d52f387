//! Decides what this node says of the other clusters, from what probes see, and when it says so: a
//! change of health or of a path's size at once, numbers when they have moved enough to matter.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use topology::health::Health;
use topology::id::{ClusterName, NodeName};
use topology::record::{ClusterReach, Reach};
use topology::report::ProbeReport;

use crate::probe::{Moment, Reports};

/// How often numbers are said anew at most: each time, the whole cluster is told.
const NUMBERS_EVERY: Duration = Duration::from_secs(5);

/// A round trip has moved when it differs by a fifth and by half a millisecond.
const MOVED_PER_CENT: u64 = 20;
const MOVED_MICROSECONDS: u32 = 500;

/// Loss has moved when it differs by five probes of a hundred.
const MOVED_PER_MILLE: u16 = 50;

/// What was said last, so that what stays the same is not said again.
#[derive(Clone, Debug, Default)]
pub struct Reporter {
    said: Reach,
    said_at: Option<Instant>,
}

impl Reporter {
    /// Returns what should be said of the clusters other than `own`, if it is anything new.
    pub fn observe(&mut self, reports: &Reports, own: &ClusterName, now: Moment) -> Option<&Reach> {
        let seen = self.sum_up(reports, own);
        let may_say_numbers = self
            .said_at
            .is_none_or(|it| it + NUMBERS_EVERY <= now.instant);
        let is_first = self.said_at.is_none();
        // What an earlier life said holds until there is something to put in its place.
        if is_first && seen.clusters.is_empty() {
            return None;
        }
        let moved = may_say_numbers && is_move(&self.said, &seen);
        if !is_first && !is_turn(&self.said, &seen) && !moved {
            return None;
        }
        self.said = seen;
        self.said_at = Some(now.instant);
        Some(&self.said)
    }

    fn sum_up(&self, reports: &Reports, own: &ClusterName) -> Reach {
        let mut by_cluster: BTreeMap<&ClusterName, Vec<&ProbeReport>> = BTreeMap::new();
        for ((cluster, _), report) in reports.iter().filter(|((it, _), _)| it != own) {
            by_cluster.entry(cluster).or_default().push(report);
        }
        let clusters = by_cluster.into_iter().filter_map(|(cluster, reports)| {
            let mut reach = cluster_reach(&reports)?;
            // As long as the health is the same it began when it was first said to have.
            let before = self.said.clusters.get(cluster);
            if let Some(before) = before.filter(|it| it.health == reach.health) {
                reach.since_unix_milliseconds = before.since_unix_milliseconds;
            }
            Some((cluster.clone(), reach))
        });
        Reach {
            clusters: clusters.collect(),
        }
    }
}

/// The same with nodes that a relay stands in for as well off as the relay is. How far they are behind
/// it, nobody measures.
pub fn around(
    reports: &Reports,
    detours: &BTreeMap<(ClusterName, NodeName), Option<(ClusterName, NodeName)>>,
) -> Reports {
    let mut reached = reports.clone();
    for (node, relay) in detours {
        let relay = relay.as_ref().and_then(|it| reports.get(it));
        if let (Some(report), Some(relay)) = (reached.get_mut(node), relay) {
            *report = ProbeReport {
                round_trip_microseconds: None,
                round_trip_p99_microseconds: None,
                ..*relay
            };
        }
    }
    reached
}

/// `None` without reports.
fn cluster_reach(reports: &[&ProbeReport]) -> Option<ClusterReach> {
    let health = reports.iter().map(|it| it.health).min()?;
    let alike = || reports.iter().filter(|it| it.health == health);
    let since = alike().map(|it| it.since);
    // One healthy tunnel makes the cluster healthy; the last that fails makes it unhealthy.
    let since = match health {
        Health::Healthy | Health::Unknown => since.min(),
        Health::Unhealthy => since.max(),
    };
    let able = || alike().filter(|_| health == Health::Healthy);
    Some(ClusterReach {
        health,
        since_unix_milliseconds: since?,
        round_trip_microseconds: able().filter_map(|it| it.round_trip_microseconds).min(),
        loss_per_mille: alike().map(|it| it.loss_per_mille).min()?,
        path_mtu: alike().filter_map(|it| it.path_mtu).min(),
    })
}

/// Whether something became different in kind.
fn is_turn(said: &Reach, seen: &Reach) -> bool {
    let kinds = |it: &Reach| -> Vec<(ClusterName, Health, Option<u16>, bool)> {
        let clusters = it.clusters.iter();
        clusters
            .map(|(name, it)| {
                let measured = it.round_trip_microseconds.is_some();
                (name.clone(), it.health, it.path_mtu, measured)
            })
            .collect()
    };
    kinds(said) != kinds(seen)
}

/// Whether a number moved enough, of the same clusters.
fn is_move(said: &Reach, seen: &Reach) -> bool {
    said.clusters
        .values()
        .zip(seen.clusters.values())
        .any(|(said, seen)| {
            let round_trips = said
                .round_trip_microseconds
                .zip(seen.round_trip_microseconds);
            let moved = round_trips.is_some_and(|(said, seen)| {
                let by = said.abs_diff(seen);
                MOVED_MICROSECONDS < by && u64::from(said) * MOVED_PER_CENT < u64::from(by) * 100
            });
            moved || MOVED_PER_MILLE <= said.loss_per_mille.abs_diff(seen.loss_per_mille)
        })
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
mod tests {
    use super::*;

    #[test]
    fn says_the_best_of_each_other_cluster() {
        let mut reporter = Reporter::default();
        let reports = [
            seen("eu", "other", Health::Unhealthy, 1, 5_000),
            seen("us", "a", Health::Unhealthy, 90, 1_000),
            seen("us", "b", Health::Healthy, 70, 80_000),
            seen("us", "c", Health::Healthy, 60, 90_000),
        ];

        let said = reporter.observe(&reports.into(), &own(), at(0)).unwrap();

        assert_eq!(said.clusters.len(), 1);
        let us = &said.clusters[&"us".parse::<ClusterName>().unwrap()];
        assert_eq!(
            (us.health, us.since_unix_milliseconds),
            (Health::Healthy, 60)
        );
        assert_eq!(us.round_trip_microseconds, Some(80_000));
        assert_eq!(us.path_mtu, Some(1_420));
    }

    #[test]
    fn says_when_the_last_tunnel_failed() {
        let mut reporter = Reporter::default();
        let healthy = [
            seen("us", "a", Health::Unhealthy, 90, 1_000),
            seen("us", "b", Health::Healthy, 70, 1_000),
        ];
        reporter.observe(&healthy.into(), &own(), at(0));
        let dead = [
            seen("us", "a", Health::Unhealthy, 90, 1_000),
            seen("us", "b", Health::Unhealthy, 120, 1_000),
        ];

        let said = reporter.observe(&dead.into(), &own(), at(1)).unwrap();

        let us = said.clusters.values().next().unwrap();
        assert_eq!(
            (us.health, us.since_unix_milliseconds),
            (Health::Unhealthy, 120)
        );
        assert_eq!(
            us.round_trip_microseconds, None,
            "nothing is near that is dead"
        );
    }

    #[test]
    fn says_numbers_only_when_they_moved_and_not_often() {
        let mut reporter = Reporter::default();
        let mut say = |milliseconds, round_trip| {
            let reports = [seen("us", "a", Health::Healthy, 1, round_trip)].into();
            reporter
                .observe(&reports, &own(), at(milliseconds))
                .is_some()
        };

        assert!(say(0, 10_000), "the first");
        assert!(!say(60_000, 10_000), "the same");
        assert!(!say(60_000, 11_900), "less than a fifth");
        assert!(say(60_000, 12_500));
        assert!(!say(64_999, 50_000), "too early");
        assert!(say(65_000, 50_000));
        assert!(say(70_000, 1_000));
        assert!(!say(75_000, 1_450), "less than half a millisecond");
    }

    #[test]
    fn says_health_paths_and_departures_at_once() {
        let mut reporter = Reporter::default();
        let mut say = |reports: Vec<_>| {
            let reports = reports.into_iter().collect();
            reporter.observe(&reports, &own(), at(1)).is_some()
        };

        let healthy = seen("us", "a", Health::Healthy, 1, 10_000);
        let mut narrow = healthy.clone();
        narrow.1.path_mtu = Some(1_400);

        assert!(!say(vec![]), "there is nothing to say yet");
        assert!(say(vec![healthy]));
        assert!(say(vec![narrow]));
        assert!(say(vec![seen("us", "a", Health::Unhealthy, 2, 10_000)]));
        assert!(say(vec![]));
    }

    #[test]
    fn takes_a_cluster_for_reached_that_a_relay_reaches() {
        let mut reporter = Reporter::default();
        let lost = seen("us", "a", Health::Unhealthy, 90, 1_000);
        let relay = seen("eu", "relay", Health::Healthy, 70, 1_000);
        let detours = [(lost.0.clone(), Some(relay.0.clone()))].into();
        let reports = [lost, relay].into();

        let reached = around(&reports, &detours);
        let said = reporter.observe(&reached, &own(), at(0)).unwrap();

        let us = said.clusters.values().next().unwrap();
        assert_eq!(
            (us.health, us.since_unix_milliseconds),
            (Health::Healthy, 70)
        );
        assert_eq!(us.round_trip_microseconds, None);
        let alone = detours.into_keys().map(|it| (it, None)).collect();
        assert_eq!(around(&reports, &alone), reports);
    }

    fn own() -> ClusterName {
        "eu".parse().unwrap()
    }

    fn seen(
        cluster: &str,
        node: &str,
        health: Health,
        since: u64,
        round_trip: u32,
    ) -> ((ClusterName, NodeName), ProbeReport) {
        let report = ProbeReport {
            health,
            since,
            round_trip_microseconds: Some(round_trip),
            round_trip_p99_microseconds: Some(round_trip),
            loss_per_mille: 0,
            path_mtu: Some(1_420),
        };
        ((cluster.parse().unwrap(), node.parse().unwrap()), report)
    }

    fn at(milliseconds: u64) -> Moment {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        Moment {
            instant: *START.get_or_init(Instant::now) + Duration::from_millis(milliseconds),
            unix_milliseconds: milliseconds,
        }
    }
}
