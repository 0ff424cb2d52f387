//! Nodes: from `CiliumNode` where there is one, else from `Node`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node as KubernetesNode;
use topology::id::NodeName;
use topology::record::{AddressKind, Key, Node, NodeAddress, Record};

use super::endpoint::key;
use super::tunnel::WIREGUARD_ENCRYPTION_KEY;
use super::{Cluster, Publisher, Scope, Unit};
use crate::annotation;
use crate::objects::cilium::{CiliumAddressPair, CiliumNode};
use crate::objects::{Object, ObjectKind, ObjectName};

/// What upstream's publisher names as its source.
const SOURCE: &str = "custom-resource";

impl Publisher {
    pub(super) fn derive_node(&mut self, name: &Arc<str>, problems: &mut Vec<String>) {
        let node_name: NodeName = match name.parse() {
            Ok(name) => name,
            Err(error) => {
                problems.push(format!("Node {name:?} is not published: {error}"));
                return;
            }
        };
        // Pods have some of their node in their own records.
        let pods = self.workloads.on_node(name);
        for pod in pods.collect::<Vec<_>>() {
            let addresses = self.workloads.addresses_of(&pod);
            self.dirty.extend(addresses.map(Unit::Address));
        }
        let key = Key::Node(self.cluster.name.clone(), node_name);
        match self.node(name) {
            Some(node) => {
                problems.extend(self.tunnels.problem(name, &node));
                let record = Record::Node(Box::new(node));
                self.records.show(&key, &Scope::Everyone, record.encode());
            }
            None => {
                self.tunnels.forget(name);
                self.records.hide(&key);
            }
        }
    }

    /// The node as it is published.
    pub(super) fn node(&self, name: &str) -> Option<Node> {
        let node = self.described_node(name)?;
        Some(self.tunnels.complete(name, node))
    }

    /// The node as its objects have it.
    fn described_node(&self, name: &str) -> Option<Node> {
        let node_name = name.parse().ok()?;
        let name = ObjectName::new("", name);
        let object = |kind| self.objects.get(&key(kind, &name)).map(Arc::as_ref);
        if let Some(Object::CiliumNode(object)) = object(ObjectKind::CiliumNode) {
            return Some(from_cilium(&node_name, object, &self.cluster));
        }
        match object(ObjectKind::Node) {
            Some(Object::Node(object)) => Some(from_kubernetes(&node_name, object, &self.cluster)),
            _ => None,
        }
    }
}

fn from_kubernetes(name: &NodeName, object: &KubernetesNode, cluster: &Cluster) -> Node {
    let spec = object.spec.as_ref();
    let status = object.status.as_ref();
    let addresses = status.and_then(|it| it.addresses.as_deref()).unwrap_or(&[]);
    let addresses = addresses
        .iter()
        .filter_map(|it| address(&it.type_, &it.address));
    let prefixes: Vec<&str> = match spec.and_then(|it| it.pod_cidrs.as_ref()) {
        Some(prefixes) => prefixes.iter().map(String::as_str).collect(),
        None => spec
            .and_then(|it| it.pod_cidr.as_deref())
            .into_iter()
            .collect(),
    };
    let annotations = &object.metadata.annotations;
    let wireguard_public_key = annotation::wireguard_public_key(annotations).unwrap_or_default();

    Node {
        addresses: addresses.collect(),
        encryption_key: match wireguard_public_key {
            "" => 0,
            _ => WIREGUARD_ENCRYPTION_KEY,
        },
        labels: object.metadata.labels.clone().unwrap_or_default(),
        annotations: annotations.clone().unwrap_or_default(),
        wireguard_public_key: wireguard_public_key.to_owned(),
        ..with_prefixes(name, cluster, &prefixes)
    }
}

fn from_cilium(name: &NodeName, object: &CiliumNode, cluster: &Cluster) -> Node {
    let spec = &object.spec;
    let addresses = spec
        .addresses
        .iter()
        .filter_map(|it| address(&it.kind, &it.ip));
    let pools = spec.ipam.pools.allocated.iter().flat_map(|it| &it.cidrs);
    let prefixes = spec.ipam.pod_cidrs.iter().chain(pools);
    let prefixes: Vec<&str> = prefixes.map(String::as_str).collect();
    let annotations = &object.metadata.annotations;
    let (health_v4, health_v6) = pair(&spec.health);
    let (ingress_v4, ingress_v6) = pair(&spec.ingress);

    Node {
        addresses: addresses.collect(),
        health_v4,
        health_v6,
        ingress_v4,
        ingress_v6,
        encryption_key: spec.encryption.key,
        labels: object.metadata.labels.clone().unwrap_or_default(),
        annotations: annotations.clone().unwrap_or_default(),
        wireguard_public_key: annotation::wireguard_public_key(annotations)
            .unwrap_or_default()
            .to_owned(),
        boot_id: spec.bootid.clone(),
        ..with_prefixes(name, cluster, &prefixes)
    }
}

/// A node that has nothing but its name and its pods' prefixes: the first of each family is the
/// main one. What is no prefix is left out, as upstream does.
fn with_prefixes(name: &NodeName, cluster: &Cluster, prefixes: &[&str]) -> Node {
    let prefixes = prefixes.iter().filter_map(|it| it.parse::<IpNet>().ok());
    let (v4, v6): (Vec<IpNet>, Vec<IpNet>) = prefixes.partition(|it| it.addr().is_ipv4());
    Node {
        name: name.clone(),
        cluster: cluster.name.clone(),
        addresses: Vec::new(),
        pod_prefix_v4: v4.first().copied(),
        more_pod_prefixes_v4: v4.into_iter().skip(1).collect(),
        pod_prefix_v6: v6.first().copied(),
        more_pod_prefixes_v6: v6.into_iter().skip(1).collect(),
        health_v4: None,
        health_v6: None,
        ingress_v4: None,
        ingress_v6: None,
        cluster_id: cluster.id,
        source: SOURCE.to_owned(),
        encryption_key: 0,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        wireguard_public_key: String::new(),
        boot_id: String::new(),
    }
}

/// `None` for host names, which the record has no place for, and for kinds that it does not know.
fn address(kind: &str, address: &str) -> Option<NodeAddress> {
    let kind = match kind {
        "CiliumInternalIP" => AddressKind::CiliumInternalIP,
        "ExternalDNS" => AddressKind::ExternalDNS,
        "ExternalIP" => AddressKind::ExternalIP,
        "Hostname" => AddressKind::Hostname,
        "InternalDNS" => AddressKind::InternalDNS,
        "InternalIP" => AddressKind::InternalIP,
        _ => return None,
    };
    let address = address.parse().ok()?;
    Some(NodeAddress { kind, address })
}

fn pair(pair: &CiliumAddressPair) -> (Option<IpAddr>, Option<IpAddr>) {
    (pair.ipv4.parse().ok(), pair.ipv6.parse().ok())
}
