//! Decides what a Node says of the tunnels to it, from its manifest and from what its agent says.
//!
//! A manifest that names a key is right. What an agent said stays as long as its Node exists, whether
//! the agent still says it or not: others keep their tunnels to a node whose agent is away.

use std::collections::BTreeMap;
use std::sync::Arc;

use topology::id::NodeName;
use topology::record::{ENDPOINTS_ANNOTATION, NEXT_PUBLIC_KEY_ANNOTATION, Node, TunnelEnd};

use super::{Changes, Publisher, Unit};
use crate::annotation::WIREGUARD_PUBLIC_KEY;

/// Marks traffic to a node's pods as encrypted by WireGuard.
pub(super) const WIREGUARD_ENCRYPTION_KEY: u8 = 255;

/// What the agents of nodes said last, by the nodes' names. Those that say it still are as few as the
/// model lets in, the others are of Nodes that exist.
#[derive(Debug, Default)]
pub(super) struct Tunnels(BTreeMap<Arc<str>, Said>);

#[derive(Debug)]
struct Said {
    end: TunnelEnd,
    /// Whether it is still said.
    is_current: bool,
}

impl Tunnels {
    /// The Node as it is announced: with what its manifest lacks.
    pub(super) fn complete(&self, name: &str, mut node: Node) -> Node {
        let Some(Said { end, .. }) = self.0.get(name) else {
            return node;
        };
        let mut annotate = |name: &str, value: String| {
            node.annotations.entry(name.to_owned()).or_insert(value);
        };
        if !end.endpoints.is_empty() {
            let endpoints = end.endpoints.iter().map(ToString::to_string);
            let endpoints: Vec<String> = endpoints.collect();
            annotate(ENDPOINTS_ANNOTATION, endpoints.join(","));
        }
        // What follows a key is of no use beside another.
        let is_named = !node.wireguard_public_key.is_empty();
        if is_named && node.wireguard_public_key != end.public_key {
            return node;
        }
        if let Some(next) = &end.next_public_key {
            annotate(NEXT_PUBLIC_KEY_ANNOTATION, next.clone());
        }
        if !is_named {
            annotate(WIREGUARD_PUBLIC_KEY[0], end.public_key.clone());
            node.wireguard_public_key.clone_from(&end.public_key);
            if node.encryption_key == 0 {
                node.encryption_key = WIREGUARD_ENCRYPTION_KEY;
            }
        }
        node
    }

    /// What is wrong between a Node, as it is announced, and its agent.
    pub(super) fn problem(&self, name: &str, node: &Node) -> Option<String> {
        let said = self.0.get(name).filter(|it| it.is_current)?;
        (said.end.public_key != node.wireguard_public_key).then(|| {
            format!(
                "Node {name} names the WireGuard key {}, and its agent has {}: the tunnels to it do \
                 not work before the annotation {} is corrected or gone",
                node.wireguard_public_key, said.end.public_key, WIREGUARD_PUBLIC_KEY[0]
            )
        })
    }

    /// Forgets what only a Node kept that does not exist.
    pub(super) fn forget(&mut self, name: &str) {
        if self.0.get(name).is_some_and(|it| !it.is_current) {
            self.0.remove(name);
        }
    }

    fn hear(&mut self, name: &Arc<str>, end: Option<TunnelEnd>) {
        match (self.0.get_mut(name), end) {
            (_, Some(end)) => {
                let said = Said {
                    end,
                    is_current: true,
                };
                self.0.insert(Arc::clone(name), said);
            }
            (Some(said), None) => said.is_current = false,
            (None, None) => (),
        }
    }
}

impl Publisher {
    /// Takes in how tunnels to nodes end, in order; `None` where their agents say so no more. Returns
    /// the writes that follow at `now`, in milliseconds since 1970.
    pub fn end_tunnels(&mut self, ends: Vec<(NodeName, Option<TunnelEnd>)>, now: u64) -> Changes {
        for (node, end) in ends {
            let name: Arc<str> = node.as_str().into();
            self.tunnels.hear(&name, end);
            self.dirty.insert(Unit::Node(name));
        }
        self.derive(now);
        self.records.take_changes()
    }
}
