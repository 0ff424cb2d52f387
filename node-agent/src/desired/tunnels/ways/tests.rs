//! Follows packets from pod to pod, through what each node on the way would do with them.

use std::collections::BTreeSet;

use ipnet::IpNet;
use proptest::prelude::*;
use topology::id::{ClusterName, NodeName};

use crate::desired::{Desired, Encrypt, GatewaySpread, Ways};

mod world;

use world::{World, key, place, prefix};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_ends_agree_on_every_way(
        gateways in marked(0..4),
        down in prop::collection::btree_set((0_usize..2, 1_u8..=4), 0..3),
        encrypt in prop_oneof![Just(Encrypt::Clusters), Just(Encrypt::Nodes), Just(Encrypt::All)],
        spread in prop_oneof![Just(GatewaySpread::Flow), Just(GatewaySpread::Node)],
    ) {
        let world = World { gateways, encrypt, spread, ..World::default() };
        let world = world.with_down(down).derived();
        world.follow_all()?;
    }

    /// Whatever each node thinks of the others.
    #[test]
    fn no_packet_circles_between_relays(
        relays in marked(0..4),
        cut in prop::collection::btree_set((1_u8..=4, 1_u8..=4), 0..10),
        down in prop::collection::btree_set((0_usize..2, 1_u8..=4), 0..3),
    ) {
        let world = World { relays, cut, ..World::default() };
        world.with_down(down).derived().follow_all()?;
    }

    #[test]
    fn relays_go_around_every_cut_between_others(
        relays in marked(0..3),
        cut in prop::collection::btree_set((1_u8..=4, 1_u8..=4), 0..16),
    ) {
        prop_assume!(relays.iter().any(|it| !it.is_empty()));
        let is_between_others = |(one, other): &(u8, u8)| {
            !relays[0].contains(one) && !relays[1].contains(other)
        };
        let cut = cut.into_iter().filter(is_between_others).collect();
        let world = World { relays, cut, ..World::default() }.derived();
        world.follow_all()?;
        for (one, other) in &world.cut {
            for (here, there) in [((0, *one), (1, *other)), ((1, *other), (0, *one))] {
                let sent = &world.desired[&here].allowed_ips[&prefix(there)].sent;
                prop_assert!(!sent.contains(&key(there)), "{:?} to {:?}", here, there);
            }
        }
    }
}

#[test]
fn moves_only_what_a_lost_gateway_carried() {
    let world = || World {
        gateways: [BTreeSet::from([1, 2, 3]), BTreeSet::new()],
        ..World::default()
    };
    let before = world().derived();
    let after = world().with_down([(0, 2)].into()).derived();

    let carrier = |world: &World| world.ways((0, 4), (1, 1)).first;

    let (was, is) = (carrier(&before), carrier(&after));
    assert!(was == is || was == key((0, 2)));
    assert_ne!(is, key((0, 2)));
}

#[test]
fn gives_everything_to_a_gateway_that_is_down_when_none_is_up() {
    for spread in [GatewaySpread::Flow, GatewaySpread::Node] {
        let world = World {
            gateways: [[1].into(), [].into()],
            spread,
            ..World::default()
        };
        let world = world.with_down([(0, 1)].into()).derived();

        assert_eq!(world.ways((0, 4), (1, 1)), &Ways::only(key((0, 1))));
    }
}

#[test]
fn sends_flows_through_every_gateway_that_is_up_and_takes_them_from_all() {
    let world = World {
        gateways: [[1, 2, 3].into(), [].into()],
        spread: GatewaySpread::Flow,
        ..World::default()
    };
    let world = world.with_down([(0, 2)].into()).derived();

    for (from, to) in [((0, 4), (1, 1)), ((1, 1), (0, 4))] {
        let ways = world.ways(from, to);
        assert_eq!(ways.sent, [key((0, 1)), key((0, 3))].into());
        assert_eq!(ways.accepted, [key((0, 2))].into());
        assert!(ways.sent.contains(&ways.first));
    }
    let between_gateways = world.ways((0, 1), (1, 1));
    assert_eq!(between_gateways, &Ways::only(key((1, 1))));
}

