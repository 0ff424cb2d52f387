use std::collections::BTreeMap;

use proptest::prelude::*;
use wireguard::uapi::{PeerState, UnixTime};

use super::*;
use crate::desired::{NodeEnd, OwnNode};
use crate::network::{Address, Ours, plan as plan_network};

const NOW: u64 = 1_700_000_000;

#[test]
fn leads_into_tunnels_that_carry_and_whose_other_end_takes_part() {
    use Health::{Healthy, Unhealthy, Unknown};
    for (health, said, is_led_before, is_led) in [
        (Some(Healthy), Some(true), false, true),
        (Some(Healthy), Some(false), true, false),
        (Some(Unhealthy), Some(true), true, false),
        (Some(Unhealthy), None, true, false),
        // As after a restart of either agent.
        (Some(Unknown), None, true, true),
        (Some(Unknown), None, false, false),
        (Some(Healthy), None, false, false),
        (None, None, true, true),
    ] {
        let mut world = World::new();
        world.health.clear();
        world.said.clear();
        world.health.extend(health.map(|it| (key(2), it)));
        world.said.extend(said.map(|it| (key(2), it)));
        if is_led_before {
            world.observed.nodes.routes.insert(net(NEIGHBOR), ROUTE);
        }

        world.plan(false);

        assert_eq!(
            world.observed.nodes.routes.contains_key(&net(NEIGHBOR)),
            is_led,
            "{health:?} {said:?} {is_led_before}"
        );
    }
}

#[test]
fn tells_of_itself_only_what_the_device_does() {
    let mut world = World::new();
    assert_eq!(ready(&world.desired, &world.device), [key(2)].into());
    assert_eq!(problem(&world.desired, &world.said), None);

    world
        .device
        .peers
        .get_mut(&key(2))
        .unwrap()
        .allowed_ips
        .clear();
    assert_eq!(ready(&world.desired, &world.device), [].into());
    world.plan(false);
    assert!(world.observed.nodes.routes.is_empty());
}

#[test]
fn believes_other_clusters_only_where_their_tunnels_end() {
    for (endpoint, is_of_another_cluster, is_led) in [
        ("192.0.2.12:51871", true, true),
        ("[::ffff:192.0.2.12]:7", true, true),
        ("203.0.113.7:51871", true, false),
        ("203.0.113.7:51871", false, true),
    ] {
        let mut world = World::new();
        let end = world.desired.nodes.get_mut(&net(NEIGHBOR)).unwrap();
        end.is_of_another_cluster = is_of_another_cluster;
        world.device(Some(10), endpoint);

        world.plan(false);

        assert_eq!(
            !world.observed.nodes.routes.is_empty(),
            is_led,
            "{endpoint}"
        );
    }
}

#[test]
fn waits_behind_a_barrier_where_it_is_strict() {
    let mut world = World::new();
    world.desired.is_strict_between_nodes = true;
    world.health.insert(key(2), Health::Unhealthy);

    world.plan(false);
    assert_eq!(world.observed.nodes.routes, [(net(NEIGHBOR), ROUTE)].into());
    assert_eq!(world.observed.nodes.barriers, [net(NEIGHBOR)].into());

    world.observed.links.clear();
    world.observed.nodes.routes.clear();
    world.plan(false);
    assert_eq!(world.observed.nodes.barriers, [net(NEIGHBOR)].into());

    world.desired.is_strict_between_nodes = false;
    world.plan(false);
    assert_eq!(world.observed.nodes, Ours::default());
}

#[test]
fn holds_back_nothing_that_is_not_proven_to_be_of_another_cluster() {
    for (endpoint, age_seconds, is_held_before, is_held) in [
        ("203.0.113.7:51871", Some(10), true, false),
        ("192.0.2.12:51871", Some(10), false, true),
        ("192.0.2.12:51871", None, false, false),
        // A device that was started anew.
        ("192.0.2.12:51871", None, true, true),
    ] {
        let mut world = World::new();
        world.desired.is_strict_between_nodes = true;
        let end = world.desired.nodes.get_mut(&net(NEIGHBOR)).unwrap();
        end.is_of_another_cluster = true;
        world.device(age_seconds, endpoint);
        if is_held_before {
            world.observed.nodes.barriers.insert(net(NEIGHBOR));
        }

        world.plan(false);

        let is = world.observed.nodes.barriers.contains(&net(NEIGHBOR));
        assert_eq!(is, is_held, "{endpoint} {age_seconds:?} {is_held_before}");
    }
}

#[test]
fn keeps_what_it_does_not_know_unless_that_may_be_why() {
    for (is_stranded, age_seconds, is_kept) in [
        (false, None, true),
        (true, Some(10), true),
        (true, Some(190), false),
        (true, None, false),
    ] {
        let mut world = World::new();
        world.desired = Desired::default();
        world.is_stranded = is_stranded;
        world.device(age_seconds, "192.0.2.12:51871");
        world.observed.nodes.routes.insert(net(NEIGHBOR), ROUTE);
        world.observed.rules = rules();

        world.plan(true);

        assert_eq!(!world.observed.nodes.routes.is_empty(), is_kept);
        assert_eq!(world.observed.rules, rules());
    }
}

#[test]
fn says_that_it_has_no_address_to_speak_with() {
    let mut world = World::new();
    world.observed.addresses.clear();

    let plan = world.plan(false);

    assert!(world.observed.nodes.routes.is_empty());
    assert_eq!(plan.problems, [homeless(&net(NEIGHBOR))].into());
}

