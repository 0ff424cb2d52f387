//! What this cluster shows of the others: how each is reached, and what our store says of it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use kvstore::config::EtcdConfig;
use kvstore::follower::Update;
use topology::id::{ClusterId, ClusterName};
use topology::record::{Key, Record};

use super::peers::View;
use super::{Effect, Part, Write, write};
use crate::directory::Listing;
use crate::moment::Moment;
use crate::publish::Cluster;
use crate::remote::{CONTRACT_SUFFIX, Contract, Overlap, Remote, TakenIds, Tally, overlaps};
use crate::remote_file::RemoteFile;

mod withholding;

/// How long what was mirrored of a removed cluster stays, in milliseconds; as upstream.
pub const REMOVAL_GRACE: u64 = 180_000;

/// How long readiness waits for remote clusters, in milliseconds; as upstream's
/// `per-cluster-ready-timeout`.
pub const CONNECT_GRACE: u64 = 15_000;

/// What an operator may choose for remotes that leave or are lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// How long what was mirrored of a removed cluster stays, in milliseconds.
    pub removal_grace: u64,
    /// After this time, in milliseconds, a lost cluster's services go; its nodes, identities and
    /// addresses stay. `None` for never.
    pub cache_ttl: Option<u64>,
    /// Whether the services of a lost cluster go at once that another cluster offers too, for agents
    /// that know nothing of a cluster's liveness.
    pub withdraws_lost_services: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            removal_grace: REMOVAL_GRACE,
            cache_ttl: None,
            withdraws_lost_services: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Mirroring {
    cluster: Cluster,
    policy: Policy,
    started: u64,
    pub(super) configuration_problems: Vec<String>,
    pub(super) peerings: BTreeMap<ClusterName, Peering>,
    /// Whose id is whose, our own included.
    ids: TakenIds,
    /// Whether what agents are told of the remotes' liveness may have changed.
    is_liveness_new: bool,
    /// Clusters with pods in the same addresses.
    overlaps: Vec<Overlap>,
    /// How many changes of pod prefixes had been seen when they were compared last; `None` if they
    /// must be compared again.
    compared_changes: Option<u64>,
}

/// A remote cluster, and how it is reached.
#[derive(Debug)]
pub(super) struct Peering {
    pub(super) remote: Remote,
    pub(super) config: EtcdConfig,
    pub(super) contract: Contract,
    /// Counts the followers of this remote.
    generation: u64,
    /// Whether our store shows the remote.
    pub(super) is_shown: bool,
    /// When what our store shows of it is removed, if its configuration is gone.
    forget_at: Option<u64>,
    /// Since when it is lost, as uptime.
    lost_since: Option<u64>,
}

/// What the configuration directory says of one cluster.
struct Configured<'a> {
    config: &'a EtcdConfig,
    contract: Contract,
}

impl Mirroring {
    pub(super) fn new(cluster: Cluster, policy: Policy, now: Moment) -> Self {
        Self {
            started: now.uptime_milliseconds,
            configuration_problems: Vec::new(),
            peerings: BTreeMap::new(),
            ids: TakenIds::from([(cluster.id, cluster.name.clone())]),
            is_liveness_new: true,
            overlaps: Vec::new(),
            compared_changes: None,
            policy,
            cluster,
        }
    }

