//! Decides what is read of a remote's store: upstream's records, or those of our own kind.

use topology::id::ClusterName;
use topology::record::{Key, Kind, Record};

use super::{Remote, Step};

/// Where the remote keeps its records: a mirror of a mirror reads what that one mirrored, and one of
/// our own kind has large services in parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tree {
    Cache,
    Delta,
    State,
}

impl Tree {
    pub(super) fn is_cache(self) -> bool {
        self == Self::Cache
    }
}

impl Remote {
    /// The keys and prefixes of the remote's store that are to be followed, each as narrow as the
    /// role for peers: first what tells how to read the rest, and last the canaries, because what
    /// announces must come after what it announces.
    pub fn prefixes(&self) -> Vec<String> {
        let name = &self.name;
        let own_kind = self.optional_prefixes();
        let [capabilities, delta, export, pulse] = &own_kind;
        let mut prefixes = vec![self.config_key()];
        match self.tree {
            Tree::Cache => prefixes
                .extend(Kind::ALL.map(|kind| format!("cilium/cache/{}/v1/{name}/", kind.as_str()))),
            Tree::Delta => {
                prefixes.push(capabilities.clone());
                let others = Kind::ALL.into_iter().filter(|it| *it != Kind::Services);
                prefixes.extend(others.map(|kind| format!("cilium/state/{}/v1/", kind.as_str())));
                prefixes.extend([delta, export, pulse].map(Clone::clone));
            }
            Tree::State => {
                prefixes.extend([capabilities.clone(), "cilium/state/".to_owned()]);
                prefixes.extend([export, pulse].map(Clone::clone));
            }
        }
        prefixes.push(format!("cilium/synced/{name}/"));
        prefixes
    }

    /// Those of our own kind, which a peer of another kind neither has nor permits.
    pub fn optional_prefixes(&self) -> [String; 4] {
        let name = &self.name;
        [
            Key::OwnCapabilities(name.clone()).published(),
            format!("causeway/delta/services/v1/{name}/"),
            format!("causeway/export/{}/", self.own),
            Key::Pulse(name.clone()).published(),
        ]
    }

    /// Changes over to the tree that the remote speaks now; what was read of the other stays.
    pub(super) fn choose_tree(&mut self, step: &mut Step) {
        let is_cached = self
            .config
            .as_ref()
            .is_some_and(|it| it.capabilities.cached);
        let speaks_deltas = self.capabilities.is_some_and(|it| it.deltas);
        let tree = match (is_cached, speaks_deltas) {
            (true, _) => Tree::Cache,
            (false, true) => Tree::Delta,
            (false, false) => Tree::State,
        };
        if tree == self.tree {
            return;
        }
        self.tree = tree;
        self.records.keep_services_for_joining(tree == Tree::Delta);
        step.follow_again = true;
    }

    /// The record that a key of the followed tree names, if it is about this cluster.
    pub(super) fn parse(&mut self, text: &str) -> Option<Key> {
        let text = scoped_key(text, &self.own).unwrap_or(text);
        match Key::parse(text, &self.name) {
            Ok(key) => key.filter(|it| *it.cluster() == self.name && self.is_followed(text, it)),
            Err(error) => {
                if text.starts_with(self.tree_prefix()) || text.starts_with("causeway/delta/") {
                    self.rejections.count("malformed-key", text, &error);
                }
                None
            }
        }
    }

    fn is_followed(&self, text: &str, key: &Key) -> bool {
        match key {
            Key::OwnCapabilities(_) | Key::Pulse(_) => !self.tree.is_cache(),
            Key::DeltaBackend(..) | Key::DeltaService(..) => self.tree == Tree::Delta,
            Key::Service(..) if self.tree == Tree::Delta => false,
            Key::Synced(cluster, _) => {
                let canary = text.strip_prefix("cilium/synced/");
                let canary = canary.and_then(|it| it.strip_prefix(cluster.as_str()));
                let canary = canary.and_then(|it| it.strip_prefix('/'));
                canary.is_some_and(|it| it.starts_with(self.tree_prefix()))
            }
            Key::EndpointSlice(..)
            | Key::Identity(..)
            | Key::Ip(..)
            | Key::Node(..)
            | Key::Service(..)
            | Key::ServiceExport(..) => text.starts_with(self.tree_prefix()),
            Key::ClusterConfig(_)
            | Key::LocalService(..)
            | Key::OwnSynced(_)
            | Key::Peer(_)
            | Key::Reach(..)
            | Key::TunnelEnd(..) => false,
        }
    }

    fn tree_prefix(&self) -> &'static str {
        match self.tree {
            Tree::Cache => "cilium/cache/",
            Tree::Delta | Tree::State => "cilium/state/",
        }
    }
}

/// The key of a record that is scoped to us, as it would stand in the open tree.
pub(super) fn scoped_key<'a>(text: &'a str, own: &ClusterName) -> Option<&'a str> {
    let rest = text.strip_prefix("causeway/export/")?;
    rest.strip_prefix(own.as_str())?.strip_prefix('/')
}

/// A mirrored service, as it was shown.
pub(super) fn service(cluster: &ClusterName, key: &str, value: &[u8]) -> Option<(Key, Record)> {
    let key = Key::parse(key, cluster).ok().flatten()?;
    let record = Record::decode(&key, value, None).ok()?;
    Some((key, record))
}
