//! Decides which links, addresses, routes and rules must change so that pods reach the pods of other
//! nodes, and nodes each other. Only what carries our own protocol number is ever changed or removed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use topology::diff::{Change, diff};
use topology::report::Problem;

use crate::desired::{Desired, Via};
use nodes::{Rule, Way};

pub mod nodes;

/// Marks our routes and rules in the kernel's tables (`ip route show proto 201`); free in Debian's and
/// iproute2's lists of routing protocols.
pub const ROUTE_PROTOCOL: u8 = 201;

/// Inside of a 1500-byte underlay, less WireGuard's 80 bytes over IPv6.
pub const TUNNEL_MTU_BYTES: u32 = 1420;

/// The kernel's view, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    pub links: BTreeMap<String, Link>,
    pub addresses: Vec<Address>,
    /// What is ours in the main table.
    pub main: Ours,
    /// What is ours in [`nodes::TABLE`].
    pub nodes: Ours,
    pub rules: BTreeSet<Rule>,
    /// Prefixes of the main table that somebody else's routes have, with the best metric.
    pub foreign: BTreeMap<IpNet, u32>,
    /// The largest packets, in bytes, that come through to prefixes behind the tunnel, where probes
    /// found out.
    pub path_mtus: BTreeMap<IpNet, u16>,
    /// The settings that keep the kernel from passing on what comes out of the tunnel.
    pub not_forwarding: Vec<String>,
    /// What is known of the tunnels to other nodes' addresses.
    pub ways: BTreeMap<IpNet, Way>,
}

/// What we have made in one table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ours {
    pub routes: BTreeMap<IpNet, Route>,
    /// Prefixes with an unreachable route of the worst metric.
    pub barriers: BTreeSet<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    pub index: u32,
    pub up: bool,
    pub mtu_bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Address {
    pub link: u32,
    pub address: IpAddr,
    pub prefix_bits: u8,
}

/// Where packets for a prefix go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Route {
    pub link: u32,
    pub gateway: Option<Ipv4Addr>,
    pub source: Option<IpAddr>,
    /// The largest packet in bytes, where that is less than the link's own.
    pub mtu_bytes: Option<u32>,
}

/// A routing table of the kernel's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Table {
    Main,
    /// [`nodes::TABLE`].
    Nodes,
}

/// One change of the kernel's network configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    AddAddress {
        link: u32,
        address: IpAddr,
    },
    AddRule(Rule),
    DeleteBarrier(Table, IpNet),
    DeleteRoute(Table, IpNet),
    DeleteRule(Rule),
    /// An unreachable route with the worst metric. It takes over whenever the route into the tunnel
    /// goes away, as it does with the device: else the default route would lead to the underlay,
    /// on whichever interface that is.
    PutBarrier(Table, IpNet),
    PutRoute(Table, IpNet, Route),
    SetUp {
        link: u32,
    },
}

/// What to do, and what cannot be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub problems: BTreeSet<Problem>,
}

/// The metric of our routes. For IPv6 it is what the kernel gives a route that names none, and must be
/// named, or a barrier could be taken for the route.
pub fn metric(prefix: &IpNet) -> u32 {
    match prefix {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 1_024,
    }
}

/// Lists the changes for `desired`, with the tunnel device called `tunnel`.
///
/// With `keep_unknown`, no route is removed that may be wanted. Barriers come before the routes they
/// stand behind, and go after them.
pub fn plan(observed: &Observed, desired: &Desired, tunnel: &str, keep_unknown: bool) -> Plan {
    let mut plan = Plan::default();
    let tunnel = observed.links.get(tunnel).copied();
    let barriers: BTreeSet<IpNet> = desired.prefixes.keys().copied().collect();
    plan.put_barriers(Table::Main, &observed.main, &barriers);
    if let Some(link) = tunnel {
        plan.settle(observed, desired, link);
    }
    let routes = routes(observed, desired, tunnel, &mut plan.problems);
    plan.follow(Table::Main, &observed.main, &routes, |_| !keep_unknown);
    if !keep_unknown {
        plan.delete_barriers(Table::Main, &observed.main, &barriers);
    }
    nodes::plan(observed, desired, tunnel, keep_unknown, &mut plan);
    if desired.is_carrier_for_others {
        let not_forwarding = observed.not_forwarding.iter();
        plan.problems.extend(not_forwarding.map(|it| stuck(it)));
    }
    plan
}

