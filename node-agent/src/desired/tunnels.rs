//! Decides to which nodes there are tunnels, what goes through each, and what may not go past them.

use std::net::IpAddr;

use ipnet::IpNet;
use topology::health::Health;
use topology::mesh::Mesh;
use topology::record::Node;
use wireguard::PublicKey;

use super::gateways::Gateways;
use super::{Desired, Encrypt, Identity, Peer, Policy, Via, cluster_number, public_key};
use crate::candidates;

/// Derives tunnels, what is allowed through them, routes, and protected prefixes.
pub(super) fn tunnels(mesh: &Mesh, identity: &Identity, policy: Policy<'_>, desired: &mut Desired) {
    let plane = Plane {
        mesh,
        identity,
        policy,
        gateways: Gateways::of(mesh),
    };
    desired.is_behind_gateways = !plane.is_carrier();
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
}

/// The mesh, seen from this node.
struct Plane<'a> {
    mesh: &'a Mesh,
    identity: &'a Identity,
    policy: Policy<'a>,
    gateways: Gateways<'a>,
}

impl Plane<'_> {
    fn is_own(&self, node: &Node) -> bool {
        node.cluster == self.identity.cluster && node.name == self.identity.node
    }

    /// Whether this node speaks with other clusters itself.
    fn is_carrier(&self) -> bool {
        let Identity { cluster, node, .. } = self.identity;
        self.gateways.is_carrier(cluster, node)
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
        self.policy.encrypt == Encrypt::Nodes || between_gateways
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
        let is_protected = self.policy.encrypt == Encrypt::Nodes;
        let address = node.internal_address();
        for prefix in node.pod_prefixes().map(|it| it.trunc()) {
            if is_protected {
                let cluster = self.identity.cluster_id.get();
                desired.prefixes.insert(prefix, cluster);
            }
            match (tunnel, address) {
                (Some(key), _) => {
                    desired.routes.insert(prefix, Via::Tunnel);
                    allow(node, prefix, key, desired);
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
        let tunnel = self.carrier(node).and_then(|it| tunnel_to(it, desired));
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
            if let Some(key) = tunnel {
                allow(node, prefix, key, desired);
            }
        }
    }

    /// Where a tunnel from here must lead for packets to and from the pods of `remote`.
    fn carrier<'a>(&'a self, remote: &'a Node) -> Option<&'a Node> {
        let Identity { cluster, node, .. } = self.identity;
        if self.is_carrier() {
            let is_up = |it: &Node| self.is_up(it);
            return self.gateways.carrier(remote, cluster, is_up);
        }
        let own = self.mesh.nodes().get(&(cluster.clone(), node.clone()))?;
        let is_up = |it: &Node| {
            let reach = self.mesh.reaches().get(&it.name);
            let reach = reach.and_then(|it| it.clusters.get(&remote.cluster));
            self.is_up(it) && reach.is_none_or(|it| it.health != Health::Unhealthy)
        };
        self.gateways.carrier(own, &remote.cluster, is_up)
    }

    fn is_up(&self, node: &Node) -> bool {
        let health = public_key(node).and_then(|it| self.policy.health.get(&it));
        health != Some(&Health::Unhealthy)
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

/// Lets the pods of `node` through a tunnel, unless another node's have the prefix.
fn allow(node: &Node, prefix: IpNet, key: PublicKey, desired: &mut Desired) {
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
    desired.allowed_ips.insert(prefix, key);
}