    /// Whether every remote cluster is connected, or has had its time.
    pub(super) fn has_met_remotes(&self, now: Moment) -> bool {
        let mut staying = self.peerings.values().filter(|it| it.forget_at.is_none());
        staying.all(|it| it.remote.is_met())
            || self.started + CONNECT_GRACE <= now.uptime_milliseconds
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

    /// Whether [`states`](Self::states) may have changed since this was asked last.
    pub(super) fn take_liveness_news(&mut self) -> bool {
        std::mem::take(&mut self.is_liveness_new)
    }

    /// Clusters with pods in the same addresses.
    pub(super) fn overlaps(&self) -> &[Overlap] {
        &self.overlaps
    }

    pub(super) fn configure(
        &mut self,
        listing: &Listing<RemoteFile>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        self.is_liveness_new = true;
        let configured = self.configured(listing);
        for (name, Configured { config, contract }) in &configured {
            let (own, mesh) = (&self.cluster.name, self.cluster.mesh);
            let peering = self
                .peerings
                .entry(name.clone())
                .or_insert_with(|| Peering {
                    remote: Remote::new(name.clone(), own.clone(), mesh, now),
                    config: (*config).clone(),
                    contract: Contract::default(),
                    generation: 0,
                    is_shown: false,
                    forget_at: None,
                    lost_since: None,
                });
            let is_back = peering.forget_at.take().is_some();
            let is_new = is_back || peering.generation == 0 || peering.config != **config;
            let has_new_contract = peering.contract != *contract;
            if has_new_contract {
                peering.contract = contract.clone();
                let changes = peering.remote.set_contract(contract.clone());
                if peering.is_shown {
                    write(Part::Remote(name.clone()), changes, effects);
                }
            }
            if is_new || has_new_contract {
                peering.config = (*config).clone();
                effects.push(peering.follow());
            }
        }
        for (name, peering) in &mut self.peerings {
            if configured.contains_key(name) || peering.forget_at.is_some() {
                continue;
            }
            peering.forget_at = Some(now.uptime_milliseconds + self.policy.removal_grace);
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
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let Some(peering) = self.peerings.get_mut(name) else {
            return;
        };
        if peering.generation != generation || peering.forget_at.is_some() {
            return; // The last words of a follower that was replaced.
        }
        let before = (peering.remote.id(), peering.remote.state().cloned());
        let step = peering.remote.apply(update, &self.ids, now);
        if peering.is_shown {
            write(Part::Remote(name.clone()), step.changes, effects);
        } else if peering.remote.is_complete() {
            peering.is_shown = true;
            effects.push(Effect::Write {
                part: Part::Remote(name.clone()),
                write: Write::All(peering.remote.table()),
            });
        }
        if let Some(sent_unix_microseconds) = step.pulse.filter(|_| peering.is_shown) {
            effects.push(Effect::Time {
                remote: name.clone(),
                sent_unix_microseconds,
            });
        }
        if step.follow_again {
            effects.push(peering.follow());
        }
        let id = peering.remote.id();
        let is_liveness_new = before.1.as_ref() != peering.remote.state();
        if before.0 != id {
            self.take_id(name, id);
        }
        self.is_liveness_new |= is_liveness_new;
    }

    /// Takes in what our nodes see of remotes, of those for which `tally` says something new.
    pub(super) fn hear_nodes(
        &mut self,
        tally: impl Fn(&ClusterName) -> Option<Tally>,
        now: Moment,
    ) {
        for (name, peering) in &mut self.peerings {
            if let Some(tally) = tally(name) {
                let before = peering.remote.state().cloned();
                peering.remote.hear_nodes(tally, now);
                self.is_liveness_new |= before.as_ref() != peering.remote.state();
            }
        }
    }

    /// A fresh look at a remote cluster; `None` for one that is not configured.
    pub(super) fn view(&self, name: &ClusterName, now: Moment) -> Option<View> {
        let peering = self.peerings.get(name)?;
        let (own, mesh) = (self.cluster.name.clone(), self.cluster.mesh);
        let mut remote = Remote::new(name.clone(), own, mesh, now);
        let _nothing_known_yet = remote.set_contract(peering.contract.clone());
        Some(View {
            remote,
            config: peering.config.clone(),
            taken: self.ids.clone(),
        })
    }

    pub(super) fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.is_liveness_new = true;
        for peering in self.peerings.values_mut() {
            peering.remote.tick(now);
        }
        let is_due = |it: &Peering| {
            it.forget_at
                .is_some_and(|due| due <= now.uptime_milliseconds)
        };
        let due: Vec<ClusterName> = self
            .peerings
            .iter()
            .filter(|(_, it)| is_due(it))
            .map(|(name, _)| name.clone())
            .collect();
        for remote in &due {
            self.peerings.remove(remote);
            self.forget_comparison();
            self.take_id(remote, None);
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

    /// Our own pod prefixes may have changed.
    pub(super) fn forget_comparison(&mut self) {
        self.compared_changes = None;
    }

    /// Looks for clusters with pods in the same addresses, if any changed; `own` are ours.
    pub(super) fn compare_pod_prefixes<I: Iterator<Item = IpNet>>(
        &mut self,
        own: impl FnOnce() -> I,
    ) {
        let remotes = self.peerings.values().map(|it| &it.remote);
        let changes = remotes.map(|it| it.records().pod_prefix_changes()).sum();
        if self.compared_changes.replace(changes) == Some(changes) {
            return;
        }
        let name = self.cluster.name.clone();
        let remotes = self.peerings.values().map(|it| &it.remote);
        let claims = remotes.flat_map(|it| {
            let prefixes = it.records().pod_prefixes();
            prefixes.map(|prefix| (it.name().clone(), prefix))
        });
        let claims = claims.chain(own().map(|prefix| (name.clone(), prefix)));
        let found = overlaps(claims.collect());
        for overlap in found.iter().filter(|it| !self.overlaps.contains(it)) {
            tracing::warn!(problem = overlap_text(overlap), "clusters overlap");
        }
        self.overlaps = found;
    }

    /// The remote clusters that the configuration directory names.
    fn configured<'a>(
        &mut self,
        listing: &'a Listing<RemoteFile>,
    ) -> BTreeMap<ClusterName, Configured<'a>> {
        self.configuration_problems = listing.problem.iter().cloned().collect();
        let problems = listing.files.values().filter_map(|it| it.problem());
        self.configuration_problems
            .extend(problems.map(str::to_owned));
        let mut configured = BTreeMap::new();
        for (name, file) in &listing.files {
            let (Ok(name), Some(config)) = (name.parse::<ClusterName>(), file.config()) else {
                continue;
            };
            if name == self.cluster.name {
                continue;
            }
            let clusters = self.cluster.mesh.clusters();
            if configured.len() + 1 == clusters as usize {
                let problem = format!("{name}: the mesh has at most {clusters} clusters");
                self.configuration_problems.push(problem);
                continue;
            }
            let contract = listing.files.get(&format!("{name}{CONTRACT_SUFFIX}"));
            let contract = match contract.map(|it| it.contract().cloned()) {
                None => Contract::default(),
                Some(Some(contract)) => contract,
                // What was in force stays. Without any contract it might announce anything.
                Some(None) => match self.peerings.get(&name) {
                    Some(peering) => peering.contract.clone(),
                    None => continue,
                },
            };
            configured.insert(name, Configured { config, contract });
        }
        configured
    }

    fn take_id(&mut self, remote: &ClusterName, id: Option<ClusterId>) {
        self.ids.retain(|_, name| name != remote);
        if let Some(id) = id {
            self.ids.insert(id, remote.clone());
        }
    }
}

impl Peering {
    /// Whether its configuration is gone, and only what our store shows of it stays for a while.
    pub(super) fn is_leaving(&self) -> bool {
        self.forget_at.is_some()
    }

    fn follow(&mut self) -> Effect {
        self.generation += 1;
        self.remote.interrupt();
        Effect::Follow {
            remote: self.remote.name().clone(),
            generation: self.generation,
            config: Box::new(self.config.clone()),
            prefixes: self.remote.prefixes(),
            optional_prefixes: self.remote.optional_prefixes().to_vec(),
            changes_per_second: self.contract.limits.changes_per_second,
        }
    }
}

pub(super) fn overlap_text(overlap: &Overlap) -> String {
    let ((first, one), (second, other)) = (&overlap.first, &overlap.second);
    format!("clusters {first} and {second} have pods in the same addresses: {one} and {other}")
}
