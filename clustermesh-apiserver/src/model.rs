//! What the API server believes of its own cluster and of the others, and which writes follow.
//!
//! Inputs change the model; what follows from them comes back as effects, so specific that carrying
//! them out decides nothing.

use std::collections::BTreeMap;

use kvstore::config::EtcdConfig;
use kvstore::follower::Update;
use topology::diff::{Change, diff};
use topology::id::ClusterName;
use topology::record::{HEARTBEAT, Key, Record};

use crate::directory::Listing;
use crate::manifest::ManifestFile;
use crate::objects::Objects;
use crate::publish::{self, Cluster, Publication, Table};
use crate::remote::{Changes, Remote, TakenIds};
use crate::remote_file::RemoteFile;
use crate::timestamp::rfc3339;

mod status;

/// How often peers hear that this cluster's publisher lives, in milliseconds; as upstream.
const HEARTBEAT_INTERVAL: u64 = 60_000;

/// How long what was mirrored of a removed cluster stays, in milliseconds; as upstream.
pub const REMOVAL_GRACE: u64 = 180_000;

/// How long readiness waits for remote clusters, in milliseconds; as upstream's
/// `per-cluster-ready-timeout`.
pub const CONNECT_GRACE: u64 = 15_000;

/// Everything that can change the model.
#[derive(Debug)]
pub enum Input {
    /// The ClusterMesh configuration directory.
    Configured(Listing<RemoteFile>),
    /// The manifests' directory.
    Objects(Listing<ManifestFile>),
    /// The store of a remote cluster. The generation tells which follower it comes from.
    Said {
        remote: ClusterName,
        generation: u64,
        update: Update,
    },
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Follow these prefixes of a remote's store, instead of whatever was followed of it before.
    Follow {
        remote: ClusterName,
        generation: u64,
        config: Box<EtcdConfig>,
        prefixes: Vec<String>,
    },
    /// Remove everything that our store shows of the remote.
    Forget { remote: ClusterName },
    /// Stop following the remote.
    Unfollow { remote: ClusterName },
    /// Show this to our store, as `part` of it.
    Write { part: Part, write: Write },
}

/// The parts of our store that are written apart from each other, so that one which is not known
/// yet does not keep the others from being tidied up.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Part {
    Own,
    Remote(ClusterName),
}

#[derive(Debug, PartialEq)]
pub enum Write {
    /// The complete part, when it is known for the first time.
    All(Table),
    Changes(Changes),
}

#[derive(Debug)]
pub struct Model {
    cluster: Cluster,
    started: u64,
    objects_problem: Option<String>,
    /// What is wrong with manifests, each with its file.
    manifest_errors: Vec<String>,
    /// Objects that stand in two files, each with the file that counts.
    duplicates: Vec<String>,
    objects: usize,
    publication: Publication,
    /// What is published beside what follows from objects: liveness, heartbeat, canaries.
    announced: Table,
    /// When the first publication was made; the canaries carry that time.
    published: Option<u64>,
    /// Whether our own records have been complete once: each remote's liveness among them.
    is_own_complete: bool,
    heartbeat: u64,
    configuration_problems: Vec<String>,
    peerings: BTreeMap<ClusterName, Peering>,
}

/// A remote cluster, and how it is reached.
#[derive(Debug)]
struct Peering {
    remote: Remote,
    config: EtcdConfig,
    /// Counts the followers of this remote.
    generation: u64,
    /// Whether our store shows the remote.
    is_shown: bool,
    /// When what our store shows of it is removed, if its configuration is gone.
    forget_at: Option<u64>,
}

impl Model {
    pub fn new(cluster: Cluster, now: u64) -> Self {
        Self {
            cluster,
            started: now,
            objects_problem: None,
            manifest_errors: Vec::new(),
            duplicates: Vec::new(),
            objects: 0,
            publication: Publication::default(),
            announced: Table::new(),
            published: None,
            is_own_complete: false,
            heartbeat: now,
            configuration_problems: Vec::new(),
            peerings: BTreeMap::new(),
        }
    }

