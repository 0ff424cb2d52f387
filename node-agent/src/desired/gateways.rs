//! Decides which node of a cluster carries the traffic between one of its nodes and another cluster.
//!
//! Without gateways each node carries its own. With them, both ends of a conversation must come to the
//! same gateways, for a tunnel takes nothing from elsewhere unless flows are spread: so the choice
//! depends only on what both know, the node, the other cluster, and the gateways with their health.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use topology::id::{ClusterName, NodeName};
use topology::maglev;
use topology::mesh::Mesh;
use topology::record::Node;

/// The annotation of a Node that makes it a gateway of its cluster, with the value `true`.
const GATEWAY: &str = "causeway.io/gateway";

/// The gateways of every cluster that has some.
pub(super) struct Gateways<'a>(BTreeMap<&'a ClusterName, Vec<&'a Node>>);

impl<'a> Gateways<'a> {
    pub(super) fn of(mesh: &'a Mesh) -> Self {
        Self(annotated(mesh, GATEWAY))
    }

    pub(super) fn exist(&self, cluster: &ClusterName) -> bool {
        self.0.contains_key(cluster)
    }

    /// Whether a node speaks with other clusters itself.
    pub(super) fn is_carrier(&self, cluster: &ClusterName, node: &NodeName) -> bool {
        let gateways = self.0.get(cluster);
        gateways.is_none_or(|it| it.iter().any(|it| it.name == *node))
    }

    /// The nodes that can carry what goes between `node` and the cluster `other`, the preferred one
    /// first.
    ///
    /// The nodes of a cluster are spread over its gateways, another way for each other cluster; when a
    /// gateway goes, only what it carried moves.
    pub(super) fn carriers(&self, node: &'a Node, other: &ClusterName) -> Vec<&'a Node> {
        if self.is_carrier(&node.cluster, &node.name) {
            return vec![node];
        }
        let mut gateways = self.0.get(&node.cluster).cloned().unwrap_or_default();
        gateways.sort_by_key(|it| Reverse((weight(node, other, it), &it.name)));
        gateways
    }
}

/// The nodes that an annotation marks with the value `true`, by cluster and in order of their names.
pub(super) fn annotated<'a>(
    mesh: &'a Mesh,
    annotation: &str,
) -> BTreeMap<&'a ClusterName, Vec<&'a Node>> {
    let mut marked = BTreeMap::<_, Vec<_>>::new();
    for node in mesh.nodes().values() {
        if node
            .annotations
            .get(annotation)
            .is_some_and(|it| it == "true")
        {
            marked.entry(&node.cluster).or_default().push(node);
        }
    }
    marked
}

/// How much a gateway is preferred.
fn weight(node: &Node, other: &ClusterName, gateway: &Node) -> u64 {
    let text = format!("{} {other} {}", node.name, gateway.name);
    maglev::hash(text.as_bytes(), WEIGHT_SEED)
}

/// Any number; both ends must have the same.
const WEIGHT_SEED: u64 = 0x51ed_270b_a1d4_8f6d;
