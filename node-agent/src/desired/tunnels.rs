//! Decides to which nodes there are tunnels, what goes through each, and what may not go past them.

use std::net::IpAddr;

use ipnet::IpNet;
use topology::mesh::Mesh;
use topology::record::Node;
use wireguard::PublicKey;

use super::gateways::Gateways;
use super::relays::Relays;
use super::{Desired, Identity, Peer, Policy, Via, Ways, cluster_number, public_key};
use crate::candidates;

mod ways;

pub use ways::probed_address;

/// Derives tunnels, what is allowed through them, routes, and protected prefixes.
pub(super) fn tunnels(mesh: &Mesh, identity: &Identity, policy: Policy<'_>, desired: &mut Desired) {
    let gateways = Gateways::of(mesh);
    let plane = Plane {
        mesh,
        identity,
        policy,
        relays: Relays::of(mesh, &gateways),
        gateways,
    };
    desired.is_behind_gateways = !plane.is_carrier();
    desired.own_relays = plane.own_relays();
    desired.is_carrier_for_others = plane.is_gateway() || plane.is_relay();
    let others = || mesh.nodes().values().filter(|it| !plane.is_own(it));
    for node in others().filter(|it| plane.is_adjacent(it)) {
        plane.peer(node, desired);
    }
    for node in others() {
        if node.cluster == identity.cluster {
            plane.neighbor(node, desired);
        } else {
            plane.remote_node(node, desired);
        }
    }
    ways::tell_stranded(desired);
}

/// The mesh, seen from this node.
struct Plane<'a> {
    mesh: &'a Mesh,
    identity: &'a Identity,
    policy: Policy<'a>,
    gateways: Gateways<'a>,
    relays: Relays<'a>,
}

impl<'a> Plane<'a> {
    fn is_own(&self, node: &Node) -> bool {
        node.cluster == self.identity.cluster && node.name == self.identity.node
    }

    /// Whether this node speaks with other clusters itself.
    fn is_carrier(&self) -> bool {
        let Identity { cluster, node, .. } = self.identity;
        self.gateways.is_carrier(cluster, node)
    }

    fn is_gateway(&self) -> bool {
        self.gateways.exist(&self.identity.cluster) && self.is_carrier()
    }

    /// Whether this node passes on what others cannot send each other.
    fn is_relay(&self) -> bool {
        self.own().is_some_and(|it| self.relays.contain(it))
    }

