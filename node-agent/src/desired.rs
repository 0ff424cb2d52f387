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
use topology::report::{NodeEncryption, Problem};
use wireguard::PublicKey;

use crate::candidates;

mod gateways;
mod nodes;
mod relays;
mod services;
mod tunnels;

pub use nodes::OptOut;
pub use services::frontends;
pub use tunnels::probed_address;

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
    /// Between nodes, too: everything that goes from one node or its pods to another
    All,
}

impl Encrypt {
    /// Whether pods of the own cluster's nodes are included.
    fn includes_own_pods(self) -> bool {
        match self {
            Self::All | Self::Nodes => true,
            Self::Clusters => false,
        }
    }
}

/// How the traffic of a cluster with gateways is spread over them.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum GatewaySpread {
    /// Each flow goes through one of all the gateways that answer
    Flow,
    /// All that a node exchanges with another cluster goes through one gateway
    #[default]
    Node,
}

/// What decides between several ways of doing right by the mesh.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    pub encrypt: Encrypt,
    pub spread: GatewaySpread,
    /// Nodes that take no part in what goes between nodes themselves.
    pub opt_out: &'a OptOut,
    /// Whether what cannot be encrypted between nodes stays where it is.
    pub is_strict_between_nodes: bool,
    /// What probes say of the tunnels, by the other end's key; what is not there counts as up.
    pub health: &'a BTreeMap<PublicKey, Health>,
    /// Nodes that have been out of direct reach for long enough to be reached through a relay.
    pub cut_off: &'a BTreeSet<(ClusterName, NodeName)>,
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
    pub allowed_ips: BTreeMap<IpNet, Ways>,
    /// Whose pods have the addresses that are allowed.
    pub holders: BTreeMap<IpNet, (ClusterName, NodeName)>,
    pub routes: BTreeMap<IpNet, Via>,
    /// Whether this node encrypts what nodes send each other themselves.
    pub node_encryption: NodeEncryption,
    /// The addresses of those with which it may go through a tunnel.
    pub nodes: BTreeMap<IpNet, NodeEnd>,
    /// Whether it goes through a tunnel or nowhere.
    pub is_strict_between_nodes: bool,
    /// Whether gateways of the own cluster carry what this node sends to other clusters.
    pub is_behind_gateways: bool,
    /// Relays of the own cluster that this node may send what it exchanges with other clusters.
    pub own_relays: BTreeSet<NodeName>,
    /// Whether this node carries what other nodes exchange, as a gateway or a relay.
    pub is_carrier_for_others: bool,
    /// Nodes that are cut off, with the relay that is sent what is for them, if there is one.
    pub detours: BTreeMap<(ClusterName, NodeName), Option<(ClusterName, NodeName)>>,
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

/// The tunnels of a prefix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ways {
    /// Where packets for the prefix go, each flow to one of them; never empty.
    pub sent: BTreeSet<PublicKey>,
    /// Where packets from the prefix may come from as well.
    pub accepted: BTreeSet<PublicKey>,
    /// The one of `sent` that a device gets which knows one for each prefix.
    pub first: PublicKey,
}

/// Where the tunnel to a node's own address ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeEnd {
    pub key: PublicKey,
    pub is_of_another_cluster: bool,
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
    /// Those of them that are internal.
    pub internal: Vec<IpAddr>,
}

/// Derives everything. The same mesh and policy give the same result on every call.
pub fn desired(mesh: &Mesh, identity: &Identity, policy: Policy<'_>) -> Desired {
    let mut desired = Desired::default();
    services::services(mesh, identity, &mut desired);
    own_node(mesh, identity, &mut desired);
    tunnels::tunnels(mesh, identity, policy, &mut desired);
    nodes::nodes(mesh, identity, policy, &mut desired);
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
        address: node.pod_prefixes().find_map(|it| match inner_address(it) {
            Some(IpAddr::V4(it)) => Some(it),
            Some(IpAddr::V6(_)) | None => None,
        }),
        address_v6: node.pod_prefixes().find_map(|it| match inner_address(it) {
            Some(IpAddr::V6(it)) => Some(it),
            Some(IpAddr::V4(_)) | None => None,
        }),
        public_key,
        next_public_key: candidates::next_public_key(node),
        underlay: candidates::underlay(node),
        internal: candidates::internal(node).collect(),
    });
}

/// The address of a node among its pods with a prefix.
pub fn inner_address(pods: IpNet) -> Option<IpAddr> {
    match pods {
        IpNet::V4(it) => it.trunc().hosts().next().map(IpAddr::V4),
        // The very first one means all routers there.
        IpNet::V6(it) => it.trunc().hosts().nth(1).map(IpAddr::V6),
    }
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

impl Ways {
    /// One tunnel, for both directions.
    pub fn only(key: PublicKey) -> Self {
        Self {
            sent: BTreeSet::from([key]),
            accepted: BTreeSet::new(),
            first: key,
        }
    }

    /// Whether any WireGuard device can have them.
    pub fn is_plain(&self) -> bool {
        self.sent.len() == 1 && self.accepted.is_empty()
    }
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
