//! What is believed about the mesh, from the records of one cluster's store.
//!
//! Events may come in any order and more than once: a relist, a restart and a lost event are the
//! same case. What a reader once knew stays until the store itself vouches for its absence: a
//! record that a new list lacks is *stale*, and goes only when the canary of its kind is there. So
//! a store that restarts empty takes nothing away.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::id::{ClusterName, NodeName, NumericIdentity, ServiceName};
use crate::record::{
    ClusterConfig, ClusterService, InvalidRecord, IpIdentity, Key, Kind, Labels, MalformedKey,
    Node, PeerState, Reach, Record,
};
use crate::service::LocalService;

mod answers;

pub use answers::LOCATION_ANNOTATION;

/// Everything that one cluster's store says of all clusters.
#[derive(Clone, Debug)]
pub struct Mesh {
    own: ClusterName,
    configs: BTreeMap<ClusterName, ClusterConfig>,
    identities: BTreeMap<(ClusterName, NumericIdentity), Labels>,
    ips: BTreeMap<(ClusterName, IpNet), IpIdentity>,
    local_services: BTreeMap<ServiceName, LocalService>,
    nodes: BTreeMap<(ClusterName, NodeName), Node>,
    peers: BTreeMap<ClusterName, PeerState>,
    /// By node of the own cluster.
    reaches: BTreeMap<NodeName, Reach>,
    /// What is seen from where we are; nothing where nobody probes.
    own_reach: Reach,
    /// By service first: the clusters that share one are neighbours.
    services: BTreeMap<(ServiceName, ClusterName), ClusterService>,
    canaries: BTreeSet<(ClusterName, Kind)>,
    own_synced: bool,
    stale: BTreeSet<Key>,
}

/// Something the store said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    Delete {
        key: String,
    },
    /// The complete content of the store; what is not in it is gone, or not there yet.
    Listed(Vec<(String, Vec<u8>)>),
    Put {
        key: String,
        value: Vec<u8>,
    },
}

/// A record that was dropped; an older value of its key stays in force.
#[derive(Debug)]
pub struct Rejected {
    pub key: String,
    pub reason: Rejection,
}

