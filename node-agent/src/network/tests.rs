use std::net::Ipv6Addr;

use crate::desired::OwnNode;

use super::*;

#[test]
fn brings_the_tunnel_up_and_routes_through_it() {
    let plan = plan(&observed(), &desired(), "wg", false);

    assert_eq!(
        plan.actions,
        [
            Action::PutBarrier(Table::Main, net("10.2.1.0/24")),
            Action::SetUp { link: 7 },
            Action::AddAddress {
                link: 7,
                address: OWN
            },
            Action::PutRoute(Table::Main, net("10.1.2.0/24"), NEIGHBOR),
            Action::PutRoute(Table::Main, net("10.2.1.0/24"), TUNNEL),
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
        [Action::PutBarrier(Table::Main, prefix)],
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
        Action::PutBarrier(Table::Main, prefix),
        Action::AddAddress { link: 7, address },
        Action::PutRoute(Table::Main, prefix, route),
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
    observed.foreign.insert(net("10.9.0.0/16"), 0);
    observed.main.routes.insert(net("10.8.0.0/16"), TUNNEL);
    observed.main.barriers.insert(net("10.8.0.0/16"));

    let actions = plan(&observed, &desired(), "wg", false).actions;

    assert_eq!(
        actions,
        [
            Action::DeleteRoute(Table::Main, net("10.8.0.0/16")),
            Action::DeleteBarrier(Table::Main, net("10.8.0.0/16")),
        ]
    );
    assert_eq!(plan(&observed, &desired(), "wg", true).actions, []);
}

#[test]
fn names_a_route_that_keeps_traffic_out_of_the_tunnel() {
    let mut observed = settled();
    observed.main.routes.clear();
    observed.foreign = [(net("10.1.2.0/24"), 0), (net("10.2.1.0/24"), 0)].into();

    let plan = plan(&observed, &desired(), "wg", false);

    assert_eq!(plan.actions, []);
    assert_eq!(plan.problems, [occupied(net("10.2.1.0/24"), 0)].into());
}

#[test]
fn is_not_kept_from_the_tunnel_by_a_route_that_the_kernel_likes_less() {
    let (v4, v6) = (net("10.2.1.0/24"), net("fd02::/64"));
    let mut desired = desired();
    desired.own.as_mut().unwrap().address_v6 = Some(Ipv6Addr::LOCALHOST);
    desired.prefixes.insert(v6, 2);
    desired.routes.insert(v6, Via::Tunnel);
    for (metrics, free) in [
        ([1, 1_025], [v4, v6].as_slice()),
        ([1, 1_024], &[v4]),
        ([0, 1_025], &[v6]),
        ([0, 256], &[]),
    ] {
        let mut observed = settled();
        observed.main.routes.clear();
        observed.foreign = [v4, v6].into_iter().zip(metrics).collect();

        let plan = plan(&observed, &desired, "wg", false);

        let routed = plan.actions.iter().filter_map(|it| {
            let Action::PutRoute(Table::Main, prefix, Route { link: 7, .. }) = it else {
                return None;
            };
            Some(*prefix)
        });
        assert_eq!(routed.collect::<Vec<_>>(), free, "{metrics:?}");
        assert_eq!(plan.problems.len(), 2 - free.len());
    }
}

#[test]
fn says_when_a_carrier_does_not_forward() {
    let mut observed = settled();
    observed.not_forwarding = vec!["net.ipv4.conf.wg.forwarding".to_owned()];
    let mut desired = desired();
    assert_eq!(plan(&observed, &desired, "wg", false), Plan::default());

    desired.is_carrier_for_others = true;

    let problems = plan(&observed, &desired, "wg", false).problems;
    assert_eq!(problems, [stuck("net.ipv4.conf.wg.forwarding")].into());
}

#[test]
fn leaves_nodes_behind_a_router_to_the_underlay() {
    let mut observed = settled();
    observed.addresses.retain(|it| it.link == 7);
    observed.main.routes.remove(&net("10.1.2.0/24"));

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
            Action::PutBarrier(Table::Main, net("10.2.1.0/24")),
            Action::PutRoute(Table::Main, net("10.1.2.0/24"), NEIGHBOR)
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
        [Action::PutRoute(Table::Main, net("10.2.1.0/24"), narrow)]
    );

    observed.main.routes.insert(net("10.2.1.0/24"), narrow);
    observed.path_mtus.clear();
    assert_eq!(
        plan(&observed, &desired(), "wg", false).actions,
        [Action::PutRoute(Table::Main, net("10.2.1.0/24"), TUNNEL)]
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
    observed.main.barriers = [net("10.2.1.0/24")].into();
    observed.main.routes =
        BTreeMap::from([(net("10.1.2.0/24"), NEIGHBOR), (net("10.2.1.0/24"), TUNNEL)]);
    observed
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}
