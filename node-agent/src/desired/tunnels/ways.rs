//! Decides through which tunnels the packets to and from another cluster's node go: through its own,
//! through gateways, or, where it is out of direct reach, through a relay.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use topology::health::Health;
use topology::id::{ClusterName, NodeName};
use topology::record::Node;
use wireguard::PublicKey;

use super::{Plane, allow, tunnel_to};
use crate::desired::{Desired, GatewaySpread, Ways, inner_address, public_key};

impl Plane<'_> {
    /// The tunnels of what belongs to `remote`, a node of another cluster; `None` while there are
    /// none. Notes as well whether it is cut off.
    pub(super) fn ways(&self, remote: &Node, desired: &mut Desired) -> Option<Ways> {
        let own = &self.identity.cluster;
        if self.gateways.exist(own) || self.gateways.exist(&remote.cluster) {
            return self.through_gateways(remote, desired);
        }
        let direct = tunnel_to(remote, desired)?;
        let relays = self.relays_to(remote, desired);
        let mut first = direct;
        if self.is_cut_off(remote) {
            let relay = relays.iter().find(|(it, _)| self.may_relay(it, remote));
            first = relay.map_or(direct, |(_, key)| *key);
            let relay = relay.map(|(it, _)| place(it));
            // Who answers again and never had another way is not held back by anything.
            if relay.is_some() || !self.is_up(remote) {
                desired.detours.insert(place(remote), relay);
            }
        }
        // Nobody has to know what the other end decides.
        let all = relays.iter().map(|(_, key)| *key).chain([direct]);
        Some(Ways {
            sent: BTreeSet::from([first]),
            accepted: all.filter(|it| *it != first).collect(),
            first,
        })
    }

    /// Leaves a node that a relay stands in for the way to its own address, where probes look for it: so
    /// the direct tunnel is tried all the time, and probes tell of nothing else.
    pub(super) fn keep_trying(&self, remote: &Node, desired: &mut Desired) {
        let detour = desired.detours.get(&place(remote));
        if !detour.is_some_and(Option::is_some) {
            return;
        }
        let address = probed_address(remote, desired);
        let Some((address, direct)) = address.zip(tunnel_to(remote, desired)) else {
            return;
        };
        let relays = self.relays_to(remote, desired);
        let ways = Ways {
            accepted: relays.into_iter().map(|(_, key)| key).collect(),
            ..Ways::only(direct)
        };
        allow(remote, address.into(), ways, desired);
    }

    /// One gateway where nodes are spread, all where flows are.
    fn through_gateways(&self, remote: &Node, desired: &Desired) -> Option<Ways> {
        let cluster = &self.identity.cluster;
        let carriers = if self.is_carrier() {
            self.gateways.carriers(remote, cluster)
        } else {
            self.gateways.carriers(self.own()?, &remote.cluster)
        };
        let is_up = |it: &&Node| self.carries(it, &remote.cluster);
        let (up, down): (Vec<&Node>, Vec<&Node>) = carriers.into_iter().partition(is_up);
        // When none is up, those that are not stand in: it may be the probes that are wrong.
        let (taken, left) = if up.is_empty() {
            (down, up)
        } else {
            (up, down)
        };
        let tunnels = |nodes: &[&Node]| -> Vec<PublicKey> {
            let tunnels = nodes.iter().filter_map(|it| tunnel_to(it, desired));
            tunnels.collect()
        };
        match self.policy.spread {
            GatewaySpread::Flow => {
                let sent = tunnels(&taken);
                Some(Ways {
                    first: *sent.first()?,
                    sent: sent.into_iter().collect(),
                    accepted: tunnels(&left).into_iter().collect(),
                })
            }
            GatewaySpread::Node => tunnel_to(taken.first()?, desired).map(Ways::only),
        }
    }

    /// Whether a gateway or relay answers and, if it is one of the own cluster's, gets on to another
    /// one.
    fn carries(&self, carrier: &Node, other: &ClusterName) -> bool {
        let said = self.mesh.reaches().get(&carrier.name);
        let said = said.filter(|_| carrier.cluster == self.identity.cluster);
        let said = said.and_then(|it| it.clusters.get(other));
        self.is_up(carrier) && said.is_none_or(|it| it.health != Health::Unhealthy)
    }

    fn is_up(&self, node: &Node) -> bool {
        let health = public_key(node).and_then(|it| self.policy.health.get(&it));
        health != Some(&Health::Unhealthy)
    }

    fn is_cut_off(&self, remote: &Node) -> bool {
        self.policy.cut_off.contains(&place(remote))
    }

    /// The other nodes with tunnels from here that pass on what is for `remote`, or comes from it.
    fn relays_to(&self, remote: &Node, desired: &Desired) -> Vec<(&Node, PublicKey)> {
        let relays = self.own().map(|own| self.relays.between(own, remote));
        let others = relays.into_iter().flatten();
        let others = others.filter(|it| !self.is_own(it) && place(it) != place(remote));
        others
            .filter_map(|it| Some((it, tunnel_to(it, desired)?)))
            .collect()
    }

    /// Whether a relay can be given what is for `remote`. One of its own cluster always brings it
    /// nearer; one of ours only to who is none.
    fn may_relay(&self, relay: &Node, remote: &Node) -> bool {
        let is_nearer = relay.cluster == remote.cluster || !self.is_relay();
        is_nearer && self.carries(relay, &remote.cluster)
    }

    /// The relays of the own cluster that this node may give something.
    pub(super) fn own_relays(&self) -> BTreeSet<NodeName> {
        let relays = self.own().filter(|_| !self.is_relay());
        let relays = relays.map(|own| self.relays.between(own, own));
        let relays = relays.into_iter().flatten();
        relays.map(|it| it.name.clone()).collect()
    }
}