#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    #[error(transparent)]
    Key(#[from] MalformedKey),
    #[error(transparent)]
    Value(#[from] InvalidRecord),
}

impl Mesh {
    /// Believes nothing yet; reads the store of cluster `own`.
    pub fn new(own: ClusterName) -> Self {
        Self {
            own,
            configs: BTreeMap::new(),
            identities: BTreeMap::new(),
            ips: BTreeMap::new(),
            local_services: BTreeMap::new(),
            nodes: BTreeMap::new(),
            peers: BTreeMap::new(),
            reaches: BTreeMap::new(),
            own_reach: Reach::default(),
            services: BTreeMap::new(),
            canaries: BTreeSet::new(),
            own_synced: false,
            stale: BTreeSet::new(),
        }
    }

    /// Takes in what the store said, and returns what of it was no valid record.
    pub fn apply(&mut self, event: Event) -> Vec<Rejected> {
        let rejected = match event {
            Event::Delete { key } => self.delete(key),
            Event::Listed(entries) => self.relist(entries),
            Event::Put { key, value } => self.put(key, &value).err().into_iter().collect(),
        };
        self.sweep();
        rejected
    }

    /// Takes in what probes from this very node see of the other clusters, which needs no store.
    pub fn see(&mut self, reach: Reach) {
        self.own_reach = reach;
    }

    fn delete(&mut self, text: String) -> Vec<Rejected> {
        match Key::parse(&text, &self.own) {
            // As upstream: a canary that is gone takes nothing back.
            Ok(Some(Key::Synced(..) | Key::OwnSynced(_)) | None) => Vec::new(),
            Ok(Some(key)) => {
                self.remove(&key);
                Vec::new()
            }
            Err(error) => vec![Rejected {
                key: text,
                reason: error.into(),
            }],
        }
    }

    fn relist(&mut self, mut entries: Vec<(String, Vec<u8>)>) -> Vec<Rejected> {
        self.canaries.clear();
        self.own_synced = false;
        self.stale = self.keys().collect();
        // Cluster-configs first: the other records are checked against the ids in them.
        entries.sort_by_key(|(key, _)| !key.starts_with("cilium/cluster-config/"));
        entries
            .into_iter()
            .filter_map(|(key, value)| self.put(key, &value).err())
            .collect()
    }

    fn put(&mut self, text: String, value: &[u8]) -> Result<(), Rejected> {
        let key = match Key::parse(&text, &self.own) {
            Ok(Some(key)) => key,
            Ok(None) => return Ok(()),
            Err(error) => {
                return Err(Rejected {
                    key: text,
                    reason: error.into(),
                });
            }
        };
        // Also when its value is refused below: the key is there, so the old value is not gone.
        self.stale.remove(&key);

        let config = self.configs.get(key.cluster());
        match Record::decode(&key, value, config) {
            Ok(record) => {
                self.insert(key, record);
                Ok(())
            }
            Err(error) => Err(Rejected {
                key: text,
                reason: error.into(),
            }),
        }
    }

    fn insert(&mut self, key: Key, record: Record) {
        match (key, record) {
            (Key::ClusterConfig(cluster), Record::ClusterConfig(config)) => {
                self.configs.insert(cluster, config);
            }
            (Key::Identity(cluster, id), Record::Identity(labels)) => {
                self.identities.insert((cluster, id), labels);
            }
            (Key::Ip(cluster, prefix), Record::Ip(ip)) => {
                self.ips.insert((cluster, prefix), ip);
            }
            (Key::LocalService(cluster, name), Record::LocalService(service)) => {
                if cluster == self.own {
                    self.local_services.insert(name, service);
                }
            }
            (Key::Node(cluster, name), Record::Node(mut node)) => {
                let key = (cluster, name);
                // An API server may tell of a node before the node's agent has told it the key. A
                // tunnel that is up does not end for that: keys are replaced, and go with their node.
                if node.wireguard_public_key.is_empty()
                    && let Some(before) = self.nodes.get(&key)
                {
                    node.wireguard_public_key
                        .clone_from(&before.wireguard_public_key);
                }
                self.nodes.insert(key, *node);
            }
            (Key::Peer(cluster), Record::Peer(state)) => {
                self.peers.insert(cluster, state);
            }
            (Key::Reach(cluster, node), Record::Reach(reach)) => {
                if cluster == self.own {
                    self.reaches.insert(node, reach);
                }
            }
            (Key::Service(cluster, name), Record::Service(service)) => {
                self.services.insert((name, cluster), *service);
            }
            (Key::Synced(cluster, kind), _) => {
                self.canaries.insert((cluster, kind));
            }
            (Key::OwnSynced(cluster), _) => self.own_synced |= cluster == self.own,
            (key, _) => debug_assert!(is_carried_only(&key), "{key:?} decodes to its own kind"),
        }
    }

    fn remove(&mut self, key: &Key) {
        match key.clone() {
            Key::ClusterConfig(cluster) => drop(self.configs.remove(&cluster)),
            Key::Identity(cluster, id) => drop(self.identities.remove(&(cluster, id))),
            Key::Ip(cluster, prefix) => drop(self.ips.remove(&(cluster, prefix))),
            Key::LocalService(_, name) => drop(self.local_services.remove(&name)),
            Key::Node(cluster, name) => drop(self.nodes.remove(&(cluster, name))),
            Key::Peer(cluster) => drop(self.peers.remove(&cluster)),
            Key::Reach(_, node) => drop(self.reaches.remove(&node)),
            Key::Service(cluster, name) => drop(self.services.remove(&(name, cluster))),
            Key::EndpointSlice(..)
            | Key::ServiceExport(..)
            | Key::Synced(..)
            | Key::OwnCapabilities(_)
            | Key::DeltaBackend(..)
            | Key::DeltaService(..)
            | Key::Pulse(_)
            | Key::OwnSynced(_)
            | Key::TunnelEnd(..) => (),
        }
        self.stale.remove(key);
    }

    /// Drops the stale records whose absence the store vouches for.
    fn sweep(&mut self) {
        if self.stale.is_empty() {
            return;
        }
        // The peer that goes in the first pass takes the rest of its cluster along in the second.
        for _pass in 0..2 {
            let gone = self.stale.iter().filter(|it| self.is_gone(it));
            let gone: Vec<Key> = gone.cloned().collect();
            gone.iter().for_each(|it| self.remove(it));
        }
    }

    fn is_gone(&self, key: &Key) -> bool {
        let cluster = key.cluster();
        let vouched = key
            .kind()
            .is_some_and(|kind| self.canaries.contains(&(cluster.clone(), kind)));
        let own_kind = matches!(key, Key::LocalService(..) | Key::Peer(_) | Key::Reach(..));
        let removed_cluster = *cluster != self.own && !self.peers.contains_key(cluster);
        vouched || (self.own_synced && (own_kind || removed_cluster))
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        let own = &self.own;
        let identities = self.identities.keys().cloned();
        let ips = self.ips.keys().cloned();
        let nodes = self.nodes.keys().cloned();
        let services = self.services.keys().cloned();
        let local_services = self.local_services.keys().cloned();
        (self.configs.keys().cloned().map(Key::ClusterConfig))
            .chain(identities.map(|(cluster, id)| Key::Identity(cluster, id)))
            .chain(ips.map(|(cluster, prefix)| Key::Ip(cluster, prefix)))
            .chain(nodes.map(|(cluster, name)| Key::Node(cluster, name)))
            .chain(services.map(|(name, cluster)| Key::Service(cluster, name)))
            .chain(local_services.map(|name| Key::LocalService(own.clone(), name)))
            .chain(self.peers.keys().cloned().map(Key::Peer))
            .chain(
                self.reaches
                    .keys()
                    .map(|it| Key::Reach(own.clone(), it.clone())),
            )
    }
}

/// Kinds that mirrors read or carry, and agents do not.
fn is_carried_only(key: &Key) -> bool {
    matches!(
        key,
        Key::EndpointSlice(..)
            | Key::ServiceExport(..)
            | Key::OwnCapabilities(_)
            | Key::DeltaBackend(..)
            | Key::DeltaService(..)
            | Key::Pulse(_)
            | Key::TunnelEnd(..)
    )
}

#[cfg(test)]
mod tests;