#[test]
fn never_lets_the_tunnels_find_the_table() {
    let mut world = World::new();
    world.plan(false);
    assert_eq!(world.observed.rules, rules());

    world.desired = Desired::default();
    world.plan(false);
    assert!(world.observed.rules.is_empty());
}

proptest! {
    /// Whatever there was before, of ours.
    #[test]
    fn is_done_after_one_plan(
        healthy: bool, strict: bool, enabled: bool, keep_unknown: bool,
        inherited in proptest::sample::subsequence(rules().into_iter().collect::<Vec<_>>(), 0..10),
        routes in proptest::sample::subsequence(vec![NEIGHBOR, "192.0.2.99/32"], 0..=2),
    ) {
        let mut world = World::new();
        if !enabled {
            world.desired = Desired::default();
        }
        world.desired.is_strict_between_nodes = strict && enabled;
        let health = if healthy { Health::Healthy } else { Health::Unhealthy };
        world.health.insert(key(2), health);
        world.observed.rules = inherited.into_iter().collect();
        world.observed.nodes.routes = routes.into_iter().map(|it| (net(it), ROUTE)).collect();

        world.plan(keep_unknown);

        let again = world.plan(keep_unknown);
        prop_assert_eq!(again.actions, []);
        if enabled {
            prop_assert_eq!(&world.observed.rules, &rules());
        }
    }
}

const NEIGHBOR: &str = "192.0.2.12/32";
const ROUTE: Route = Route {
    link: 7,
    gateway: None,
    source: Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 11))),
    mtu_bytes: None,
};

/// A node with one neighbor that takes part, and what it knows of it.
struct World {
    desired: Desired,
    observed: Observed,
    health: BTreeMap<PublicKey, Health>,
    said: BTreeMap<PublicKey, bool>,
    device: DeviceState,
    is_stranded: bool,
}

impl World {
    fn new() -> Self {
        let end = NodeEnd {
            key: key(2),
            is_of_another_cluster: false,
        };
        let own: IpAddr = [192, 0, 2, 11].into();
        let mut world = Self {
            desired: Desired {
                own: Some(OwnNode {
                    internal: vec![[192, 0, 2, 77].into(), own],
                    ..OwnNode::default()
                }),
                node_encryption: NodeEncryption::Enabled,
                nodes: [(net(NEIGHBOR), end)].into(),
                ..Desired::default()
            },
            observed: Observed {
                links: [("wg".to_owned(), LINK)].into(),
                addresses: vec![Address {
                    link: 2,
                    address: own,
                    prefix_bits: 24,
                }],
                ..Observed::default()
            },
            health: [(key(2), Health::Healthy)].into(),
            said: [(key(2), true)].into(),
            device: DeviceState::default(),
            is_stranded: false,
        };
        world.device(Some(10), "192.0.2.12:51871");
        world
    }

    /// The device has the neighbor, with a handshake so long ago.
    fn device(&mut self, age_seconds: Option<u64>, endpoint: &str) {
        let peer = PeerState {
            endpoint: Some(endpoint.parse().unwrap()),
            allowed_ips: [net(NEIGHBOR)].into(),
            last_handshake: age_seconds.map(|it| UnixTime {
                seconds: NOW - it,
                nanoseconds: 0,
            }),
            ..PeerState::default()
        };
        self.device.peers = [(key(2), peer)].into();
    }

    /// Plans, and does what is planned.
    fn plan(&mut self, keep_unknown: bool) -> Plan {
        let sight = Sight {
            health: &self.health,
            said: &self.said,
            device: Some(&self.device),
            now_unix_seconds: NOW,
            is_stranded: self.is_stranded,
        };
        self.observed.ways = ways(&self.desired, &self.observed, sight);
        let plan = plan_network(&self.observed, &self.desired, "wg", keep_unknown);
        for action in &plan.actions {
            self.execute(*action);
        }
        plan
    }

    fn execute(&mut self, action: Action) {
        let Observed { nodes, rules, .. } = &mut self.observed;
        match action {
            Action::AddRule(rule) => {
                if let Rule::Protocol(family, _) = rule {
                    let before = [Rule::End(family), Rule::Tunnels(family)];
                    assert!(before.iter().all(|it| rules.contains(it)));
                }
                assert!(rules.insert(rule));
            }
            Action::DeleteBarrier(Table::Nodes, prefix) => assert!(nodes.barriers.remove(&prefix)),
            Action::DeleteRoute(Table::Nodes, prefix) => {
                assert!(nodes.routes.remove(&prefix).is_some());
            }
            Action::DeleteRule(rule) => {
                assert!(rules.remove(&rule));
                let looks_up =
                    |it: &Rule| matches!(it, Rule::Protocol(family, _) if *family == rule.family());
                let is_last = matches!(rule, Rule::Protocol(..)) || !rules.iter().any(looks_up);
                assert!(is_last, "tunnels lead into themselves without {rule:?}");
            }
            Action::PutBarrier(Table::Nodes, prefix) => assert!(nodes.barriers.insert(prefix)),
            Action::PutRoute(Table::Nodes, prefix, route) => {
                nodes.routes.insert(prefix, route);
            }
            Action::AddAddress { .. }
            | Action::DeleteBarrier(Table::Main, _)
            | Action::DeleteRoute(Table::Main, _)
            | Action::PutBarrier(Table::Main, _)
            | Action::PutRoute(Table::Main, ..)
            | Action::SetUp { .. } => panic!("{action:?} is none of the table's"),
        }
    }
}

const LINK: Link = Link {
    index: 7,
    up: true,
    mtu_bytes: crate::network::TUNNEL_MTU_BYTES,
};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn key(byte: u8) -> PublicKey {
    PublicKey::from([byte; 32])
}
