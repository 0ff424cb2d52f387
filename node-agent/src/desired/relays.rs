//! Decides which nodes pass on what two others cannot send each other, and which of them does.
//!
//! A relay matters where every node has tunnels of its own: what goes through gateways has them to
//! choose between. Packets do not circle, for each hop is nearer the end: from a node to a relay of
//! either cluster, from that one at most to a relay of the other cluster, and from there to the node.

use std::collections::BTreeMap;

use topology::id::ClusterName;
use topology::maglev;
use topology::mesh::Mesh;
use topology::record::Node;

use super::gateways::{self, Gateways};

/// The annotation of a Node that makes it a relay, with the value `true`.
const RELAY: &str = "causeway.io/relay";

/// Relays of a cluster, the first by name: every prefix between two clusters is accepted from all of
/// both.
const RELAYS_MAX: usize = 8;

/// The relays of every cluster that has some, and no gateways.
pub(super) struct Relays<'a>(BTreeMap<&'a ClusterName, Vec<&'a Node>>);

impl<'a> Relays<'a> {
    pub(super) fn of(mesh: &'a Mesh, gateways: &Gateways<'_>) -> Self {
        let mut relays = gateways::annotated(mesh, RELAY);
        relays.retain(|cluster, _| !gateways.exist(cluster));
        for nodes in relays.values_mut() {
            nodes.truncate(RELAYS_MAX);
        }
        Self(relays)
    }

    pub(super) fn contain(&self, node: &Node) -> bool {
        self.of_cluster(&node.cluster)
            .any(|it| it.name == node.name)
    }

    /// Those that may pass on what goes between two clusters, the preferred one first for a certain
    /// pair of nodes: both ends prefer the same one, so that it sees a conversation whole.
    pub(super) fn between(&self, one: &Node, other: &Node) -> Vec<&'a Node> {
        let relays = self.of_cluster(&one.cluster);
        let mut relays: Vec<&Node> = relays.chain(self.of_cluster(&other.cluster)).collect();
        relays.sort_by_key(|it| (weight(one, other, it), &it.cluster, &it.name));
        relays
    }

    fn of_cluster(&self, cluster: &ClusterName) -> impl Iterator<Item = &'a Node> {
        self.0.get(cluster).into_iter().flatten().copied()
    }
}

/// The less, the more a relay is preferred.
fn weight(one: &Node, other: &Node, relay: &Node) -> u64 {
    let name = |it: &Node| format!("{}/{}", it.cluster, it.name);
    let (one, other) = (name(one), name(other));
    let (first, second) = if one < other {
        (one, other)
    } else {
        (other, one)
    };
    let text = format!("{first} {second} {}", name(relay));
    maglev::hash(text.as_bytes(), WEIGHT_SEED)
}

/// Any number; both ends must have the same.
const WEIGHT_SEED: u64 = 0x2c1b_3c6d_a5a3_5b17;
