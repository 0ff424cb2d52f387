//! The records of one remote, and which of them our store shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use topology::diff::Change;
use topology::id::ClusterName;
use topology::record::{Key, Kind, Record};

use super::contract::Limits;
use super::services::Joins;
use super::{Changes, Table, followed};

/// Far more than the identities or pods of the largest cluster; without a limit one broken peer
/// could fill our memory.
const RECORDS_PER_KIND_MAX: usize = 1_000_000;

/// All under their mirrored keys.
#[derive(Debug, Default)]
pub struct Records {
    tables: BTreeMap<Kind, Table>,
    /// Those that the last list lacks, and whose absence the remote has yet to vouch for.
    stale: BTreeMap<Kind, BTreeSet<Arc<str>>>,
    /// Services in parts; whole ones are in `tables`.
    joins: Joins,
    /// Those that our store does not show.
    withheld: BTreeSet<Arc<str>>,
    objects: usize,
    bytes: usize,
    /// The pod prefixes of each node.
    pod_prefixes: BTreeMap<Arc<str>, Vec<IpNet>>,
    pod_prefix_changes: u64,
    /// Services with backends.
    serving: BTreeSet<Arc<str>>,
}

impl Records {
    pub fn get(&self, kind: Kind) -> Option<&Table> {
        self.tables.get(&kind)
    }

    pub fn len(&self) -> usize {
        self.objects
    }

    pub fn is_empty(&self) -> bool {
        self.objects == 0
    }

