//! What this cluster shows of the others: how each is reached, and what our store says of it.

use std::collections::BTreeMap;

use kvstore::config::EtcdConfig;
use kvstore::follower::Update;
use topology::id::ClusterName;
use topology::record::{Key, Record};

use super::{Effect, Part, Write, write};
use crate::directory::Listing;
use crate::publish::Cluster;
use crate::remote::{Remote, TakenIds};
use crate::remote_file::RemoteFile;

/// How long what was mirrored of a removed cluster stays, in milliseconds; as upstream.
pub const REMOVAL_GRACE: u64 = 180_000;

/// How long readiness waits for remote clusters, in milliseconds; as upstream's
/// `per-cluster-ready-timeout`.
pub const CONNECT_GRACE: u64 = 15_000;

#[derive(Debug)]
pub(super) struct Mirroring {
    cluster: Cluster,
    started: u64,
    pub(super) configuration_problems: Vec<String>,
    pub(super) peerings: BTreeMap<ClusterName, Peering>,
}

/// A remote cluster, and how it is reached.
#[derive(Debug)]
pub(super) struct Peering {
    pub(super) remote: Remote,
    config: EtcdConfig,
    /// Counts the followers of this remote.
    generation: u64,
    /// Whether our store shows the remote.
    pub(super) is_shown: bool,
    /// When what our store shows of it is removed, if its configuration is gone.
    forget_at: Option<u64>,
}

impl Mirroring {
    pub(super) fn new(cluster: Cluster, now: u64) -> Self {
        Self {
            cluster,
            started: now,
            configuration_problems: Vec::new(),
            peerings: BTreeMap::new(),
        }
    }

    /// Whether every remote cluster is connected, or has had its time.
    pub(super) fn has_met_remotes(&self, now: u64) -> bool {
        let mut staying = self.peerings.values().filter(|it| it.forget_at.is_none());
        staying.all(|it| it.remote.is_connected()) || self.started + CONNECT_GRACE <= now
    }

    /// Before that, our agents would take a remote without a record for one that was removed.
    pub(super) fn has_decided_liveness(&self) -> bool {
        self.peerings.values().all(|it| it.remote.state().is_some())
    }

    /// What our agents are told of each remote's liveness.
    pub(super) fn states(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.peerings.iter().filter_map(|(name, peering)| {
            let state = Record::Peer(peering.remote.state()?.clone());
            Some((Key::Peer(name.clone()).published(), state.encode()))
        })
    }

    pub(super) fn configure(
        &mut self,
        listing: &Listing<RemoteFile>,
        now: u64,
        effects: &mut Vec<Effect>,
    ) {
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

    pub(super) fn hear(
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

    pub(super) fn tick(&mut self, now: u64, effects: &mut Vec<Effect>) {
        for peering in self.peerings.values_mut() {
            peering.remote.tick(now);
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
