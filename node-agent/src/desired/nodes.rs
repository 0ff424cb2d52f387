//! Decides with which other nodes this one encrypts what they send each other themselves.
//!
//! Both ends must: each takes in what the other sends before it says so, in its probes, and sends
//! nothing into the tunnel before the other has said so. So one node after the other can begin or end,
//! and nobody needs the store to learn of it, whose way may be at stake.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use topology::mesh::Mesh;
use topology::record::Node;
use topology::report::NodeEncryption;
use wireguard::PublicKey;

use super::{Desired, Encrypt, Identity, NodeEnd, Policy, Ways};
use crate::candidates;

/// Labels of nodes that take no part: each with a value, or with any.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OptOut(Vec<(String, Option<String>)>);

impl OptOut {
    fn matches(&self, node: &Node) -> bool {
        self.0.iter().any(|(name, value)| {
            let present = node.labels.get(name);
            present.is_some_and(|it| value.as_ref().is_none_or(|value| value == it))
        })
    }
}

impl FromStr for OptOut {
    type Err = String;

    /// Labels with commas between them, such as `a/b,c=d`; none at all for an empty text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let labels = text.split(',').filter(|_| !text.trim().is_empty());
        let labels = labels.map(|label| {
            let (name, value) = match label.trim().split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (label.trim(), None),
            };
            match name {
                "" => Err(format!("{text:?} has a label without a name")),
                name => Ok((name.to_owned(), value)),
            }
        });
        labels.collect::<Result<_, _>>().map(Self)
    }
}

/// Derives what goes between nodes, from the tunnels that there are.
pub(super) fn nodes(mesh: &Mesh, identity: &Identity, policy: Policy<'_>, desired: &mut Desired) {
    desired.node_encryption = node_encryption(mesh, identity, policy);
    if desired.node_encryption != NodeEncryption::Enabled {
        return;
    }
    desired.is_strict_between_nodes = policy.is_strict_between_nodes;
    let ends: Vec<_> = ends(mesh, identity, desired).collect();
    for (key, node) in ends {
        if policy.opt_out.matches(node) {
            continue;
        }
        let end = NodeEnd {
            key,
            is_of_another_cluster: node.cluster != identity.cluster,
        };
        for address in candidates::internal(node).filter(|it| may_be_led(*it)) {
            let prefix = IpNet::from(address);
            if is_taken(mesh, identity, node, address) || desired.allowed_ips.contains_key(&prefix)
            {
                continue;
            }
            desired.allowed_ips.insert(prefix, Ways::only(key));
            desired.nodes.insert(prefix, end);
        }
    }
}

fn node_encryption(mesh: &Mesh, identity: &Identity, policy: Policy<'_>) -> NodeEncryption {
    let own = (identity.cluster.clone(), identity.node.clone());
    match (policy.encrypt, mesh.nodes().get(&own)) {
        (Encrypt::All, Some(own)) if policy.opt_out.matches(own) => NodeEncryption::OptedOut,
        (Encrypt::All, Some(_)) => NodeEncryption::Enabled,
        // Before the own labels are known nothing is said, and nothing is taken away.
        (Encrypt::All, None) | (Encrypt::Clusters | Encrypt::Nodes, _) => NodeEncryption::Disabled,
    }
}

/// The nodes at the other ends of tunnels, those of the own cluster first: an address is theirs
/// whoever else has it.
fn ends<'a>(
    mesh: &'a Mesh,
    identity: &Identity,
    desired: &Desired,
) -> impl Iterator<Item = (PublicKey, &'a Node)> {
    let peers = desired.peers.iter();
    let peers = peers.filter(|(_, it)| it.successor_of.is_none());
    let ends = peers.filter_map(|(key, peer)| {
        let place = (peer.cluster.clone(), peer.node.clone());
        let node = mesh.nodes().get(&place)?;
        let is_of_another_cluster = peer.cluster != identity.cluster;
        Some(((is_of_another_cluster, place), (*key, node)))
    });
    ends.collect::<BTreeMap<_, _>>().into_values()
}

/// Whether an address means the same to every node.
fn may_be_led(address: IpAddr) -> bool {
    let is_of_a_link = match address {
        IpAddr::V4(it) => it.is_link_local() || it.is_broadcast(),
        IpAddr::V6(it) => it.is_unicast_link_local(),
    };
    !(is_of_a_link || address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

/// Whether an address of `node` is one of the own cluster's pods, of this node, or, where `node` is of
/// another cluster, of an own node.
fn is_taken(mesh: &Mesh, identity: &Identity, node: &Node, address: IpAddr) -> bool {
    let own = mesh.nodes().values();
    let mut own = own.filter(|it| it.cluster == identity.cluster);
    own.any(|it| {
        let is_pod = it.pod_prefixes().any(|it| it.contains(&address));
        let is_rival = it.name == identity.node || node.cluster != identity.cluster;
        is_pod || is_rival && candidates::underlay(it).contains(&address)
    })
}

#[cfg(test)]
mod tests;
