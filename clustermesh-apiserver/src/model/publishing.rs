//! What this cluster publishes: the records of its objects, and what is announced beside them.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use topology::diff::diff;
use topology::id::NodeName;
use topology::record::{HEARTBEAT, Key, Record, TunnelEnd};
use tracing::warn;

use super::mirroring::Mirroring;
use super::{Effect, Part, Write, write};
use crate::manifest::catalog::{ManifestProblems, Manifests};
use crate::publish::{self, Cluster, Options, Publisher, Remembered, Table};
use crate::timestamp::rfc3339;

/// How often peers hear that this cluster's publisher lives, in milliseconds; as upstream.
const HEARTBEAT_INTERVAL: u64 = 60_000;

#[derive(Debug)]
pub(super) struct Publishing {
    cluster: Cluster,
    pub(super) manifest_problems: ManifestProblems,
    pub(super) publisher: Publisher,
    /// What is published beside what follows from objects: liveness, heartbeat, pulse, canaries.
    pub(super) announced: Table,
    /// When the first publication was made; the canaries carry that time.
    pub(super) published: Option<u64>,
    /// Whether our own records have been complete once: each remote's liveness among them.
    is_own_complete: bool,
    heartbeat: u64,
    /// In microseconds since 1970.
    pulse: Option<u64>,
}

impl Publishing {
    pub(super) fn new(cluster: Cluster, options: Options, now: u64) -> Self {
        Self {
            publisher: Publisher::new(cluster.clone(), options),
            cluster,
            manifest_problems: ManifestProblems::default(),
            announced: Table::new(),
            published: None,
            is_own_complete: false,
            heartbeat: now,
            pulse: None,
        }
    }

    /// Takes over what a former life published.
    pub(super) fn remember(&mut self, remembered: Remembered, now: u64) {
        self.publisher.remember(remembered, now);
    }

    /// Publishes what changed with the objects, and everything if nothing was published before.
    pub(super) fn publish(
        &mut self,
        manifests: Manifests,
        mirroring: &Mirroring,
        now: u64,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(problems) = manifests.problems {
            warn_of_news(&self.manifest_problems, &problems);
            self.manifest_problems = problems;
        }
        let changes = self.publisher.apply(manifests.events, now);
        if self.published.is_some() {
            write(Part::Own, changes, effects);
            return;
        }
        drop(changes);
        self.published = Some(now);
        self.heartbeat = now;
        self.is_own_complete = mirroring.has_decided_liveness();
        self.announced = self.announcements(mirroring);
        let mut all = self.publisher.table().clone();
        all.extend(self.announced.clone());
        effects.push(Effect::Write {
            part: Part::Own,
            write: Write::All(all),
        });
    }

    /// Takes in how tunnels to nodes end, as their agents say.
    pub(super) fn end_tunnels(
        &mut self,
        ends: Vec<(NodeName, Option<TunnelEnd>)>,
        now: u64,
        effects: &mut Vec<Effect>,
    ) {
        let changes = self.publisher.end_tunnels(ends, now);
        if self.published.is_some() {
            write(Part::Own, changes, effects);
        }
    }

    pub(super) fn tick(&mut self, now: u64, effects: &mut Vec<Effect>) {
        // Also if the clock was set back: peers drop us when they hear nothing for two minutes.
        if now < self.heartbeat || self.heartbeat + HEARTBEAT_INTERVAL <= now {
            self.heartbeat = now;
        }
        if self.published.is_some() && self.knows_all_objects() {
            let changes = self.publisher.collect(now);
            write(Part::Own, changes, effects);
        }
    }

    pub(super) fn beat(&mut self, unix_microseconds: u64) {
        self.pulse = Some(unix_microseconds);
    }

    /// Writes what changed in liveness and heartbeat.
    pub(super) fn announce(&mut self, mirroring: &Mirroring, effects: &mut Vec<Effect>) {
        if self.published.is_none() {
            return;
        }
        self.is_own_complete |= mirroring.has_decided_liveness();
        let announced = self.announcements(mirroring);
        let changes = diff(&self.announced, &announced);
        self.announced = announced;
        write(Part::Own, changes, effects);
    }

    /// Whether our own cluster has backends of the service `NAMESPACE/NAME`, which it shares.
    pub(super) fn has_backends(&self, service: &str) -> bool {
        let key = format!("cilium/state/services/v1/{}/{service}", self.cluster.name);
        let key = Key::parse(&key, &self.cluster.name).ok().flatten();
        let record = key.and_then(|key| {
            let value = self.publisher.table().get(&*key.published())?;
            Record::decode(&key, value, None).ok()
        });
        matches!(record, Some(Record::Service(it)) if !it.backends.is_empty())
    }

    /// The prefixes of our own nodes' pods.
    pub(super) fn pod_prefixes(&self) -> impl Iterator<Item = IpNet> {
        let prefix = format!("cilium/state/nodes/v1/{}/", self.cluster.name);
        let nodes = self.publisher.table().range(Arc::from(&*prefix)..);
        let nodes = nodes.take_while(move |(key, _)| key.starts_with(&prefix));
        let nodes = nodes.filter_map(|(key, value)| {
            let key = Key::parse(key, &self.cluster.name).ok().flatten()?;
            match Record::decode(&key, value, None) {
                Ok(Record::Node(node)) => Some(node.pod_prefixes().collect::<Vec<_>>()),
                Ok(_) | Err(_) => None,
            }
        });
        nodes.flatten()
    }

    fn announcements(&self, mirroring: &Mirroring) -> Table {
        let name = &self.cluster.name;
        let mut announcements: Table = mirroring
            .states()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        let mut announce = |key: String, value: Vec<u8>| {
            announcements.insert(key.into(), value.into());
        };
        announce(HEARTBEAT.to_owned(), rfc3339(self.heartbeat).into());
        if let Some(pulse) = self.pulse {
            let pulse = Record::Pulse(pulse).encode();
            announce(Key::Pulse(name.clone()).published(), pulse);
        }
        if let Some(published) = self.published {
            let time = rfc3339(published);
            if self.is_own_complete {
                announce(
                    Key::OwnSynced(name.clone()).published(),
                    time.clone().into(),
                );
            }
            announcements.extend(publish::canaries(&self.cluster, &time));
        }
        announcements
    }

    /// Whether nothing keeps objects from being seen.
    fn knows_all_objects(&self) -> bool {
        let problems = &self.manifest_problems;
        problems.directory.is_none() && problems.errors.is_empty()
    }
}

/// Warns of what a file's own error does not tell.
fn warn_of_news(before: &ManifestProblems, after: &ManifestProblems) {
    if let Some(problem) = &after.directory
        && before.directory.is_none()
    {
        warn!("the manifests cannot be read, and stay what they were: {problem}");
    }
    let before: BTreeSet<&String> = before.duplicates.iter().collect();
    let after = after.duplicates.iter();
    for duplicate in after.filter(|it| !before.contains(it)).take(WARNINGS_MAX) {
        warn!("{duplicate}; keep each object in one file only");
    }
}

/// A directory that was copied has a thousand of them, all by one mistake.
const WARNINGS_MAX: usize = 20;
