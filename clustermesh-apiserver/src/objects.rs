//! The cluster's objects, cut down to what the mesh cares about, and how a source tells of them.
//!
//! A source (a directory of manifests, a watch of Kubernetes) reads an object once, as [`Raw`], and
//! hands on [`ObjectEvent`]s: what lies behind it never learns where an object came from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use topology::record::{Labels, NamedPort};

pub mod cilium;
mod core;
pub mod multicluster;
mod raw;

pub(crate) use core::protocol;
pub use raw::{Nameless, Raw, read};

use cilium::CiliumNode;

/// The kinds that the mesh has a use for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ObjectKind {
    CiliumEndpoint,
    CiliumEndpointSlice,
    CiliumIdentity,
    CiliumNode,
    EndpointSlice,
    Namespace,
    Node,
    Pod,
    Service,
    ServiceExport,
    ServiceImport,
}

impl ObjectKind {
    pub const ALL: [Self; 11] = [
        Self::CiliumEndpoint,
        Self::CiliumEndpointSlice,
        Self::CiliumIdentity,
        Self::CiliumNode,
        Self::EndpointSlice,
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::ServiceExport,
        Self::ServiceImport,
    ];

    /// Whether objects of this kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        match self {
            Self::CiliumEndpoint
            | Self::EndpointSlice
            | Self::Pod
            | Self::Service
            | Self::ServiceExport
            | Self::ServiceImport => true,
            // The slices of Cilium name a namespace, but do not live in it.
            Self::CiliumEndpointSlice
            | Self::CiliumIdentity
            | Self::CiliumNode
            | Self::Namespace
            | Self::Node => false,
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// An object's name in its namespace; one that lives in none has an empty one.
///
/// Names are shared, because the same one stands in many tables.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ObjectName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectName {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(formatter, "{}/", self.namespace)?;
        }
        formatter.write_str(&self.name)
    }
}

/// What an object is called, among all of the cluster.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ObjectKey {
    pub kind: ObjectKind,
    pub name: ObjectName,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind, self.name)
    }
}

/// Objects by what they are called; shared, because their source keeps them too.
pub type Objects = BTreeMap<ObjectKey, Arc<Object>>;

/// What a source says; the three things that a watch of Kubernetes says too.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectEvent {
    /// The object is new, or has changed.
    Applied(ObjectKey, Arc<Object>),
    Deleted(ObjectKey),
    /// All objects of some kinds: what is not among `objects` is gone.
    Restarted {
        kinds: Vec<ObjectKind>,
        objects: Objects,
    },
}

impl ObjectEvent {
    /// Whether nodes may be others after it, and with them the addresses of pods.
    pub fn is_of_nodes(&self) -> bool {
        match self {
            Self::Applied(key, _) | Self::Deleted(key) => {
                matches!(key.kind, ObjectKind::CiliumNode | ObjectKind::Node)
            }
            Self::Restarted { .. } => true,
        }
    }
}

/// What the mesh needs of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    CiliumEndpoint(Endpoint),
    CiliumEndpointSlice(EndpointList),
    CiliumIdentity(Labels),
    CiliumNode(Box<CiliumNode>),
    EndpointSlice(Box<EndpointSlice>),
    Namespace(Box<Namespace>),
    Node(Box<Node>),
    Pod(Box<Pod>),
    Service(Box<Service>),
    ServiceExport(Box<ServiceExport>),
    /// Known, and of no consequence for what this cluster publishes.
    ServiceImport,
}

/// A pod's addresses and identity, as Cilium's agent reports them.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub addresses: Vec<IpAddr>,
    /// The node that the pod runs on.
    pub host: Option<IpAddr>,
    pub identity: u32,
    /// 255 for WireGuard, 0 for none.
    pub encryption_key: u8,
    pub service_account: Box<str>,
    pub named_ports: Box<[NamedPort]>,
}

/// Many pods' addresses and identities in one object.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointList {
    pub namespace: Arc<str>,
    /// By the name of the pod.
    pub endpoints: Box<[(Arc<str>, Endpoint)]>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Namespace {
    pub labels: BTreeMap<String, String>,
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A pod without an `Endpoint`: its identity follows from its labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Empty if it has none of its own: not yet, not any more, or because it uses its node's.
    pub addresses: Vec<IpAddr>,
    pub host: Option<IpAddr>,
    pub node: String,
    pub labels: BTreeMap<String, String>,
    pub service_account: String,
    pub named_ports: Vec<NamedPort>,
}

/// A Service's wish to be offered to all clusters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceExport {
    /// RFC 3339 in UTC and whole seconds; manifests that no API server has seen have none.
    pub created: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}
