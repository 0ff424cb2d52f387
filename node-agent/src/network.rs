//! Decides which links, addresses and routes must change so that pods reach the pods of other
//! nodes. Only routes that carry our own protocol number are ever changed or removed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use topology::diff::{Change, diff};
use topology::report::Problem;

use crate::desired::{Desired, Via};

/// Marks our routes in the kernel's tables (`ip route show proto 201`); free in Debian's and
/// iproute2's lists of routing protocols.
pub const ROUTE_PROTOCOL: u8 = 201;

/// Inside of a 1500-byte underlay, less WireGuard's 80 bytes over IPv6.
pub const TUNNEL_MTU_BYTES: u32 = 1420;

/// The kernel's view, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    pub links: BTreeMap<String, Link>,
    pub addresses: Vec<Address>,
    /// Our routes of the main table.
    pub ours: BTreeMap<IpNet, Route>,
    /// Prefixes of our barriers in the main table.
    pub barriers: BTreeSet<IpNet>,
    /// Prefixes of the main table that somebody else's route has.
    pub foreign: BTreeSet<IpNet>,
    /// The largest packets, in bytes, that come through to prefixes behind the tunnel, where probes
    /// found out.
    pub path_mtus: BTreeMap<IpNet, u16>,
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

/// One change of the kernel's network configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    AddAddress {
        link: u32,
        address: IpAddr,
    },
    DeleteBarrier(IpNet),
    DeleteRoute(IpNet),
    /// An unreachable route with the worst metric. It takes over whenever the route into the tunnel
    /// goes away, as it does with the device: else the default route would lead to the underlay,
    /// on whichever interface that is.
    PutBarrier(IpNet),
    PutRoute(IpNet, Route),
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

