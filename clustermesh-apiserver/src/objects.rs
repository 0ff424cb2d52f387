//! The cluster's objects, as far as the mesh cares about them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

pub mod cilium;

use cilium::{CiliumEndpoint, CiliumIdentity, CiliumNode};

/// Every object that was read, whether from one file or from all.
///
/// Objects are shared, so that a view of all files costs pointers and not copies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    pub namespaces: BTreeMap<String, Arc<Namespace>>,
    pub nodes: BTreeMap<String, Arc<Node>>,
    pub pods: BTreeMap<ObjectName, Arc<Pod>>,
    pub services: BTreeMap<ObjectName, Arc<Service>>,
    pub endpoint_slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    pub cilium_nodes: BTreeMap<String, Arc<CiliumNode>>,
    pub cilium_identities: BTreeMap<String, Arc<CiliumIdentity>>,
    pub cilium_endpoints: BTreeMap<ObjectName, Arc<CiliumEndpoint>>,
}

/// The name of an object that lives in a namespace.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ObjectName {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

impl Objects {
    /// Adds the objects of `other` and returns those that were here already ("Service shop/web"),
    /// and which `other` replaces.
    pub fn merge(&mut self, other: &Self) -> Vec<String> {
        let mut replaced = Vec::new();
        add(
            &mut self.namespaces,
            &other.namespaces,
            "Namespace",
            &mut replaced,
        );
        add(&mut self.nodes, &other.nodes, "Node", &mut replaced);
        add(&mut self.pods, &other.pods, "Pod", &mut replaced);
        add(
            &mut self.services,
            &other.services,
            "Service",
            &mut replaced,
        );
        let slices = &other.endpoint_slices;
        add(
            &mut self.endpoint_slices,
            slices,
            "EndpointSlice",
            &mut replaced,
        );
        add(
            &mut self.cilium_nodes,
            &other.cilium_nodes,
            "CiliumNode",
            &mut replaced,
        );
        let identities = &other.cilium_identities;
        add(
            &mut self.cilium_identities,
            identities,
            "CiliumIdentity",
            &mut replaced,
        );
        let endpoints = &other.cilium_endpoints;
        add(
            &mut self.cilium_endpoints,
            endpoints,
            "CiliumEndpoint",
            &mut replaced,
        );
        replaced
    }

    /// How many objects there are, of all kinds.
    pub fn len(&self) -> usize {
        self.namespaces.len()
            + self.nodes.len()
            + self.pods.len()
            + self.services.len()
            + self.endpoint_slices.len()
            + self.cilium_nodes.len()
            + self.cilium_identities.len()
            + self.cilium_endpoints.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn add<K: Clone + fmt::Display + Ord, V>(
    into: &mut BTreeMap<K, Arc<V>>,
    from: &BTreeMap<K, Arc<V>>,
    kind: &str,
    replaced: &mut Vec<String>,
) {
    for (name, object) in from {
        if into.insert(name.clone(), Arc::clone(object)).is_some() {
            replaced.push(format!("{kind} {name}"));
        }
    }
}