    /// This node, once the mesh knows it.
    fn own(&self) -> Option<&'a Node> {
        let Identity { cluster, node, .. } = self.identity;
        self.mesh.nodes().get(&(cluster.clone(), node.clone()))
    }

    /// Whether a tunnel leads from here to `node`.
    fn is_adjacent(&self, node: &Node) -> bool {
        let is_carrier = self.gateways.is_carrier(&node.cluster, &node.name);
        if node.cluster != self.identity.cluster {
            return self.is_carrier() && is_carrier;
        }
        // What a gateway brings for another node's pods, and takes from them, is a cluster's business.
        let between_gateways =
            self.gateways.exist(&node.cluster) && (self.is_carrier() || is_carrier);
        // A relay, like a gateway, is given for others what must not leave a node in plaintext.
        let to_relay = self.is_relay() || self.relays.contain(node);
        self.policy.encrypt.includes_own_pods() || between_gateways || to_relay
    }

    /// A tunnel to `node`, if it can be reached at all.
    fn peer(&self, node: &Node, desired: &mut Desired) {
        let place = format!("{}/{}", node.cluster, node.name);
        let endpoints = candidates::of(node);
        let (Some(key), Some(endpoint)) = (public_key(node), endpoints.first()) else {
            desired.problem(
                format!("node {place} announces no WireGuard key or no InternalIP, so there is no tunnel to it"),
                "check that its agent runs and that its cluster publishes the key (the Node's annotation network.cilium.io/wg-pub-key), and its addresses",
            );
            return;
        };
        if desired.own.as_ref().and_then(|it| it.public_key) == Some(key) {
            desired.problem(
                format!("node {place} announces the WireGuard key of this node"),
                "generate a key for each node: remove a --wireguard-key that was copied",
            );
            return;
        }
        let peer = Peer {
            cluster: node.cluster.clone(),
            node: node.name.clone(),
            endpoint: *endpoint,
            endpoints,
            successor_of: None,
        };
        if let Some(first) = desired.peers.get(&key) {
            let what = format!(
                "nodes {}/{} and {place} announce the same WireGuard key; the first one keeps it",
                first.cluster, first.node
            );
            desired.problem(what, "generate a key for each node");
            return;
        }
        if let Some(next) = candidates::next_public_key(node).filter(|it| *it != key) {
            let successor = Peer {
                successor_of: Some(key),
                ..peer.clone()
            };
            desired.peers.entry(next).or_insert(successor);
        }
        desired.peers.insert(key, peer);
    }

    /// Another node of the own cluster: its pods are reached over the underlay, as they are, unless
    /// there is a tunnel to it.
    fn neighbor(&self, node: &Node, desired: &mut Desired) {
        let tunnel = tunnel_to(node, desired);
        let is_protected = self.policy.encrypt.includes_own_pods();
        let address = node.internal_address();
        for prefix in node.pod_prefixes().map(|it| it.trunc()) {
            if is_protected {
                let cluster = self.identity.cluster_id.get();
                desired.prefixes.insert(prefix, cluster);
            }
            match (tunnel, address) {
                (Some(key), _) => {
                    desired.routes.insert(prefix, Via::Tunnel);
                    allow(node, prefix, Ways::only(key), desired);
                }
                (None, _) if is_protected => {
                    desired.routes.insert(prefix, Via::Tunnel);
                }
                (None, Some(IpAddr::V4(address))) if prefix.addr().is_ipv4() => {
                    desired.routes.insert(prefix, Via::Node(address));
                }
                (None, _) => (),
            }
        }
    }

    /// A node of another cluster: its pods are reached through a tunnel, or not at all.
    fn remote_node(&self, node: &Node, desired: &mut Desired) {
        let cluster = cluster_number(self.mesh, self.identity, &node.cluster);
        let ways = self.ways(node, desired);
        for prefix in node.pod_prefixes().map(|it| it.trunc()) {
            if let Some(with) = self.contradiction(prefix) {
                desired.problem(
                    format!(
                        "pod prefix {prefix} of {}/{} overlaps {with}, and is left out",
                        node.cluster, node.name
                    ),
                    "give every cluster of the mesh pod prefixes of its own",
                );
                continue;
            }
            desired.prefixes.insert(prefix, cluster);
            desired.routes.insert(prefix, Via::Tunnel);
            if let Some(ways) = &ways {
                allow(node, prefix, ways.clone(), desired);
            }
        }
        self.keep_trying(node, desired);
    }

    /// What a remote pod prefix would take away if it were believed: own pods, or any node's address,
    /// at which tunnels end.
    fn contradiction(&self, prefix: IpNet) -> Option<String> {
        let overlaps = |other: IpNet| prefix.contains(&other) || other.contains(&prefix);
        self.mesh.nodes().values().find_map(|node| {
            let is_own = node.cluster == self.identity.cluster;
            let pods = is_own.then(|| node.pod_prefixes()).into_iter().flatten();
            let addresses = candidates::underlay(node).into_iter().map(IpNet::from);
            let taken = pods.map(|it| it.trunc()).chain(addresses);
            taken
                .into_iter()
                .find(|it| overlaps(*it))
                .map(|it| format!("{it} of {}/{}", node.cluster, node.name))
        })
    }
}

/// The key of the tunnel to `node`, if there is one.
fn tunnel_to(node: &Node, desired: &Desired) -> Option<PublicKey> {
    let key = public_key(node)?;
    let peer = desired.peers.get(&key)?;
    (peer.cluster == node.cluster && peer.node == node.name).then_some(key)
}

/// Lets the pods of `node` through tunnels, unless another node's have the prefix.
fn allow(node: &Node, prefix: IpNet, ways: Ways, desired: &mut Desired) {
    let holder = (node.cluster.clone(), node.name.clone());
    let holder = desired.holders.entry(prefix).or_insert(holder);
    if (&holder.0, &holder.1) != (&node.cluster, &node.name) {
        desired.problem(
            format!(
                "pod prefix {prefix} of {}/{} belongs to another node already",
                node.cluster, node.name
            ),
            "give every node of the mesh a pod prefix of its own",
        );
        return;
    }
    desired.allowed_ips.insert(prefix, ways);
}
