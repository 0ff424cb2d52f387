//! What this cluster publishes: the records of its objects, and what is announced beside them.

use topology::diff::diff;
use topology::record::{HEARTBEAT, Key};

use super::mirroring::Mirroring;
use super::{Effect, Part, Write, write};
use crate::directory::Listing;
use crate::manifest::ManifestFile;
use crate::objects::Objects;
use crate::publish::{self, Cluster, Publication, Table};
use crate::timestamp::rfc3339;

/// How often peers hear that this cluster's publisher lives, in milliseconds; as upstream.
const HEARTBEAT_INTERVAL: u64 = 60_000;

#[derive(Debug)]
pub(super) struct Publishing {
    cluster: Cluster,
    pub(super) objects_problem: Option<String>,
    /// What is wrong with manifests, each with its file.
    pub(super) manifest_errors: Vec<String>,
    /// Objects that stand in two files, each with the file that counts.
    pub(super) duplicates: Vec<String>,
    pub(super) objects: usize,
    pub(super) publication: Publication,
    /// What is published beside what follows from objects: liveness, heartbeat, canaries.
    pub(super) announced: Table,
    /// When the first publication was made; the canaries carry that time.
    pub(super) published: Option<u64>,
    /// Whether our own records have been complete once: each remote's liveness among them.
    is_own_complete: bool,
    heartbeat: u64,
}

impl Publishing {
    pub(super) fn new(cluster: Cluster, now: u64) -> Self {
        Self {
            cluster,
            objects_problem: None,
            manifest_errors: Vec::new(),
            duplicates: Vec::new(),
            objects: 0,
            publication: Publication::default(),
            announced: Table::new(),
            published: None,
            is_own_complete: false,
            heartbeat: now,
        }
    }

    /// Publishes what the manifests say, and all of it if nothing was published before.
    pub(super) fn publish(
        &mut self,
        listing: &Listing<ManifestFile>,
        mirroring: &Mirroring,
        now: u64,
        effects: &mut Vec<Effect>,
    ) {
        self.objects_problem.clone_from(&listing.problem);
        self.manifest_errors.clear();
        self.duplicates.clear();
        let mut objects = Objects::default();
        for (name, file) in &listing.files {
            let errors = file.errors.iter().map(|it| format!("{name}:{it}"));
            self.manifest_errors.extend(errors);
            let replaced = objects.merge(&file.objects);
            let duplicates = replaced
                .iter()
                .map(|it| format!("{it} (that of {name} counts)"));
            self.duplicates.extend(duplicates);
        }
        self.objects = objects.len();

        let held = &self.publication.identities;
        let publication = publish::publish(&objects, &self.cluster, held);
        let changes = diff(&self.publication.table, &publication.table);
        self.publication = publication;
        if self.published.is_some() {
            write(Part::Own, changes, effects);
            return;
        }
        self.published = Some(now);
        self.heartbeat = now;
        self.is_own_complete = mirroring.has_decided_liveness();
        self.announced = self.announcements(mirroring);
        let announced = self.announced.clone();
        let all = self.publication.table.clone().into_iter().chain(announced);
        effects.push(Effect::Write {
            part: Part::Own,
            write: Write::All(all.collect()),
        });
    }

    pub(super) fn tick(&mut self, now: u64) {
        // Also if the clock was set back: peers drop us when they hear nothing for two minutes.
        if now < self.heartbeat || self.heartbeat + HEARTBEAT_INTERVAL <= now {
            self.heartbeat = now;
        }
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

    fn announcements(&self, mirroring: &Mirroring) -> Table {
        let heartbeat = (HEARTBEAT.to_owned(), rfc3339(self.heartbeat).into_bytes());
        let mut announcements: Table = mirroring.states().chain([heartbeat]).collect();
        if let Some(published) = self.published {
            let time = rfc3339(published);
            announcements.extend(publish::canaries(&self.cluster, &time));
            if self.is_own_complete {
                let key = Key::OwnSynced(self.cluster.name.clone()).published();
                announcements.insert(key, time.into_bytes());
            }
        }
        announcements
    }
}
