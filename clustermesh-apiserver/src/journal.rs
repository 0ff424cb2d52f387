//! Remembers what happened on the way to each remote cluster, which the model itself does not need.

use std::collections::BTreeMap;
use std::time::Duration;

use kvstore::follower::Update;
use topology::id::ClusterName;
use topology::report::{Failure, LinkReport, PulseReport, ThrottleReport};

/// Connections, losses, pulses and pace of the remote clusters.
#[derive(Debug, Default)]
pub struct Journal {
    entries: BTreeMap<ClusterName, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    link: LinkReport,
    pulse: Option<PulseReport>,
    throttle: Throttle,
}

/// How a remote cluster's changes were held back since they are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Throttle {
    /// `None` while they are not.
    pub now: Option<ThrottleReport>,
    /// For how long in all.
    pub total: Duration,
}

impl Journal {
    /// Notes what the store of `remote` said, at `now` in milliseconds since 1970.
    pub fn hear(&mut self, remote: &ClusterName, update: &Update, now: u64) {
        let link = &mut self.entries.entry(remote.clone()).or_default().link;
        match update {
            Update::Connected { cluster_id } => {
                link.connected = true;
                link.etcd_cluster_id = format!("{cluster_id:x}");
            }
            Update::Lost { reason, .. } => {
                link.connected = false;
                link.failures += 1;
                link.last_failure = Some(Failure {
                    at: now,
                    reason: reason.clone(),
                });
            }
            Update::Changed(_) | Update::Listed(_) | Update::Page(_) => (),
        }
    }

    /// Notes that a pulse of `remote` was in our store at `now`, so long after it was sent.
    pub fn beat(&mut self, remote: &ClusterName, latency_microseconds: u64, now: u64) {
        self.entries.entry(remote.clone()).or_default().pulse = Some(PulseReport {
            at: Some(now),
            latency_microseconds,
        });
    }

    /// Notes how each remote that is followed is held back; the others are not.
    pub fn hold<'a>(&mut self, followed: impl Iterator<Item = (&'a ClusterName, Throttle)>) {
        for entry in self.entries.values_mut() {
            entry.throttle.now = None;
        }
        for (remote, throttle) in followed {
            self.entries.entry(remote.clone()).or_default().throttle = throttle;
        }
    }

    /// Forgets everyone else.
    pub fn keep<'a>(&mut self, remotes: impl Iterator<Item = &'a ClusterName> + Clone) {
        self.entries
            .retain(|name, _| remotes.clone().any(|it| it == name));
    }

    pub fn link(&self, remote: &ClusterName) -> LinkReport {
        let entry = self.entries.get(remote);
        entry.map(|it| it.link.clone()).unwrap_or_default()
    }

    pub fn pulse(&self, remote: &ClusterName) -> Option<PulseReport> {
        self.entries.get(remote)?.pulse
    }

    pub fn throttle(&self, remote: &ClusterName) -> Throttle {
        let entry = self.entries.get(remote);
        entry.map(|it| it.throttle).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_the_way_was() {
        let (us, ap) = ("us".parse().unwrap(), "ap".parse().unwrap());
        let mut journal = Journal::default();
        assert_eq!(journal.link(&us), LinkReport::default());

        journal.hear(&us, &Update::Connected { cluster_id: 0xbeef }, 1_000);
        let lost = Update::Lost {
            reason: "no answer".to_owned(),
            silent: true,
        };
        journal.hear(&us, &lost, 2_000);
        journal.beat(&us, 1_500, 3_000);

        let link = journal.link(&us);
        assert_eq!((link.connected, link.failures), (false, 1));
        assert_eq!(link.etcd_cluster_id, "beef");
        assert_eq!(link.last_failure.unwrap().at, 2_000);
        let pulse = journal.pulse(&us).unwrap();
        assert!(pulse.is_fresh(18_000) && !pulse.is_fresh(18_001));

        let held = ThrottleReport {
            since: 4_000,
            changes_waiting: 12,
            changes_per_second: 10,
        };
        let throttle = Throttle {
            now: Some(held),
            total: Duration::from_secs(1),
        };
        journal.hold([(&us, throttle)].into_iter());
        assert_eq!(journal.throttle(&us), throttle);
        journal.hold(std::iter::empty());
        assert_eq!(journal.throttle(&us).now, None, "nobody follows it");

        journal.keep([&ap].into_iter());
        assert_eq!(journal.link(&us), LinkReport::default());
    }
}