/// One problem for all nodes of a cluster that nothing leads to.
pub(super) fn tell_stranded(desired: &mut Desired) {
    let mut stranded = BTreeMap::<ClusterName, Vec<NodeName>>::new();
    let detours = desired.detours.iter().filter(|(_, it)| it.is_none());
    for ((cluster, node), _) in detours {
        stranded
            .entry(cluster.clone())
            .or_default()
            .push(node.clone());
    }
    for (cluster, nodes) in stranded {
        let more = match nodes.len() - 1 {
            0 => String::new(),
            1 => ", nor from 1 other node of the cluster".to_owned(),
            count => format!(", nor from {count} other nodes of the cluster"),
        };
        desired.problem(
            format!("nothing comes back from {cluster}/{}{more}, and there is no relay to go through", nodes[0]),
            "let UDP 51871 pass between both, or annotate a node that both reach with causeway.io/relay: \"true\"",
        );
    }
}

fn place(node: &Node) -> (ClusterName, NodeName) {
    (node.cluster.clone(), node.name.clone())
}

/// Where probes ask for a node: at an inner address that our tunnels lead to, of a kind that this node
/// has too. IPv4 goes first.
pub fn probed_address(node: &Node, desired: &Desired) -> Option<IpAddr> {
    let is_led = |it: &IpNet| desired.allowed_ips.contains_key(it);
    let led = || {
        let prefixes = node.pod_prefixes().map(|it| it.trunc());
        prefixes.filter_map(|prefix| {
            let address = inner_address(prefix)?;
            // Of a tunnel that is closed to pods, the node itself.
            (is_led(&prefix) || is_led(&address.into())).then_some(address)
        })
    };
    let own = desired.own.as_ref();
    let has_v4 = own.is_none_or(|it| it.address.is_some());
    let has_v6 = own.is_some_and(|it| it.address_v6.is_some());
    let v4 = led().find(|it| it.is_ipv4() && has_v4);
    v4.or_else(|| led().find(|it| it.is_ipv6() && has_v6))
}

#[cfg(test)]
mod tests;
