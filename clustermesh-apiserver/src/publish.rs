//! Decides which records this cluster shows to the mesh, byte for byte as upstream's publisher
//! writes them, and what it tells its own agents beside them.
//!
//! A [`Publisher`] is told what changes with objects, and derives again what these objects touch:
//! a change costs the same however many others there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use kvstore::follower;
use topology::diff::Change;
use topology::id::{ClusterId, ClusterName, MeshSize};
use topology::record::{Capabilities, ClusterConfig, Key, Kind, OwnCapabilities, Record};

use crate::identity::known::{self, Known};
use crate::identity::{Identities, Moved};
use crate::objects::{Object, ObjectEvent, ObjectKey, ObjectKind, ObjectName, Objects};

mod endpoint;
mod endpoint_slice;
mod naming;
mod node;
mod records;
mod scope;
mod service;
mod service_export;
mod touch;
mod tunnel;

use endpoint::Workloads;
use naming::Naming;
pub use records::RecordCounts;
use records::Records;
use scope::{Scope, Scoping};
use service::Services;
use service_export::Ages;
use tunnel::Tunnels;

/// The own cluster's name and number in a mesh of a certain size.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cluster {
    pub name: ClusterName,
    pub id: ClusterId,
    pub mesh: MeshSize,
}

/// Values are shared between the publisher, the writer and the store.
pub type Value = Arc<[u8]>;

/// Keys of the store to values.
pub type Table = BTreeMap<Arc<str>, Value>;

pub type Changes = Vec<Change<Arc<str>, Value>>;

/// What an operator decides about publishing.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the mesh sees namespaces that do not say so themselves.
    pub default_global_namespace: bool,
    /// Whether `ServiceExport`s are published.
    pub mcs_api: bool,
    /// How long a number stays with labels that no pod has any more, in milliseconds.
    pub identity_grace: u64,
    /// Labels whose number is not one of the cluster's own.
    pub known_identities: known::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            default_global_namespace: true,
            mcs_api: false,
            identity_grace: 15 * 60_000,
            known_identities: known::Options::default(),
        }
    }
}

/// What a former life of the publisher left in the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remembered {
    /// Numbers with their label strings.
    pub identities: Vec<(u32, String)>,
    /// Exports with the time since which they exist, in RFC 3339.
    pub exports: Vec<(ObjectName, String)>,
    /// What node agents have written.
    pub agents: Vec<follower::Record>,
}

/// The records that follow from the objects, without what depends on time: canaries, heartbeat.
#[derive(Debug)]
pub struct Publisher {
    cluster: Cluster,
    options: Options,
    objects: Objects,
    scoping: Scoping,
    identities: Identities,
    workloads: Workloads,
    services: Services,
    export_ages: Ages,
    naming: Naming,
    tunnels: Tunnels,
    records: Records,
    /// What is left out and why, for operators.
    problems: BTreeMap<Unit, Vec<String>>,
    /// What is to be derived again.
    dirty: BTreeSet<Unit>,
}

/// What is derived as a whole: from one object, or from all that have a say in it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Unit {
    Address(IpAddr),
    /// What is wrong with the object; what it says is an `Identity`.
    CiliumIdentity(Arc<str>),
    EndpointSlice(ObjectName),
    Identity(u32),
    Namespace(Arc<str>),
    Node(Arc<str>),
    Service(ObjectName),
    ServiceExport(ObjectName),
    /// A pod, whichever object describes it.
    Workload(ObjectName),
}

