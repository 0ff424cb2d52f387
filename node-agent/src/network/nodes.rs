//! Decides which other nodes' own addresses lead into tunnels, and who looks there.
//!
//! The routes are in a table of their own, because the tunnels' own datagrams go to the same addresses
//! and must not find them:
//!
//! ```text
//! 201: ipproto udp sport 51871 goto 203      what the tunnels send
//! 202: ipproto tcp lookup 201                and so for every protocol
//! 203: nop
//! ```
//!
//! Rules that name protocols, and no interface, hold for the kernel's check of where packets come from
//! as well (`rp_filter`), in both directions. What has no protocol must not match any: a strict check
//! of ARP's requests would find that their senders are behind the tunnel, and leave them unanswered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use topology::health::Health;
use topology::report::{NodeEncryption, Problem};
use wireguard::PublicKey;
use wireguard::uapi::DeviceState;

use super::{Action, Link, Observed, Plan, Route, Table, into_tunnel};
use crate::desired::{Desired, NodeEnd};
use crate::view;

/// The number of our routing table.
pub const TABLE: u8 = 201;

/// A family of addresses, each of which has rules of its own.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Family {
    V4,
    V6,
}

/// One of our rules. In this order they are added, and against it they are deleted, so that what the
/// tunnels send never finds the table.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Rule {
    /// Where [`Self::Tunnels`] goes on.
    End(Family),
    /// What the tunnels themselves send passes the table by.
    Tunnels(Family),
    /// Everything of a protocol of IP looks into the table.
    Protocol(Family, u8),
}

impl Rule {
    pub fn family(self) -> Family {
        match self {
            Self::End(family) | Self::Protocol(family, _) | Self::Tunnels(family) => family,
        }
    }

    /// After the kernel's own rule for the table `local`, before those for `main` and `default`.
    pub fn priority(self) -> u32 {
        match self {
            Self::Tunnels(_) => 201,
            Self::Protocol(..) => 202,
            Self::End(_) => 203,
        }
    }
}

/// Every rule of both families.
pub fn rules() -> BTreeSet<Rule> {
    let families = [(Family::V4, ICMP), (Family::V6, ICMP_V6)];
    let rules = families.into_iter().flat_map(|(family, icmp)| {
        let protocols = PROTOCOLS.iter().copied().chain([icmp]);
        let protocols = protocols.map(move |it| Rule::Protocol(family, it));
        [Rule::End(family), Rule::Tunnels(family)]
            .into_iter()
            .chain(protocols)
    });
    rules.collect()
}

/// What nodes send each other, by the numbers of IANA: IPIP, TCP, UDP, IPv6 in IP, GRE, ESP, AH, L2TP,
/// SCTP, UDP-Lite. What is not here is between routers, and goes to groups and neighbors.
const PROTOCOLS: [u8; 10] = [4, 6, 17, 41, 47, 50, 51, 115, 132, 136];
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// What is known of the tunnel to a node's address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Nothing comes through, or it leads to somebody else.
    Closed,
    Open,
    /// Too little to change anything.
    Unknown,
}

/// What is seen when ways are judged.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// What probes say, by the other end's key.
    pub health: &'a BTreeMap<PublicKey, Health>,
    /// Whether the other end says that it takes part; not there before it has said anything.
    pub said: &'a BTreeMap<PublicKey, bool>,
    pub device: Option<&'a DeviceState>,
    pub now_unix_seconds: u64,
    /// Whether the mesh was not read for long, maybe because the way to the store is among those that
    /// nobody can judge without it.
    pub is_stranded: bool,
}

/// What is known of the ways to all addresses that should lead into tunnels, or do.
pub fn ways(desired: &Desired, observed: &Observed, sight: Sight<'_>) -> BTreeMap<IpNet, Way> {
    let wanted = desired.nodes.iter();
    let wanted = wanted.map(|(prefix, end)| {
        let fitness = sight.device.map(|it| fitness(it, prefix, *end));
        let is_strict = desired.is_strict_between_nodes;
        let way = match fitness {
            Some(Fitness::Elsewhere) => Way::Closed,
            // Packets wait there for whatever is missing.
            _ if is_strict && !end.is_of_another_cluster => Way::Open,
            Some(Fitness::Ready) if is_strict => Way::Open,
            Some(Fitness::Ready) => sight.way(end.key),
            Some(Fitness::Unready) | None => Way::Unknown,
        };
        (*prefix, way)
    });
    let present = observed.nodes.routes.keys();
    let others = present.filter(|it| !desired.nodes.contains_key(it));
    let others = others.map(|prefix| (*prefix, sight.inherited_way(prefix)));
    wanted.chain(others).collect()
}

/// The nodes that may be told that this one takes in what they send, and would answer the same way.
pub fn ready(desired: &Desired, device: &DeviceState) -> BTreeSet<PublicKey> {
    let nodes = desired.nodes.iter();
    let ready = nodes.filter(|(prefix, end)| fitness(device, prefix, **end) == Fitness::Ready);
    ready.map(|(_, end)| end.key).collect()
}

/// What is wrong with nodes that take no part although nobody has opted them out.
pub fn problem(desired: &Desired, said: &BTreeMap<PublicKey, bool>) -> Option<Problem> {
    let silent = desired.nodes.values().map(|it| it.key);
    let silent: BTreeSet<PublicKey> = silent.filter(|it| said.get(it) == Some(&false)).collect();
    let first = desired.peers.get(silent.first()?)?;
    Some(Problem {
        what: format!(
            "nodes do not say that they encrypt what nodes send each other: {} of them, such as {}/{}; what this node sends there is not encrypted",
            silent.len(),
            first.cluster,
            first.node
        ),
        remedy: "run their agents with --encrypt all as well, with the same opt-outs; nodes of other clusters must see this one at its InternalIP, without address translation".to_owned(),
    })
}

