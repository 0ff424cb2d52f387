//! Decides which records this cluster shows to the mesh, byte for byte as upstream's publisher
//! writes them, and what it tells its own agents beside them.

use std::collections::BTreeMap;

use topology::id::{ClusterId, ClusterName, MeshSize};
use topology::record::{Capabilities, ClusterConfig, Key, Kind, Record};

use crate::annotation;
use crate::identity::Numbers;
use crate::objects::Objects;

mod endpoint;
mod endpoint_slice;
mod node;
mod service;

/// The own cluster's name and number in a mesh of a certain size.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cluster {
    pub name: ClusterName,
    pub id: ClusterId,
    pub mesh: MeshSize,
}

/// Keys of the store to values.
pub type Table = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publication {
    pub table: Table,
    /// The numbers of the identities that were made from pods: to be held in the next publication.
    pub identities: Numbers,
    /// What was left out and why, for operators.
    pub problems: Vec<String>,
}

/// The records that follow from `objects`, without canaries and heartbeat: those depend on time.
///
/// `held` are the identities of the publication before this one, which keep their numbers.
pub fn publish(objects: &Objects, cluster: &Cluster, held: &Numbers) -> Publication {
    let mut draft = Draft::new(cluster);
    draft.put(
        &Key::ClusterConfig(cluster.name.clone()),
        &Record::ClusterConfig(cluster_config(cluster)),
    );

    let nodes = node::records(objects, cluster, &mut draft.problems);
    for (name, node) in &nodes {
        let key = Key::Node(cluster.name.clone(), name.clone());
        draft.put(&key, &Record::Node(Box::new(node.clone())));
    }
    let identities = endpoint::publish(objects, &nodes, held, &mut draft);
    service::publish(objects, &mut draft);
    Publication {
        table: draft.table,
        identities,
        problems: draft.problems,
    }
}

/// The canaries of everything that [`publish`] writes, with the time at which they are due.
pub fn canaries(cluster: &Cluster, now: &str) -> Table {
    let synced = |kind| Key::Synced(cluster.name.clone(), kind).published();
    let keys = Kind::ALL.into_iter().map(synced);
    keys.map(|key| (key, now.as_bytes().to_vec())).collect()
}

/// What a peer must know before it reads anything else.
fn cluster_config(cluster: &Cluster) -> ClusterConfig {
    ClusterConfig {
        id: cluster.id,
        capabilities: Capabilities {
            synced_canaries: true,
            cached: false,
            max_connected_clusters: cluster.mesh.clusters(),
            service_exports_enabled: Some(false),
            endpoint_slices_export_mode: "services-and-endpointslices".to_owned(),
        },
    }
}

/// A publication in the making.
struct Draft<'a> {
    cluster: &'a Cluster,
    table: Table,
    problems: Vec<String>,
}

impl<'a> Draft<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            table: Table::new(),
            problems: Vec::new(),
        }
    }

    fn put(&mut self, key: &Key, record: &Record) {
        self.table.insert(key.published(), record.encode());
    }
}

/// Whether the mesh may see anything of `namespace`. One without an object is like any other.
fn is_global(objects: &Objects, namespace: &str) -> bool {
    let object = objects.namespaces.get(namespace);
    object.is_none_or(|it| annotation::is_global_namespace(&it.metadata.annotations))
}