    /// Takes in one input at `now`, in milliseconds since 1970, and returns what follows from it.
    pub fn apply(&mut self, input: Input, now: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Configured(listing) => self.configure(&listing, now, &mut effects),
            Input::Objects(listing) => self.publish(&listing, now, &mut effects),
            Input::Said {
                remote,
                generation,
                update,
            } => self.hear(&remote, generation, update, now, &mut effects),
            Input::Tick => self.tick(now, &mut effects),
        }
        self.announce(&mut effects);
        effects
    }

    /// Whether every remote cluster is connected, or has had its time.
    pub fn has_met_remotes(&self, now: u64) -> bool {
        let mut staying = self.peerings.values().filter(|it| it.forget_at.is_none());
        staying.all(|it| it.remote.is_connected()) || self.started + CONNECT_GRACE <= now
    }

    fn publish(&mut self, listing: &Listing<ManifestFile>, now: u64, effects: &mut Vec<Effect>) {
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
        self.is_own_complete = self.has_decided_liveness();
        self.announced = self.announcements();
        let announced = self.announced.clone();
        let all = self.publication.table.clone().into_iter().chain(announced);
        effects.push(Effect::Write {
            part: Part::Own,
            write: Write::All(all.collect()),
        });
    }

    fn configure(&mut self, listing: &Listing<RemoteFile>, now: u64, effects: &mut Vec<Effect>) {
        let configs = self.configs(listing);
        for (name, config) in &configs {
            let peering = self
                .peerings
                .entry(name.clone())
                .or_insert_with(|| Peering {
                    remote: Remote::new(name.clone(), self.cluster.mesh, now),
                    config: (*config).clone(),
                    generation: 0,
                    is_shown: false,
                    forget_at: None,
                });
            let is_back = peering.forget_at.take().is_some();
            if is_back || peering.generation == 0 || peering.config != **config {
                peering.config = (*config).clone();
                effects.push(peering.follow());
            }
        }
        for (name, peering) in &mut self.peerings {
            if configs.contains_key(name) || peering.forget_at.is_some() {
                continue;
            }
            peering.forget_at = Some(now + REMOVAL_GRACE);
            let changes = peering.remote.withdraw(now);
            effects.push(Effect::Unfollow {
                remote: name.clone(),
            });
            if peering.is_shown {
                write(Part::Remote(name.clone()), changes, effects);
            }
        }
    }

    /// The remote clusters that the configuration directory names.
    fn configs<'a>(
        &mut self,
        listing: &'a Listing<RemoteFile>,
    ) -> BTreeMap<ClusterName, &'a EtcdConfig> {
        self.configuration_problems = listing.problem.iter().cloned().collect();
        let problems = listing.files.values().filter_map(|it| it.problem());
        self.configuration_problems
            .extend(problems.map(str::to_owned));
        let mut configs = BTreeMap::new();
        for (name, file) in &listing.files {
            let (Ok(name), Some(config)) = (name.parse::<ClusterName>(), file.config()) else {
                continue;
            };
            if name == self.cluster.name {
                continue;
            }
            let clusters = self.cluster.mesh.clusters();
            if configs.len() + 1 == clusters as usize {
                let problem = format!("{name}: the mesh has at most {clusters} clusters");
                self.configuration_problems.push(problem);
                continue;
            }
            configs.insert(name, config);
        }
        configs
    }

    fn hear(
        &mut self,
        name: &ClusterName,
        generation: u64,
        update: Update,
        now: u64,
        effects: &mut Vec<Effect>,
    ) {
        let taken = self.ids_beside(name);
        let Some(peering) = self.peerings.get_mut(name) else {
            return;
        };
        if peering.generation != generation || peering.forget_at.is_some() {
            return; // The last words of a follower that was replaced.
        }
        let step = peering.remote.apply(update, &taken, now);
        if peering.is_shown {
            write(Part::Remote(name.clone()), step.changes, effects);
        } else if peering.remote.is_complete() {
            peering.is_shown = true;
            effects.push(Effect::Write {
                part: Part::Remote(name.clone()),
                write: Write::All(peering.remote.table()),
            });
        }
        if step.follow_again {
            effects.push(peering.follow());
        }
    }

    fn tick(&mut self, now: u64, effects: &mut Vec<Effect>) {
        for peering in self.peerings.values_mut() {
            peering.remote.tick(now);
        }
        // Also if the clock was set back: peers drop us when they hear nothing for two minutes.
        if now < self.heartbeat || self.heartbeat + HEARTBEAT_INTERVAL <= now {
            self.heartbeat = now;
        }
        let is_due = |it: &Peering| it.forget_at.is_some_and(|due| due <= now);
        let due: Vec<ClusterName> = self
            .peerings
            .iter()
            .filter(|(_, it)| is_due(it))
            .map(|(name, _)| name.clone())
            .collect();
        for remote in &due {
            self.peerings.remove(remote);
            effects.push(Effect::Forget {
                remote: remote.clone(),
            });
        }
        if !due.is_empty() {
            // The ids of those that left are free for those that were refused over them.
            let refused = self
                .peerings
                .values_mut()
                .filter(|it| it.remote.is_refused());
            effects.extend(refused.map(Peering::follow));
        }
    }

    /// Writes what changed in liveness and heartbeat.
    fn announce(&mut self, effects: &mut Vec<Effect>) {
        if self.published.is_none() {
            return;
        }
        self.is_own_complete |= self.has_decided_liveness();
        let announced = self.announcements();
        let changes = diff(&self.announced, &announced);
        self.announced = announced;
        write(Part::Own, changes, effects);
    }

    fn announcements(&self) -> Table {
        let peers = self.peerings.iter().filter_map(|(name, peering)| {
            let state = Record::Peer(peering.remote.state()?.clone());
            Some((Key::Peer(name.clone()).published(), state.encode()))
        });
        let heartbeat = (HEARTBEAT.to_owned(), rfc3339(self.heartbeat).into_bytes());
        let mut announcements: Table = peers.chain([heartbeat]).collect();
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

    /// Before that, our agents would take a remote without a record for one that was removed.
    fn has_decided_liveness(&self) -> bool {
        self.peerings.values().all(|it| it.remote.state().is_some())
    }

    /// The ids that a remote may not have.
    fn ids_beside(&self, remote: &ClusterName) -> TakenIds {
        let others = self.peerings.values().map(|it| &it.remote);
        let others = others.filter(|it| it.name() != remote);
        let ids = others.filter_map(|it| Some((it.id()?, it.name().clone())));
        let own = (self.cluster.id, self.cluster.name.clone());
        ids.chain([own]).collect()
    }
}

impl Peering {
    fn follow(&mut self) -> Effect {
        self.generation += 1;
        Effect::Follow {
            remote: self.remote.name().clone(),
            generation: self.generation,
            config: Box::new(self.config.clone()),
            prefixes: self.remote.prefixes(),
        }
    }
}

fn write(part: Part, changes: Vec<Change<String, Vec<u8>>>, effects: &mut Vec<Effect>) {
    if !changes.is_empty() {
        let write = Write::Changes(changes);
        effects.push(Effect::Write { part, write });
    }
}

#[cfg(test)]
mod tests;
