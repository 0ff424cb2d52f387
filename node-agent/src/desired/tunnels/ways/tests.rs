//! Follows packets from pod to pod, through what each node on the way would do with them.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use proptest::prelude::*;
use topology::health::Health;
use topology::id::{ClusterName, NodeName};
use topology::mesh::{Event, Mesh};
use wireguard::PublicKey;

use crate::desired::{
    Desired, Encrypt, GatewaySpread, Identity, OptOut, Policy, Via, Ways, desired,
};

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

/// The cluster's index, and the node's number in it.
type Place = (usize, u8);

const CLUSTERS: [&str; 2] = ["eu", "us"];

/// Two clusters of four nodes, as each node sees them.
#[derive(Clone, Debug, Default)]
struct World {
    gateways: [BTreeSet<u8>; 2],
    relays: [BTreeSet<u8>; 2],
    encrypt: Encrypt,
    spread: GatewaySpread,
    /// Nodes that answer nobody.
    down: BTreeSet<Place>,
    /// Nodes of the first cluster, each with one of the second that it does not reach, and that does
    /// not reach it.
    cut: BTreeSet<(u8, u8)>,
    /// Probes find again what was cut, which has not been trusted for long enough.
    is_mended: bool,
    /// A node of the first cluster that says that it reaches nobody in the second.
    deaf: Option<u8>,
    desired: BTreeMap<Place, Desired>,
}

impl World {
    fn with_down(self, down: BTreeSet<Place>) -> Self {
        Self { down, ..self }
    }

    fn derived(mut self) -> Self {
        let places = (0..2).flat_map(|cluster| (1..=4).map(move |node| (cluster, node)));
        let desired = places.map(|place| (place, self.derive(place)));
        self.desired = desired.collect();
        self
    }

    fn derive(&self, own: Place) -> Desired {
        let cut: BTreeSet<Place> = match own {
            (0, number) => self
                .cut
                .iter()
                .filter(|it| it.0 == number)
                .map(|it| (1, it.1))
                .collect(),
            (_, number) => self
                .cut
                .iter()
                .filter(|it| it.1 == number)
                .map(|it| (0, it.0))
                .collect(),
        };
        let missed = cut.iter().filter(|_| !self.is_mended);
        let lost: BTreeSet<&Place> = missed.chain(&self.down).collect();
        let health: BTreeMap<PublicKey, Health> = lost
            .into_iter()
            .map(|it| (key(*it), Health::Unhealthy))
            .collect();
        let cut_off = cut.iter().map(|(cluster, number)| {
            let node = format!("node-{number}");
            (CLUSTERS[*cluster].parse().unwrap(), node.parse().unwrap())
        });
        let policy = Policy {
            encrypt: self.encrypt,
            spread: self.spread,
            opt_out: &OptOut::default(),
            is_strict_between_nodes: false,
            health: &health,
            cut_off: &cut_off.collect(),
        };
        let (mut mesh, identity) = mesh(own, &self.gateways, &self.relays);
        for deaf in self.deaf.iter().filter(|_| own.0 == 0) {
            let reach = r#"{"clusters":{"us":{"health":"unhealthy","sinceUnixMilliseconds":1}}}"#;
            let rejected = mesh.apply(Event::Put {
                key: format!("causeway/agents/reach/v1/eu/node-{deaf}"),
                value: reach.as_bytes().to_vec(),
            });
            assert!(rejected.is_empty(), "{rejected:?}");
        }
        desired(&mesh, &identity, policy)
    }

    fn ways(&self, from: Place, to: Place) -> &Ways {
        &self.desired[&from].allowed_ips[&prefix(to)]
    }

    fn follow_all(&self) -> Result<(), TestCaseError> {
        for from in 1..=4 {
            for to in 1..=4 {
                self.follow((0, from), (0, from), (1, to), HOPS_MAX)?;
                self.follow((1, from), (1, from), (0, to), HOPS_MAX)?;
                self.follow((0, from), (0, from), (0, to), HOPS_MAX)?;
            }
        }
        Ok(())
    }

    /// A packet from a pod to another, hop by hop, on every way that it may take.
    fn follow(&self, here: Place, from: Place, to: Place, hops: u8) -> Result<(), TestCaseError> {
        if here == to {
            return Ok(());
        }
        prop_assert!(
            0 < hops,
            "{:?} to {:?} is not there yet at {:?}",
            from,
            to,
            here
        );
        let via = self.desired[&here].routes.get(&prefix(to));
        if here.0 == to.0 && matches!(via, Some(Via::Node(_))) {
            prop_assert_eq!(from.0, to.0, "no plaintext between clusters");
            return Ok(());
        }
        prop_assert_eq!(via, Some(&Via::Tunnel));
        for next in &self.ways(here, to).sent {
            let next = place(*next);
            let taken = self.ways(next, from);
            let sender = key(here);
            prop_assert!(
                taken.sent.contains(&sender) || taken.accepted.contains(&sender),
                "{:?} to {:?} at {:?} from {:?} with {:?}",
                from,
                to,
                next,
                here,
                taken
            );
            self.follow(next, from, to, hops - 1)?;
        }
        Ok(())
    }
}

/// From a node to a gateway or relay, from there to another one, and to the node.
const HOPS_MAX: u8 = 3;

fn mesh(own: Place, gateways: &[BTreeSet<u8>; 2], relays: &[BTreeSet<u8>; 2]) -> (Mesh, Identity) {
    let own_cluster = CLUSTERS[own.0];
    let mut mesh = Mesh::new(own_cluster.parse().unwrap());
    let mut entries = Vec::new();
    for (index, cluster) in CLUSTERS.iter().enumerate() {
        let id = index + 1;
        let config = format!(r#"{{"id":{id},"capabilities":{{}}}}"#);
        entries.push((
            format!("cilium/cluster-config/{cluster}"),
            config.into_bytes(),
        ));
        for number in 1..=4 {
            let kind = if index == own.0 { "state" } else { "cache" };
            let gateway = gateways[index].contains(&number);
            let relay = relays[index].contains(&number);
            let record = format!(
                r#"{{"Name":"node-{number}","Cluster":"{cluster}","ClusterID":{id},
                "IPAddresses":[{{"Type":"InternalIP","IP":"192.0.{id}.{number}"}}],
                "IPv4AllocCIDR":{{"IP":"10.{id}.{number}.0","Mask":"////AA=="}},
                "Annotations":{{"causeway.io/gateway":"{gateway}","causeway.io/relay":"{relay}"}},
                "WireguardPubKey":"{}"}}"#,
                key((index, number)).to_base64()
            );
            let name = format!("cilium/{kind}/nodes/v1/{cluster}/node-{number}");
            entries.push((name, record.into_bytes()));
        }
    }
    let rejected = mesh.apply(Event::Listed(entries));
    assert!(rejected.is_empty(), "{rejected:?}");
    let identity = Identity {
        node: format!("node-{}", own.1).parse().unwrap(),
        cluster: own_cluster.parse().unwrap(),
        cluster_id: u32::try_from(own.0 + 1).unwrap().try_into().unwrap(),
    };
    (mesh, identity)
}

fn key((cluster, node): Place) -> PublicKey {
    let mut bytes = [0; 32];
    bytes[0] = u8::try_from(cluster).unwrap();
    bytes[1] = node;
    bytes.into()
}

fn place(key: PublicKey) -> Place {
    let bytes = key.as_bytes();
    (bytes[0].into(), bytes[1])
}

fn prefix((cluster, node): Place) -> IpNet {
    format!("10.{}.{node}.0/24", cluster + 1).parse().unwrap()
}
