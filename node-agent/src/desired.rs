//! Derives what this node should have from what is believed about the mesh: service tables,
//! protected prefixes, tunnels and routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use datapath_abi::{Backend, ServiceKey};
use ipnet::IpNet;
use topology::health::Health;
use topology::id::{ClusterId, ClusterName, NodeName};
use topology::mesh::Mesh;
use topology::record::Node;
use topology::report::Problem;
use wireguard::PublicKey;

use crate::candidates;

mod gateways;
mod services;
mod tunnels;

pub use services::frontends;

/// The UDP port of every node's WireGuard device.
pub const WIREGUARD_PORT: u16 = 51871;

/// Which node this is.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    pub node: NodeName,
    pub cluster: ClusterName,
    pub cluster_id: ClusterId,
}

/// Between whom traffic is encrypted.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum Encrypt {
    /// Between the pods of different clusters
    #[default]
    Clusters,
    /// Between the pods of all nodes, those of the own cluster as well
    Nodes,
}

/// What decides between several ways of doing right by the mesh.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    pub encrypt: Encrypt,
    /// What probes say of the tunnels, by the other end's key; what is not there counts as up.
    pub health: &'a BTreeMap<PublicKey, Health>,
}

/// Everything that this node should have.
///
/// Tables are keyed by what can be contested, so that a move from one owner to another is a single
/// write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    pub services: BTreeMap<ServiceKey, BTreeSet<Backend>>,
    /// Prefixes that are never in plaintext on the underlay, with their cluster's id.
    pub prefixes: BTreeMap<IpNet, u32>,
    pub peers: BTreeMap<PublicKey, Peer>,
    pub allowed_ips: BTreeMap<IpNet, PublicKey>,
    /// Whose pods have the addresses that are allowed.
    pub holders: BTreeMap<IpNet, (ClusterName, NodeName)>,
    pub routes: BTreeMap<IpNet, Via>,
    /// Whether gateways of the own cluster carry what this node sends to other clusters.
    pub is_behind_gateways: bool,
    /// `None` while the mesh does not know this node.
    pub own: Option<OwnNode>,
    pub problems: BTreeSet<Problem>,
}

/// A node at the other end of a tunnel.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub cluster: ClusterName,
    pub node: NodeName,
    /// The likeliest of `endpoints`.
    pub endpoint: SocketAddr,
    /// Where the node may be, the likeliest first; never empty.
    pub endpoints: Vec<SocketAddr>,
    /// The key of the same node whose place this one is about to take. What is allowed to that one is
    /// allowed to this one as well.
    pub successor_of: Option<PublicKey>,
}

/// How a pod prefix is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Via {
    /// A node of the own cluster, by its address on the underlay.
    Node(Ipv4Addr),
    Tunnel,
}

/// What the mesh announces about this node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnNode {
    /// The node's own address among its pods: the first host of its pod prefix.
    pub address: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub address_v6: Option<Ipv6Addr>,
    pub public_key: Option<PublicKey>,
    /// The key that others should accept as well.
    pub next_public_key: Option<PublicKey>,
    /// Its addresses on the underlay, the likeliest first.
    pub underlay: Vec<IpAddr>,
}

/// Derives everything. The same mesh and policy give the same result on every call.
pub fn desired(mesh: &Mesh, identity: &Identity, policy: Policy<'_>) -> Desired {
    let mut desired = Desired::default();
    services::services(mesh, identity, &mut desired);
    own_node(mesh, identity, &mut desired);
    tunnels::tunnels(mesh, identity, policy, &mut desired);
    desired
}

fn own_node(mesh: &Mesh, identity: &Identity, desired: &mut Desired) {
    let key = (identity.cluster.clone(), identity.node.clone());
    let Some(node) = mesh.nodes().get(&key) else {
        desired.problem(
            format!("the mesh does not know node {} of cluster {}", key.1, key.0),
            "check --node-name and --cluster-name, and that the cluster's API server publishes the Node",
        );
        return;
    };
    let public_key = public_key(node);
    if public_key.is_none() {
        desired.problem(
            "the mesh announces no WireGuard key for this node yet, so other clusters cannot reach it".to_owned(),
            "wait for the cluster's API server to publish the key that the agent announces; a release that does not needs the device's public key in the Node's annotation network.cilium.io/wg-pub-key",
        );
    }
    desired.own = Some(OwnNode {
        address: node.pod_prefixes().find_map(|it| match it {
            IpNet::V4(it) => it.trunc().hosts().next(),
            IpNet::V6(_) => None,
        }),
        address_v6: node.pod_prefixes().find_map(|it| match it {
            IpNet::V4(_) => None,
            // The very first one means all routers there.
            IpNet::V6(it) => it.trunc().hosts().nth(1),
        }),
        public_key,
        next_public_key: candidates::next_public_key(node),
        underlay: candidates::underlay(node),
    });
}

fn cluster_number(mesh: &Mesh, identity: &Identity, cluster: &ClusterName) -> u32 {
    if *cluster == identity.cluster {
        return identity.cluster_id.get();
    }
    mesh.cluster_id(cluster)
        .map_or(UNKNOWN_CLUSTER, ClusterId::get)
}

const UNKNOWN_CLUSTER: u32 = 0;

fn public_key(node: &Node) -> Option<PublicKey> {
    node.wireguard_public_key.parse().ok()
}

impl Desired {
    fn problem(&mut self, what: String, remedy: &str) {
        self.problems.insert(Problem {
            what,
            remedy: remedy.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests;