impl Publisher {
    pub fn new(cluster: Cluster, options: Options) -> Self {
        let range = cluster.id.identity_range(cluster.mesh);
        let known = Known::new(&cluster.name, &options.known_identities);
        let mut records = Records::new(cluster.name.clone());
        records.show(
            &Key::ClusterConfig(cluster.name.clone()),
            &Scope::Everyone,
            Record::ClusterConfig(cluster_config(&cluster, &options)).encode(),
        );
        let capabilities = OwnCapabilities {
            deltas: true,
            exports: true,
            pulse: true,
        };
        records.show(
            &Key::OwnCapabilities(cluster.name.clone()),
            &Scope::Everyone,
            Record::OwnCapabilities(capabilities).encode(),
        );
        Self {
            scoping: Scoping::new(options.default_global_namespace),
            identities: Identities::new(range, options.identity_grace, known),
            cluster,
            options,
            objects: Objects::new(),
            workloads: Workloads::default(),
            services: Services::default(),
            export_ages: Ages::default(),
            naming: Naming::default(),
            tunnels: Tunnels::default(),
            records,
            problems: BTreeMap::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// Takes over what a former life published, before any object is known.
    pub fn remember(&mut self, remembered: Remembered, now: u64) {
        self.export_ages.remember(remembered.exports, now);
        let moved = self.identities.remember(remembered.identities, now);
        self.follow(moved);
    }

    /// Takes in what a source says, at `now` in milliseconds since 1970, and returns the writes that
    /// follow.
    pub fn apply(&mut self, events: Vec<ObjectEvent>, now: u64) -> Changes {
        for event in events {
            match event {
                ObjectEvent::Applied(key, object) => self.replace(key, Some(object), now),
                ObjectEvent::Deleted(key) => self.replace(key, None, now),
                ObjectEvent::Restarted { kinds, objects } => self.restart(&kinds, objects, now),
            }
        }
        self.derive(now);
        self.records.take_changes()
    }

    /// Forgets identities that nobody has used for long. To be called while the source tells of all
    /// objects that there are: an identity must not go because its pods are not known yet.
    pub fn collect(&mut self, now: u64) -> Changes {
        let moved = self.identities.collect(now);
        self.follow(moved);
        self.derive(now);
        self.records.take_changes()
    }

    pub fn table(&self) -> &Table {
        self.records.table()
    }

    pub fn counts(&self) -> RecordCounts {
        self.records.counts()
    }

    pub fn object_count(&self) -> usize {
        self.objects.len()
    }

    /// What is left out and why, in a stable order.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        let range = self.identities.range();
        let exhausted = Some(self.identities.exhausted()).filter(|it| *it > 0);
        let exhausted = exhausted.map(|kinds| {
            format!(
                "{kinds} kinds of pods are not published: all identities of the cluster ({} to {}) \
                 are taken",
                range.start(),
                range.end()
            )
        });
        let others = self.problems.values().flatten().cloned();
        exhausted.into_iter().chain(others)
    }

    /// The clusters that objects name with `causeway.io/export-to`, each with those objects.
    pub fn named_peers(&self) -> impl Iterator<Item = (&ClusterName, &BTreeSet<ObjectKey>)> {
        self.naming.peers()
    }

    /// Cheaper than counting [`problems`](Self::problems).
    pub fn problem_count(&self) -> usize {
        self.problems.len() + usize::from(self.identities.exhausted() > 0)
    }

    fn restart(&mut self, kinds: &[ObjectKind], objects: Objects, now: u64) {
        let gone = self.objects.keys().filter(|key| {
            let is_listed = kinds.contains(&key.kind);
            is_listed && !objects.contains_key(key)
        });
        let gone: Vec<ObjectKey> = gone.cloned().collect();
        for (key, object) in objects {
            self.replace(key, Some(object), now);
        }
        for key in gone {
            self.replace(key, None, now);
        }
    }

    /// Puts an object in the place of what it was, and marks what it touches.
    fn replace(&mut self, key: ObjectKey, object: Option<Arc<Object>>, now: u64) {
        if self.objects.get(&key) == object.as_ref() {
            return;
        }
        let before = match &object {
            Some(object) => self.objects.insert(key.clone(), Arc::clone(object)),
            None => self.objects.remove(&key),
        };
        self.naming
            .replace(&key, before.as_deref(), object.as_deref());
        self.touch(key, before.as_deref(), object.as_deref(), now);
    }

    /// Derives everything that is marked: first what others are derived from.
    fn derive(&mut self, now: u64) {
        let is_basic = |it: &Unit| matches!(it, Unit::Namespace(_) | Unit::Node(_));
        for unit in self.take_dirty(is_basic) {
            self.derive_unit(&unit, now);
        }
        for unit in self.take_dirty(|it| matches!(it, Unit::Workload(_))) {
            self.derive_unit(&unit, now);
        }
        let moved = self.identities.allocate();
        self.follow(moved);
        while let Some(unit) = self.dirty.pop_first() {
            self.derive_unit(&unit, now);
        }
    }

    fn take_dirty(&mut self, is_taken: impl Fn(&Unit) -> bool) -> BTreeSet<Unit> {
        self.dirty.extract_if(.., |it| is_taken(it)).collect()
    }

    fn derive_unit(&mut self, unit: &Unit, now: u64) {
        let mut problems = Vec::new();
        match unit {
            Unit::Address(address) => self.derive_address(*address, &mut problems),
            Unit::CiliumIdentity(name) => self.derive_cilium_identity(name, &mut problems),
            Unit::EndpointSlice(name) => self.derive_endpoint_slice(name, &mut problems),
            Unit::Identity(number) => self.derive_identity(*number),
            Unit::Namespace(name) => problems.extend(self.scoping.problem(name)),
            Unit::Node(name) => self.derive_node(name, &mut problems),
            Unit::Service(name) => self.derive_service(name, &mut problems),
            Unit::ServiceExport(name) => self.derive_service_export(name, &mut problems, now),
            Unit::Workload(name) => self.derive_workload(name, &mut problems, now),
        }
        if problems.is_empty() {
            self.problems.remove(unit);
        } else {
            self.problems.insert(unit.clone(), problems);
        }
    }

    /// Marks what follows from identities that moved.
    fn follow(&mut self, moved: Moved) {
        let numbers = moved.numbers.into_iter().map(Unit::Identity);
        self.dirty.extend(numbers);
        for pod in &moved.pods {
            let addresses = self.workloads.addresses_of(pod);
            self.dirty.extend(addresses.map(Unit::Address));
        }
    }
}

/// The canaries of everything that a publisher writes, with the time at which they are due.
pub fn canaries(cluster: &Cluster, now: &str) -> Table {
    let synced = |kind| Key::Synced(cluster.name.clone(), kind).published();
    let keys = Kind::ALL.into_iter().map(synced);
    keys.map(|key| (key.into(), now.as_bytes().into()))
        .collect()
}

/// What a peer must know before it reads anything else.
fn cluster_config(cluster: &Cluster, options: &Options) -> ClusterConfig {
    ClusterConfig {
        id: cluster.id,
        capabilities: Capabilities {
            synced_canaries: true,
            cached: false,
            max_connected_clusters: cluster.mesh.clusters(),
            service_exports_enabled: Some(options.mcs_api),
            endpoint_slices_export_mode: "services-and-endpointslices".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests;