/// Whether a tunnel is as what nodes send each other needs it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fitness {
    /// Other clusters may number their nodes as they like, and as others number theirs: an address
    /// means one of their nodes only where the tunnel to that node ends at it.
    Elsewhere,
    /// The device takes in what comes from there.
    Ready,
    /// The device has yet to get, or to find out, what it needs.
    Unready,
}

fn fitness(device: &DeviceState, prefix: &IpNet, end: NodeEnd) -> Fitness {
    let Some(peer) = device.peers.get(&end.key) else {
        return Fitness::Unready;
    };
    let endpoint = peer.endpoint.map(|it| it.ip().to_canonical());
    let is_elsewhere = endpoint.is_some_and(|it| it != prefix.addr());
    let is_proven = endpoint.is_some() && peer.last_handshake.is_some();
    match end.is_of_another_cluster {
        true if is_elsewhere => Fitness::Elsewhere,
        true if !is_proven => Fitness::Unready,
        _ if peer.allowed_ips.contains(prefix) => Fitness::Ready,
        _ => Fitness::Unready,
    }
}

impl Sight<'_> {
    fn way(&self, key: PublicKey) -> Way {
        match (self.said.get(&key), self.health.get(&key)) {
            (Some(false), _) | (_, Some(Health::Unhealthy)) => Way::Closed,
            (Some(true), Some(Health::Healthy)) => Way::Open,
            (Some(true), Some(Health::Unknown) | None) | (None, _) => Way::Unknown,
        }
    }

    /// Of a way that an earlier agent opened, before the mesh says whose it is.
    fn inherited_way(&self, prefix: &IpNet) -> Way {
        let peers = self.device.iter().flat_map(|it| &it.peers);
        let mut owners = peers.filter(|(_, it)| it.allowed_ips.contains(prefix));
        let has_session = owners.any(|(_, it)| view::has_session(it, self.now_unix_seconds));
        match self.is_stranded && !has_session {
            true => Way::Closed,
            false => Way::Unknown,
        }
    }
}

/// Lists the changes of the table and of who looks there.
pub(super) fn plan(
    observed: &Observed,
    desired: &Desired,
    tunnel: Option<Link>,
    keep_unknown: bool,
    plan: &mut Plan,
) {
    let is_enabled = desired.node_encryption == NodeEncryption::Enabled;
    let wanted = desired.nodes.keys().copied();
    let barriers: BTreeSet<IpNet> = wanted
        .filter(|it| {
            desired.is_strict_between_nodes
                && is_led(observed, it, observed.nodes.barriers.contains(it))
        })
        .collect();
    plan.put_barriers(Table::Nodes, &observed.nodes, &barriers);
    let routes = routes(observed, desired, tunnel, plan);
    let is_closed = |prefix: &IpNet| observed.ways.get(prefix) == Some(&Way::Closed);
    plan.follow(Table::Nodes, &observed.nodes, &routes, |prefix| {
        !keep_unknown || is_closed(prefix)
    });
    if !keep_unknown {
        plan.delete_barriers(Table::Nodes, &observed.nodes, &barriers);
    }
    let rules = if is_enabled { rules() } else { BTreeSet::new() };
    let missing = rules.difference(&observed.rules);
    plan.actions.extend(missing.map(|it| Action::AddRule(*it)));
    if !keep_unknown {
        let rules_backwards = observed.rules.iter().rev();
        let obsolete = rules_backwards.filter(|it| !rules.contains(it));
        plan.actions
            .extend(obsolete.map(|it| Action::DeleteRule(*it)));
    }
}

fn routes(
    observed: &Observed,
    desired: &Desired,
    tunnel: Option<Link>,
    plan: &mut Plan,
) -> BTreeMap<IpNet, Route> {
    let Some(tunnel) = tunnel else {
        return BTreeMap::new();
    };
    let mut routes = BTreeMap::new();
    for prefix in desired.nodes.keys() {
        if !is_led(observed, prefix, observed.nodes.routes.contains_key(prefix)) {
            continue;
        }
        let Some(source) = own_address(observed, desired, prefix) else {
            plan.problems.insert(homeless(prefix));
            continue;
        };
        routes.insert(*prefix, into_tunnel(observed, tunnel, prefix, source));
    }
    routes
}

/// Whether an address should lead into a tunnel, or does and nothing is known against it.
fn is_led(observed: &Observed, prefix: &IpNet, is_present: bool) -> bool {
    match observed.ways.get(prefix) {
        Some(Way::Open) => true,
        Some(Way::Unknown) => is_present,
        Some(Way::Closed) | None => false,
    }
}

/// The address with which this node speaks to others of its kind: one that they know it by.
fn own_address(observed: &Observed, desired: &Desired, prefix: &IpNet) -> Option<IpAddr> {
    let is_here = |address: &IpAddr| observed.addresses.iter().any(|it| it.address == *address);
    let is_of_family = |it: &&IpAddr| it.is_ipv4() == prefix.addr().is_ipv4();
    let mut own = desired.own.iter().flat_map(|it| &it.internal);
    own.find(|it| is_of_family(it) && is_here(it)).copied()
}

fn homeless(prefix: &IpNet) -> Problem {
    let family = if prefix.addr().is_ipv4() { 4 } else { 6 };
    Problem {
        what: format!(
            "no interface has an IPv{family} InternalIP of this node, so what it sends to the nodes of that kind is not encrypted"
        ),
        remedy: "give the Node the address of one of its interfaces as InternalIP".to_owned(),
    }
}

#[cfg(test)]
mod tests;
