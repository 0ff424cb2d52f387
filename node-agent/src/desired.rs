//! Derives what this node should have from what is believed about the mesh: service tables,
//! protected prefixes, tunnels and routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use datapath_abi::{Backend, ServiceKey};
use ipnet::{IpNet, Ipv4Net};
use topology::id::{ClusterId, ClusterName, NodeName};
use topology::mesh::Mesh;
use topology::record::Node;
use topology::report::Problem;
use topology::select;
use topology::service::{L4Port, Protocol};
use wireguard::PublicKey;

/// The UDP port of every node's WireGuard device.
pub const WIREGUARD_PORT: u16 = 51871;

/// Which node this is.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    pub node: NodeName,
    pub cluster: ClusterName,
    pub cluster_id: ClusterId,
}

/// Everything that this node should have.
///
/// Tables are keyed by what can be contested, so that a move from one owner to another is a single
/// write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    pub services: BTreeMap<ServiceKey, BTreeSet<Backend>>,
    /// Prefixes of peered clusters, with the cluster's id: never in plaintext on the underlay.
    pub prefixes: BTreeMap<Ipv4Net, u32>,
    pub peers: BTreeMap<PublicKey, Peer>,
    pub allowed_ips: BTreeMap<IpNet, PublicKey>,
    pub routes: BTreeMap<Ipv4Net, Via>,
    /// `None` while the mesh does not know this node.
    pub own: Option<OwnNode>,
    pub problems: BTreeSet<Problem>,
}

/// A node at the other end of a tunnel.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub cluster: ClusterName,
    pub node: NodeName,
    pub endpoint: SocketAddr,
}

/// How a pod prefix is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Via {
    /// A node of the own cluster, by its address on the underlay.
    Node(Ipv4Addr),
    Tunnel,
}

/// What the mesh announces about this node.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnNode {
    /// The node's own address among its pods: the first host of its pod prefix.
    pub address: Option<Ipv4Addr>,
    pub public_key: Option<PublicKey>,
}

/// Derives everything. The same mesh gives the same result on every call.
pub fn desired(mesh: &Mesh, identity: &Identity) -> Desired {
    let mut desired = Desired::default();
    services(mesh, identity, &mut desired);
    own_node(mesh, identity, &mut desired);
    for ((cluster, name), node) in mesh.nodes() {
        if *cluster == identity.cluster {
            if *name != identity.node {
                neighbor(node, &mut desired);
            }
        } else {
            remote_node(mesh, identity, node, &mut desired);
        }
    }
    desired
}

fn services(mesh: &Mesh, identity: &Identity, desired: &mut Desired) {
    for (name, service) in mesh.local_services() {
        for (port_name, port) in &service.ports {
            let Some(protocol) = protocol_number(port.protocol) else {
                continue;
            };
            let selection = select::backends(mesh, name, service, port_name);
            let backends: BTreeSet<Backend> = selection
                .backends
                .iter()
                .filter_map(|it| {
                    let SocketAddr::V4(address) = it.address else {
                        return None;
                    };
                    let cluster = cluster_number(mesh, identity, &it.cluster);
                    Some(Backend::new(address, protocol, cluster))
                })
                .collect();
            for key in frontends(&service.frontends, *port) {
                desired
                    .services
                    .entry(key)
                    .or_insert_with(|| backends.clone());
            }
        }
    }
}

/// The keys of a service's port, one for each IPv4 ClusterIP.
pub fn frontends(addresses: &BTreeSet<IpAddr>, port: L4Port) -> impl Iterator<Item = ServiceKey> {
    addresses.iter().filter_map(move |address| {
        let IpAddr::V4(address) = address else {
            return None;
        };
        let protocol = protocol_number(port.protocol)?;
        Some(ServiceKey::new(
            SocketAddrV4::new(*address, port.port),
            protocol,
        ))
    })
}

