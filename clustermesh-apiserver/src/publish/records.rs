//! The records as they are shown, in the open or to named peers, and what changed with them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use topology::diff::Change;
use topology::id::{ClusterName, ServiceName};
use topology::record::{Key, exports_to};

use super::{Changes, Scope, Table, Value};

#[derive(Debug)]
pub(super) struct Records {
    cluster: ClusterName,
    table: Table,
    /// The peers that see records which others do not, each with the number of these.
    peers: BTreeMap<ClusterName, usize>,
    changes: Changes,
    counts: RecordCounts,
}

/// How many records there are of each kind, whoever may see them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RecordCounts {
    pub nodes: usize,
    pub services: usize,
    pub identities: usize,
    pub endpoints: usize,
}

impl Records {
    pub(super) fn new(cluster: ClusterName) -> Self {
        Self {
            cluster,
            table: Table::new(),
            peers: BTreeMap::new(),
            changes: Changes::new(),
            counts: RecordCounts::default(),
        }
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn counts(&self) -> RecordCounts {
        self.counts
    }

    pub(super) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn hide(&mut self, key: &Key) {
        self.show(key, &Scope::Nobody, Vec::new());
    }

    /// Shows a record to those that may see it, and to nobody else.
    pub(super) fn show(&mut self, key: &Key, scope: &Scope, value: Vec<u8>) {
        let value: Value = value.into();
        let name = key.published();
        let mut was_shown = match scope {
            Scope::Everyone => self.put(name, Arc::clone(&value)),
            Scope::Nobody | Scope::Peers(_) => self.delete(&name),
        };
        for peer in self.peers_of(scope) {
            let name = key.exported_to(&peer);
            was_shown |= self.set(
                &peer,
                name,
                scope.has_peer(&peer).then(|| Arc::clone(&value)),
            );
        }
        self.count(key, was_shown, !scope.is_nobody());
    }

    /// Shows the backends of a Service that is published in parts, and only these.
    pub(super) fn show_parts(
        &mut self,
        service: &ServiceName,
        scope: &Scope,
        parts: &BTreeMap<IpAddr, Value>,
    ) {
        let key = Key::DeltaService(self.cluster.clone(), service.clone());
        let is_open = *scope == Scope::Everyone;
        let prefix = format!("{}/", key.published());
        for name in self.stale_parts(&prefix, is_open.then_some(parts)) {
            self.delete(&name);
        }
        for peer in self.peers_of(scope) {
            let prefix = format!("{}/", key.exported_to(&peer));
            let seen = scope.has_peer(&peer).then_some(parts);
            for name in self.stale_parts(&prefix, seen) {
                self.set(&peer, name.to_string(), None);
            }
        }
        for (address, value) in parts {
            let key = Key::DeltaBackend(self.cluster.clone(), service.clone(), *address);
            match scope {
                Scope::Everyone => drop(self.put(key.published(), Arc::clone(value))),
                Scope::Nobody => (),
                Scope::Peers(peers) => {
                    for peer in peers {
                        self.set(peer, key.exported_to(peer), Some(Arc::clone(value)));
                    }
                }
            }
        }
    }

    /// The keys under `prefix` that belong to none of `parts`.
    fn stale_parts(&self, prefix: &str, parts: Option<&BTreeMap<IpAddr, Value>>) -> Vec<Arc<str>> {
        let from_prefix = (Bound::Included(prefix), Bound::Unbounded);
        let keys = self.table.range::<str, _>(from_prefix).map(|(key, _)| key);
        let keys = keys.take_while(|it| it.starts_with(prefix));
        let is_part = |key: &&Arc<str>| {
            let address = key.get(prefix.len()..).and_then(|it| it.parse().ok());
            parts.is_some_and(|parts| address.is_some_and(|it| parts.contains_key(&it)))
        };
        keys.filter(|it| !is_part(it)).cloned().collect()
    }

    /// All peers that see something, or are about to.
    fn peers_of(&self, scope: &Scope) -> Vec<ClusterName> {
        let named = match scope {
            Scope::Peers(peers) => Some(peers),
            Scope::Everyone | Scope::Nobody => None,
        };
        let new = named.into_iter().flatten();
        let new = new.filter(|it| !self.peers.contains_key(it));
        self.peers.keys().chain(new).cloned().collect()
    }

    /// Changes what only `peer` sees; true if it was there before.
    fn set(&mut self, peer: &ClusterName, name: String, value: Option<Value>) -> bool {
        debug_assert!(name.starts_with(&exports_to(peer)));
        let is_there = value.is_some();
        let was_there = match value {
            Some(value) => self.put(name, value),
            None => self.delete(&name),
        };
        if was_there == is_there {
            return was_there;
        }
        let records = self.peers.entry(peer.clone()).or_default();
        *records = if is_there { *records + 1 } else { *records - 1 };
        if *records == 0 {
            self.peers.remove(peer);
        }
        was_there
    }

    /// True if the key was there before.
    fn put(&mut self, name: String, value: Value) -> bool {
        if let Some((name, before)) = self.table.get_key_value(&*name) {
            if *before != value {
                let name = Arc::clone(name);
                self.changes
                    .push(Change::Put(Arc::clone(&name), Arc::clone(&value)));
                self.table.insert(name, value);
            }
            return true;
        }
        let name: Arc<str> = name.into();
        self.changes
            .push(Change::Put(Arc::clone(&name), Arc::clone(&value)));
        self.table.insert(name, value);
        false
    }

    /// True if the key was there before.
    fn delete(&mut self, name: &str) -> bool {
        let Some((name, _)) = self.table.remove_entry(name) else {
            return false;
        };
        self.changes.push(Change::Delete(name));
        true
    }

    fn count(&mut self, key: &Key, was_shown: bool, is_shown: bool) {
        let counts = &mut self.counts;
        let count = match key {
            Key::Identity(..) => &mut counts.identities,
            Key::Ip(..) => &mut counts.endpoints,
            Key::Node(..) => &mut counts.nodes,
            Key::DeltaService(..) => &mut counts.services,
            Key::ClusterConfig(_)
            | Key::EndpointSlice(..)
            | Key::Service(..)
            | Key::ServiceExport(..)
            | Key::Synced(..)
            | Key::OwnCapabilities(_)
            | Key::DeltaBackend(..)
            | Key::Pulse(_)
            | Key::LocalService(..)
            | Key::OwnSynced(_)
            | Key::Peer(_)
            | Key::Reach(..)
            | Key::TunnelEnd(..) => return,
        };
        match (was_shown, is_shown) {
            (false, true) => *count += 1,
            (true, false) => *count -= 1,
            (false, false) | (true, true) => (),
        }
    }
}