#[test]
fn goes_straight_as_long_as_it_can_and_takes_from_relays_all_the_time() {
    let world = World {
        relays: [[1].into(), [2].into()],
        ..World::default()
    };

    let ways = world.derived().ways((0, 4), (1, 4)).clone();

    assert_eq!(ways.sent, [key((1, 4))].into());
    assert_eq!(ways.accepted, [key((0, 1)), key((1, 2))].into());
}

#[test]
fn looks_straight_for_the_address_of_a_node_that_is_cut_off() {
    let world = World {
        relays: [[1].into(), [].into()],
        cut: [(4, 4)].into(),
        ..World::default()
    };
    let world = world.derived();

    let desired = &world.desired[&(0, 4)];
    let host: IpNet = "10.2.4.1/32".parse().unwrap();
    let straight = Ways {
        accepted: [key((0, 1))].into(),
        ..Ways::only(key((1, 4)))
    };
    assert_eq!(desired.allowed_ips[&host], straight);
    let relayed = world.ways((0, 4), (1, 4));
    assert_eq!(relayed.sent, [key((0, 1))].into());
    assert_eq!(relayed.accepted, [key((1, 4))].into());
    let (node, relay) = desired.detours.first_key_value().unwrap();
    assert_eq!(
        (&*named(node), relay.as_ref().map(named)),
        ("us/node-4", Some("eu/node-1".to_owned()))
    );
    assert_eq!(desired.problems, BTreeSet::new());
    assert!(world.desired[&(0, 1)].is_carrier_for_others);
    assert!(!desired.is_carrier_for_others);
}

#[test]
fn leaves_a_relay_that_does_not_get_on() {
    let world = |deaf| World {
        relays: [[1, 2].into(), [].into()],
        cut: [(4, 4)].into(),
        deaf,
        ..World::default()
    };
    let relay = |deaf| place(world(deaf).derived().ways((0, 4), (1, 4)).first);

    let (cluster, first) = relay(None);
    let (_, second) = relay(Some(first));

    assert_eq!((cluster, first + second), (0, 3), "one after the other");
    let names = |it: &Desired| {
        it.own_relays
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let world = world(None).derived();
    assert_eq!(names(&world.desired[&(0, 4)]), ["node-1", "node-2"]);
    assert!(
        names(&world.desired[&(0, 1)]).is_empty(),
        "a relay gives them nothing"
    );
    assert!(
        names(&world.desired[&(1, 4)]).is_empty(),
        "they are not its own"
    );
}

#[test]
fn says_once_for_each_cluster_that_nothing_leads_there() {
    let world = World {
        cut: [(4, 3), (4, 4)].into(),
        ..World::default()
    };
    let world = world.derived();

    let desired = &world.desired[&(0, 4)];
    assert_eq!(world.ways((0, 4), (1, 4)), &Ways::only(key((1, 4))));
    let problems: Vec<&str> = desired.problems.iter().map(|it| &*it.what).collect();
    let expected = "nothing comes back from us/node-3, nor from 1 other node of the cluster, and there is no relay to go through";
    assert_eq!(problems, [expected]);
    assert!(world.desired[&(0, 3)].problems.is_empty());

    let mended = World {
        is_mended: true,
        ..world
    };
    assert!(mended.derived().desired[&(0, 4)].problems.is_empty());
}

fn named((cluster, node): &(ClusterName, NodeName)) -> String {
    format!("{cluster}/{node}")
}

/// Some nodes of each cluster.
fn marked(count: std::ops::Range<usize>) -> impl Strategy<Value = [BTreeSet<u8>; 2]> {
    let some = || prop::collection::btree_set(1_u8..=4, count.clone());
    [some(), some()]
}