/// The number in an IP header, or `None` for a protocol that sockets cannot be balanced for yet.
fn protocol_number(protocol: Protocol) -> Option<u8> {
    match protocol {
        Protocol::Sctp => None,
        Protocol::Tcp => Some(datapath_abi::TCP),
        Protocol::Udp => Some(datapath_abi::UDP),
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
            "this node announces no WireGuard key, so other clusters cannot reach it".to_owned(),
            "put the device's public key into the Node's annotation network.cilium.io/wg-pub-key",
        );
    }
    desired.own = Some(OwnNode {
        address: pod_prefixes_v4(node)
            .next()
            .and_then(|it| it.hosts().next()),
        public_key,
    });
}

/// Another node of the own cluster: its pods are reached over the underlay, as they are.
fn neighbor(node: &Node, desired: &mut Desired) {
    let Some(IpAddr::V4(address)) = node.internal_address() else {
        return;
    };
    for prefix in pod_prefixes_v4(node) {
        desired.routes.insert(prefix, Via::Node(address));
    }
}

/// A node of another cluster: its pods are reached through the tunnel, or not at all.
fn remote_node(mesh: &Mesh, identity: &Identity, node: &Node, desired: &mut Desired) {
    let mut prefixes = Vec::new();
    for prefix in pod_prefixes_v4(node) {
        match contradiction(mesh, identity, prefix) {
            None => prefixes.push(prefix),
            Some(with) => desired.problem(
                format!(
                    "pod prefix {prefix} of {}/{} overlaps {with}, and is left out",
                    node.cluster, node.name
                ),
                "give every cluster of the mesh pod prefixes of its own",
            ),
        }
    }
    let cluster = cluster_number(mesh, identity, &node.cluster);
    for prefix in &prefixes {
        desired.prefixes.insert(*prefix, cluster);
        desired.routes.insert(*prefix, Via::Tunnel);
    }
    tunnel(node, &prefixes, desired);
}

fn tunnel(node: &Node, prefixes: &[Ipv4Net], desired: &mut Desired) {
    let place = format!("{}/{}", node.cluster, node.name);
    let (Some(key), Some(address)) = (public_key(node), node.internal_address()) else {
        desired.problem(
            format!("node {place} announces no WireGuard key or no InternalIP, so there is no tunnel to it"),
            "check the Node's annotation network.cilium.io/wg-pub-key and its addresses in that cluster",
        );
        return;
    };
    let peer = Peer {
        cluster: node.cluster.clone(),
        node: node.name.clone(),
        endpoint: SocketAddr::new(address, WIREGUARD_PORT),
    };
    if let Some(first) = desired.peers.get(&key) {
        let what = format!(
            "nodes {}/{} and {place} announce the same WireGuard key; the first one keeps it",
            first.cluster, first.node
        );
        desired.problem(what, "generate a key for each node");
        return;
    }
    desired.peers.insert(key, peer);
    for prefix in prefixes {
        let owner = *desired.allowed_ips.entry(IpNet::V4(*prefix)).or_insert(key);
        if owner != key {
            desired.problem(
                format!("pod prefix {prefix} of {place} belongs to another node already"),
                "give every node of the mesh a pod prefix of its own",
            );
        }
    }
}

/// What a remote pod prefix would take away if it were believed: own pods, or any node's address,
/// at which tunnels end.
fn contradiction(mesh: &Mesh, identity: &Identity, prefix: Ipv4Net) -> Option<String> {
    let overlaps = |other: Ipv4Net| prefix.contains(&other) || other.contains(&prefix);
    mesh.nodes().values().find_map(|node| {
        let address = node.internal_address().and_then(|it| match it {
            IpAddr::V4(address) => Some(Ipv4Net::from(address)),
            IpAddr::V6(_) => None,
        });
        let own = (node.cluster == identity.cluster).then(|| pod_prefixes_v4(node));
        let taken = address.into_iter().chain(own.into_iter().flatten());
        taken
            .into_iter()
            .find(|it| overlaps(*it))
            .map(|it| format!("{it} of {}/{}", node.cluster, node.name))
    })
}

fn public_key(node: &Node) -> Option<PublicKey> {
    node.wireguard_public_key.parse().ok()
}

fn pod_prefixes_v4(node: &Node) -> impl Iterator<Item = Ipv4Net> {
    node.pod_prefixes().filter_map(|it| match it {
        IpNet::V4(prefix) => Some(prefix.trunc()),
        IpNet::V6(_) => None,
    })
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