/// The routes to pods.
fn routes(
    observed: &Observed,
    desired: &Desired,
    tunnel: Option<Link>,
    problems: &mut BTreeSet<Problem>,
) -> BTreeMap<IpNet, Route> {
    let own = desired.own.as_ref();
    let own_address = |prefix: &IpNet| match prefix {
        IpNet::V4(_) => own.and_then(|it| it.address).map(IpAddr::V4),
        IpNet::V6(_) => own.and_then(|it| it.address_v6).map(IpAddr::V6),
    };
    let mut routes = BTreeMap::new();
    for (prefix, via) in &desired.routes {
        // The kernel takes the lowest metric.
        let theirs = observed.foreign.get(prefix);
        if let Some(theirs) = theirs.filter(|it| **it <= metric(prefix)) {
            if *via == Via::Tunnel {
                problems.insert(occupied(*prefix, *theirs));
            }
            continue;
        }
        let route = match via {
            Via::Node(address) => connected_link(observed, *address).map(|link| Route {
                link,
                gateway: Some(*address),
                source: None,
                mtu_bytes: None,
            }),
            // Without an address of its own the node would speak with one that peers drop.
            Via::Tunnel => tunnel
                .zip(own_address(prefix))
                .map(|(link, address)| into_tunnel(observed, link, prefix, address)),
        };
        routes.extend(route.map(|it| (*prefix, it)));
    }
    routes
}

fn into_tunnel(observed: &Observed, link: Link, prefix: &IpNet, source: IpAddr) -> Route {
    let found = observed.path_mtus.get(prefix).map(|it| u32::from(*it));
    Route {
        link: link.index,
        gateway: None,
        source: Some(source),
        mtu_bytes: found.filter(|it| *it < TUNNEL_MTU_BYTES),
    }
}

impl Plan {
    /// Gives the tunnel device what it needs.
    fn settle(&mut self, observed: &Observed, desired: &Desired, link: Link) {
        if !link.up || link.mtu_bytes != TUNNEL_MTU_BYTES {
            self.actions.push(Action::SetUp { link: link.index });
        }
        let own = desired.own.as_ref();
        let own_v4 = own.and_then(|it| it.address).map(IpAddr::V4);
        let own_v6 = own.and_then(|it| it.address_v6).map(IpAddr::V6);
        let present = |address| observed.addresses.iter().any(|it| it.address == address);
        let link = link.index;
        let missing = own_v4.into_iter().chain(own_v6).filter(|it| !present(*it));
        self.actions
            .extend(missing.map(|address| Action::AddAddress { link, address }));
    }

    fn put_barriers(&mut self, table: Table, ours: &Ours, wanted: &BTreeSet<IpNet>) {
        let missing = wanted.difference(&ours.barriers);
        self.actions
            .extend(missing.map(|it| Action::PutBarrier(table, *it)));
    }

    fn delete_barriers(&mut self, table: Table, ours: &Ours, wanted: &BTreeSet<IpNet>) {
        let obsolete = ours.barriers.difference(wanted);
        self.actions
            .extend(obsolete.map(|it| Action::DeleteBarrier(table, *it)));
    }

    /// Makes a table's routes the wanted ones, but for others that may not be deleted.
    fn follow(
        &mut self,
        table: Table,
        ours: &Ours,
        wanted: &BTreeMap<IpNet, Route>,
        may_delete: impl Fn(&IpNet) -> bool,
    ) {
        let changes = diff(&ours.routes, wanted).into_iter();
        self.actions
            .extend(changes.filter_map(|change| match change {
                Change::Delete(prefix) => {
                    may_delete(&prefix).then_some(Action::DeleteRoute(table, prefix))
                }
                Change::Put(prefix, route) => Some(Action::PutRoute(table, prefix, route)),
            }));
    }
}

/// The link on which `address` is a neighbor; nodes behind a router are reached as the underlay
/// says.
fn connected_link(observed: &Observed, address: Ipv4Addr) -> Option<u32> {
    observed.addresses.iter().find_map(|it| {
        let IpAddr::V4(own) = it.address else {
            return None;
        };
        let prefix = Ipv4Net::new(own, it.prefix_bits).ok()?;
        prefix.contains(&address).then_some(it.link)
    })
}

fn stuck(setting: &str) -> Problem {
    Problem {
        what: "this node is a gateway or a relay, but its kernel passes nothing on".to_owned(),
        remedy: format!("sysctl -w {setting}=1"),
    }
}

fn occupied(prefix: IpNet, metric: u32) -> Problem {
    Problem {
        what: format!(
            "somebody else's route for {prefix}, with metric {metric}, keeps it out of the tunnel"
        ),
        remedy: format!(
            "remove it: ip route del {prefix} metric {metric}; or give it a metric above {}",
            self::metric(&prefix)
        ),
    }
}

#[cfg(test)]
mod tests;