    /// Of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn pod_prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.pod_prefixes.values().flatten().copied()
    }

    /// Counts the changes of [`pod_prefixes`](Self::pod_prefixes).
    pub fn pod_prefix_changes(&self) -> u64 {
        self.pod_prefix_changes
    }

    /// Whether the service with this mirrored key has backends.
    pub fn is_serving(&self, key: &str) -> bool {
        self.serving.contains(key)
    }

    pub fn is_withheld(&self, key: &str) -> bool {
        self.withheld.contains(key)
    }

    /// What our store shows of them.
    pub(super) fn shown(&self) -> impl Iterator<Item = (Arc<str>, Arc<[u8]>)> {
        let all = self.tables.values().flatten();
        let shown = all.filter(|(key, _)| !self.withheld.contains(*key));
        shown.map(|(key, value)| (Arc::clone(key), Arc::clone(value)))
    }

    pub(super) fn begin_list(&mut self) {
        let keys = |table: &Table| table.keys().cloned().collect();
        let tables = self.tables.iter();
        self.stale = tables.map(|(kind, it)| (*kind, keys(it))).collect();
        self.joins.begin_list();
    }

    /// Notes that a list has this key, whatever its value.
    pub(super) fn see(&mut self, key: &Key) {
        let Some(stale) = key.kind().and_then(|it| self.stale.get_mut(&it)) else {
            return;
        };
        if !stale.is_empty() {
            stale.remove(&*mirrored(key));
        }
    }

    /// Whether the remote has said, since its last list began, that the key is there.
    pub(super) fn is_present(&self, key: &Key) -> bool {
        match (key, key.kind()) {
            (Key::DeltaService(_, name), _) => self.joins.has_service(name),
            (Key::DeltaBackend(_, name, address), _) => self.joins.has_backend(name, *address),
            (_, Some(kind)) => {
                let mirrored = mirrored(key);
                let has = |it: &Table| it.contains_key(&*mirrored);
                let is_stale = |it: &BTreeSet<Arc<str>>| it.contains(&*mirrored);
                self.tables.get(&kind).is_some_and(has)
                    && !self.stale.get(&kind).is_some_and(is_stale)
            }
            (_, None) => false,
        }
    }

    /// Whether there is room for a value of this many bytes, or else the reason to drop it.
    pub(super) fn check_room(
        &self,
        key: &Key,
        value_bytes: usize,
        limits: &Limits,
    ) -> Result<(), &'static str> {
        if let Key::DeltaBackend(..) = key {
            let has_room = self.joins.backend_count() < RECORDS_PER_KIND_MAX;
            return if has_room { Ok(()) } else { Err("too-many") };
        }
        let table = key.kind().and_then(|it| self.tables.get(&it));
        let mirrored = mirrored(key);
        let before = table.and_then(|it| it.get(&*mirrored));
        let objects_max = limits.objects.unwrap_or(usize::MAX);
        let is_full = table.is_some_and(|it| RECORDS_PER_KIND_MAX <= it.len());
        if before.is_none() && (is_full || objects_max <= self.objects) {
            return Err("too-many");
        }
        let bytes_before = before.map_or(0, |it| mirrored.len() + it.len());
        let bytes = self.bytes + mirrored.len() + value_bytes - bytes_before;
        if limits.bytes.is_some_and(|max| max < bytes) {
            return Err("too-large");
        }
        Ok(())
    }

    pub(super) fn put(
        &mut self,
        key: &Key,
        decoded: Record,
        value: Vec<u8>,
        changes: &mut Changes,
    ) {
        let Some(kind) = key.kind() else {
            return;
        };
        match (key, decoded) {
            (Key::DeltaService(_, name), Record::Service(service)) => {
                self.joins.put_service(name, service);
            }
            (Key::DeltaBackend(_, name, address), Record::Backend(backend)) => {
                self.joins.put_backend(name, *address, backend);
            }
            (_, decoded) => {
                let mirrored = Arc::from(mirrored(key));
                self.note(&mirrored, &decoded);
                self.show(kind, mirrored, value.into(), changes);
            }
        }
    }

    pub(super) fn delete(&mut self, key: &Key, changes: &mut Changes) {
        self.see(key);
        match (key, key.kind()) {
            (Key::DeltaService(_, name), _) => self.joins.delete_service(name),
            (Key::DeltaBackend(_, name, address), _) => self.joins.delete_backend(name, *address),
            (_, Some(kind)) => self.hide(kind, &mirrored(key), changes),
            (_, None) => (),
        }
    }

    /// Drops the stale records of a kind whose absence the remote vouches for.
    pub(super) fn sweep(&mut self, kind: Kind, changes: &mut Changes) {
        if kind == Kind::Services {
            self.joins.forget_former();
        }
        for key in self.stale.remove(&kind).unwrap_or_default() {
            self.hide(kind, &key, changes);
        }
    }

    /// Shows the services whose parts changed, whole.
    pub(super) fn show_joined(&mut self, cluster: &ClusterName, changes: &mut Changes) {
        for (name, whole) in self.joins.take_changed() {
            let key: Arc<str> = Key::Service(cluster.clone(), name).mirrored().into();
            let Some(whole) = whole else {
                // It may come yet, unless it was deleted.
                let stale = self.stale.get(&Kind::Services);
                if !stale.is_some_and(|it| it.contains(&key)) {
                    self.hide(Kind::Services, &key, changes);
                }
                continue;
            };
            let whole = Record::Service(whole);
            self.note(&key, &whole);
            self.show(Kind::Services, key, whole.encode().into(), changes);
        }
    }

    /// Takes whole services for what is known of those in parts, or forgets the parts.
    pub(super) fn keep_services_for_joining(&mut self, is_joining: bool) {
        self.joins.clear();
        let services = self.tables.get(&Kind::Services).filter(|_| is_joining);
        for (key, value) in services.into_iter().flatten() {
            let cluster = key.strip_prefix("cilium/cache/services/v1/");
            let cluster = cluster.and_then(|it| it.split_once('/')?.0.parse().ok());
            let service = cluster.and_then(|it| followed::service(&it, key, value));
            if let Some((Key::Service(_, name), Record::Service(service))) = service {
                self.joins.put_service(&name, service);
            }
        }
        let _ = self.joins.take_changed();
    }

    /// Drops what is not permitted any more.
    pub(super) fn retain(
        &mut self,
        is_permitted: impl Fn(&str, &[u8]) -> bool,
        changes: &mut Changes,
    ) {
        let all = self.tables.iter();
        let all = all.flat_map(|(kind, table)| table.iter().map(|it| (*kind, it)));
        let forbidden = all.filter(|(_, (key, value))| !is_permitted(key, value));
        let forbidden: Vec<(Kind, Arc<str>)> = forbidden
            .map(|(kind, (key, _))| (kind, Arc::clone(key)))
            .collect();
        for (kind, key) in forbidden {
            self.hide(kind, &key, changes);
        }
        self.keep_services_for_joining(!self.joins.is_empty());
    }

    pub(super) fn withhold(&mut self, keys: BTreeSet<Arc<str>>) -> Changes {
        let before = std::mem::replace(&mut self.withheld, keys);
        let mut changes = Changes::new();
        for key in before.difference(&self.withheld) {
            let value = self.tables.values().find_map(|it| it.get(key));
            changes.extend(value.map(|it| Change::Put(Arc::clone(key), Arc::clone(it))));
        }
        for key in self.withheld.difference(&before) {
            if self.tables.values().any(|it| it.contains_key(key)) {
                changes.push(Change::Delete(Arc::clone(key)));
            }
        }
        changes
    }

    pub(super) fn drain(&mut self, changes: &mut Changes) {
        let all = std::mem::take(self);
        self.pod_prefix_changes = all.pod_prefix_changes + 1;
        let shown = all.shown().map(|(key, _)| Change::Delete(key));
        changes.extend(shown);
    }

    /// Keeps the facts that are asked for of all records at once.
    fn note(&mut self, mirrored: &Arc<str>, record: &Record) {
        match record {
            Record::Node(node) => {
                let prefixes: Vec<IpNet> = node.pod_prefixes().collect();
                if self.pod_prefixes.get(mirrored) != Some(&prefixes) {
                    self.pod_prefixes.insert(Arc::clone(mirrored), prefixes);
                    self.pod_prefix_changes += 1;
                }
            }
            Record::Service(service) if service.backends.is_empty() => {
                self.serving.remove(mirrored);
            }
            Record::Service(_) => {
                self.serving.insert(Arc::clone(mirrored));
            }
            Record::Backend(_)
            | Record::ClusterConfig(_)
            | Record::Identity(_)
            | Record::Ip(_)
            | Record::LocalService(_)
            | Record::Opaque(_)
            | Record::OwnCapabilities(_)
            | Record::Peer(_)
            | Record::Pulse(_)
            | Record::Reach(_)
            | Record::Synced(_)
            | Record::TunnelEnd(_) => (),
        }
    }

    fn show(&mut self, kind: Kind, key: Arc<str>, value: Arc<[u8]>, changes: &mut Changes) {
        if let Some(stale) = self.stale.get_mut(&kind) {
            stale.remove(&key);
        }
        let table = self.tables.entry(kind).or_default();
        match table.get(&key) {
            Some(before) if *before == value => return,
            Some(before) => self.bytes -= before.len(),
            None => {
                self.objects += 1;
                self.bytes += key.len();
            }
        }
        self.bytes += value.len();
        if !self.withheld.contains(&key) {
            changes.push(Change::Put(Arc::clone(&key), Arc::clone(&value)));
        }
        table.insert(key, value);
    }

    fn hide(&mut self, kind: Kind, key: &str, changes: &mut Changes) {
        let table = self.tables.get_mut(&kind);
        let Some((key, value)) = table.and_then(|it| it.remove_entry(key)) else {
            return;
        };
        self.objects -= 1;
        self.bytes -= key.len() + value.len();
        if self.pod_prefixes.remove(&key).is_some() {
            self.pod_prefix_changes += 1;
        }
        self.serving.remove(&key);
        if !self.withheld.contains(&key) {
            changes.push(Change::Delete(key));
        }
    }
}

/// A service in parts is mirrored whole.
fn mirrored(key: &Key) -> String {
    if let Key::DeltaService(cluster, name) = key {
        Key::Service(cluster.clone(), name.clone()).mirrored()
    } else {
        key.mirrored()
    }
}

pub(super) fn show(table: &mut Table, key: Arc<str>, value: Arc<[u8]>, changes: &mut Changes) {
    if table.get(&key) != Some(&value) {
        table.insert(Arc::clone(&key), Arc::clone(&value));
        changes.push(Change::Put(key, value));
    }
}

pub(super) fn hide(table: &mut Table, key: &str, changes: &mut Changes) {
    if let Some((key, _)) = table.remove_entry(key) {
        changes.push(Change::Delete(key));
    }
}