/// Lists the changes for `desired`, with the tunnel device called `tunnel`.
///
/// With `keep_unknown`, no route is removed. Barriers come before the routes they stand behind, and
/// go after them.
pub fn plan(observed: &Observed, desired: &Desired, tunnel: &str, keep_unknown: bool) -> Plan {
    let mut plan = Plan::default();
    let missing = desired
        .prefixes
        .keys()
        .filter(|it| !observed.barriers.contains(it));
    plan.actions
        .extend(missing.map(|it| Action::PutBarrier(*it)));
    let own = desired.own.as_ref();
    let own_v4 = own.and_then(|it| it.address).map(IpAddr::V4);
    let own_v6 = own.and_then(|it| it.address_v6).map(IpAddr::V6);
    let tunnel = observed.links.get(tunnel);
    if let Some(link) = tunnel {
        if !link.up || link.mtu_bytes != TUNNEL_MTU_BYTES {
            plan.actions.push(Action::SetUp { link: link.index });
        }
        let present = |address| observed.addresses.iter().any(|it| it.address == address);
        let link = link.index;
        let missing = own_v4.into_iter().chain(own_v6).filter(|it| !present(*it));
        plan.actions
            .extend(missing.map(|address| Action::AddAddress { link, address }));
    }

    let own_address = |prefix: &IpNet| match prefix {
        IpNet::V4(_) => own_v4,
        IpNet::V6(_) => own_v6,
    };
    let mut routes = BTreeMap::new();
    for (prefix, via) in &desired.routes {
        if observed.foreign.contains(prefix) {
            if *via == Via::Tunnel {
                plan.problems.insert(occupied(*prefix));
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
                .map(|(link, address)| Route {
                    link: link.index,
                    gateway: None,
                    source: Some(address),
                    mtu_bytes: path_mtu(observed, prefix),
                }),
        };
        routes.extend(route.map(|it| (*prefix, it)));
    }
    let changes = diff(&observed.ours, &routes).into_iter();
    plan.actions
        .extend(changes.filter_map(|change| match change {
            Change::Delete(_) if keep_unknown => None,
            Change::Delete(prefix) => Some(Action::DeleteRoute(prefix)),
            Change::Put(prefix, route) => Some(Action::PutRoute(prefix, route)),
        }));
    let obsolete = observed
        .barriers
        .iter()
        .filter(|it| !keep_unknown && !desired.prefixes.contains_key(it));
    plan.actions
        .extend(obsolete.map(|it| Action::DeleteBarrier(*it)));
    plan
}

fn path_mtu(observed: &Observed, prefix: &IpNet) -> Option<u32> {
    let found = observed.path_mtus.get(prefix).map(|it| u32::from(*it));
    found.filter(|it| *it < TUNNEL_MTU_BYTES)
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

fn occupied(prefix: IpNet) -> Problem {
    Problem {
        what: format!("somebody else's route for {prefix} keeps it out of the tunnel"),
        remedy: format!("remove it: ip route del {prefix}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use crate::desired::OwnNode;

    use super::*;

    #[test]
    fn brings_the_tunnel_up_and_routes_through_it() {
        let plan = plan(&observed(), &desired(), "wg", false);

        assert_eq!(
            plan.actions,
            [
                Action::PutBarrier(net("10.2.1.0/24")),
                Action::SetUp { link: 7 },
                Action::AddAddress {
                    link: 7,
                    address: OWN
                },
                Action::PutRoute(net("10.1.2.0/24"), NEIGHBOR),
                Action::PutRoute(net("10.2.1.0/24"), TUNNEL),
            ]
        );
        assert!(plan.problems.is_empty());
    }

    #[test]
    fn routes_ipv6_from_an_address_of_its_kind() {
        let prefix = net("fd02::/64");
        let mut desired = desired();
        desired.prefixes.insert(prefix, 2);
        desired.routes.insert(prefix, Via::Tunnel);
        assert_eq!(
            plan(&settled(), &desired, "wg", false).actions,
            [Action::PutBarrier(prefix)],
            "this node has no address there yet"
        );

        let own = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1);
        desired.own.as_mut().unwrap().address_v6 = Some(own);
        let address = own.into();
        let route = Route {
            source: Some(address),
            ..TUNNEL
        };
        let expected = [
            Action::PutBarrier(prefix),
            Action::AddAddress { link: 7, address },
            Action::PutRoute(prefix, route),
        ];
        assert_eq!(plan(&settled(), &desired, "wg", false).actions, expected);
    }

    #[test]
    fn does_nothing_once_done() {
        assert_eq!(plan(&settled(), &desired(), "wg", false), Plan::default());
    }

    #[test]
    fn removes_only_its_own_routes_and_only_when_it_may() {
        let mut observed = settled();
        observed.foreign.insert(net("10.9.0.0/16"));
        observed.ours.insert(net("10.8.0.0/16"), TUNNEL);
        observed.barriers.insert(net("10.8.0.0/16"));

        let actions = plan(&observed, &desired(), "wg", false).actions;

        assert_eq!(
            actions,
            [
                Action::DeleteRoute(net("10.8.0.0/16")),
                Action::DeleteBarrier(net("10.8.0.0/16")),
            ]
        );
        assert_eq!(plan(&observed, &desired(), "wg", true).actions, []);
    }

    #[test]
    fn names_a_route_that_keeps_traffic_out_of_the_tunnel() {
        let mut observed = settled();
        observed.ours.clear();
        observed.foreign = [net("10.1.2.0/24"), net("10.2.1.0/24")].into();

        let plan = plan(&observed, &desired(), "wg", false);

        assert_eq!(plan.actions, []);
        assert_eq!(plan.problems, [occupied(net("10.2.1.0/24"))].into());
    }

    #[test]
    fn leaves_nodes_behind_a_router_to_the_underlay() {
        let mut observed = settled();
        observed.addresses.retain(|it| it.link == 7);
        observed.ours.remove(&net("10.1.2.0/24"));

        assert_eq!(plan(&observed, &desired(), "wg", false), Plan::default());
    }

    #[test]
    fn waits_for_a_device_that_is_not_there() {
        let mut observed = observed();
        observed.links.clear();

        let actions = plan(&observed, &desired(), "wg", false).actions;

        assert_eq!(
            actions,
            [
                Action::PutBarrier(net("10.2.1.0/24")),
                Action::PutRoute(net("10.1.2.0/24"), NEIGHBOR)
            ]
        );
    }

    #[test]
    fn tells_a_route_of_a_path_that_carries_less_and_only_then() {
        let mut observed = settled();
        observed.path_mtus.insert(net("10.2.1.0/24"), 1_420);
        assert_eq!(plan(&observed, &desired(), "wg", false), Plan::default());

        observed.path_mtus.insert(net("10.2.1.0/24"), 1_371);
        let narrow = Route {
            mtu_bytes: Some(1_371),
            ..TUNNEL
        };
        assert_eq!(
            plan(&observed, &desired(), "wg", false).actions,
            [Action::PutRoute(net("10.2.1.0/24"), narrow)]
        );

        observed.ours.insert(net("10.2.1.0/24"), narrow);
        observed.path_mtus.clear();
        assert_eq!(
            plan(&observed, &desired(), "wg", false).actions,
            [Action::PutRoute(net("10.2.1.0/24"), TUNNEL)]
        );
    }

    const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1));
    const NEIGHBOR: Route = Route {
        link: 2,
        gateway: Some(Ipv4Addr::new(192, 0, 2, 12)),
        source: None,
        mtu_bytes: None,
    };
    const TUNNEL: Route = Route {
        link: 7,
        gateway: None,
        source: Some(OWN),
        mtu_bytes: None,
    };

    fn desired() -> Desired {
        Desired {
            own: Some(OwnNode {
                address: Some(Ipv4Addr::new(10, 1, 1, 1)),
                ..OwnNode::default()
            }),
            routes: BTreeMap::from([
                (net("10.1.2.0/24"), Via::Node(Ipv4Addr::new(192, 0, 2, 12))),
                (net("10.2.1.0/24"), Via::Tunnel),
            ]),
            prefixes: BTreeMap::from([(net("10.2.1.0/24"), 2)]),
            ..Desired::default()
        }
    }

    /// Before anything was done: a tunnel device that is down, and an underlay.
    fn observed() -> Observed {
        let link = Link {
            index: 7,
            up: false,
            mtu_bytes: 1500,
        };
        Observed {
            links: BTreeMap::from([("wg".to_owned(), link)]),
            addresses: vec![Address {
                link: 2,
                address: Ipv4Addr::new(192, 0, 2, 11).into(),
                prefix_bits: 24,
            }],
            ..Observed::default()
        }
    }

    /// After everything was done.
    fn settled() -> Observed {
        let mut observed = observed();
        let link = Link {
            index: 7,
            up: true,
            mtu_bytes: TUNNEL_MTU_BYTES,
        };
        observed.links.insert("wg".to_owned(), link);
        observed.addresses.push(Address {
            link: 7,
            address: OWN,
            prefix_bits: 32,
        });
        observed.barriers = [net("10.2.1.0/24")].into();
        observed.ours =
            BTreeMap::from([(net("10.1.2.0/24"), NEIGHBOR), (net("10.2.1.0/24"), TUNNEL)]);
        observed
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }
}
