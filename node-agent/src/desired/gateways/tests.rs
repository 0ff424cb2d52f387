//! Follows packets from pod to pod, through what each node on the way would do with them.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use proptest::prelude::*;
use topology::health::Health;
use topology::mesh::{Event, Mesh};
use wireguard::PublicKey;

use crate::desired::{Desired, Encrypt, Identity, Policy, Via, desired};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_ends_agree_on_every_way(
        gateways in (prop::collection::btree_set(1_u8..=4, 0..4), prop::collection::btree_set(1_u8..=4, 0..4)),
        down in prop::collection::btree_set((0_usize..2, 1_u8..=4), 0..3),
        encrypt in prop_oneof![Just(Encrypt::Clusters), Just(Encrypt::Nodes)],
    ) {
        let world = World::new([gateways.0, gateways.1], down, encrypt);
        for from in 1..=4 {
            for to in 1..=4 {
                world.follow((0, from), (1, to))?;
                world.follow((1, from), (0, to))?;
                world.follow((0, from), (0, to))?;
            }
        }
    }
}

#[test]
fn moves_only_what_a_lost_gateway_carried() {
    let gateways = || [BTreeSet::from([1, 2, 3]), BTreeSet::new()];
    let before = World::new(gateways(), BTreeSet::new(), Encrypt::Clusters);
    let after = World::new(gateways(), BTreeSet::from([(0, 2)]), Encrypt::Clusters);

    let carrier = |world: &World| world.desired[&(0, 4)].allowed_ips[&prefix((1, 1))];

    let (was, is) = (carrier(&before), carrier(&after));
    assert!(was == is || was == key((0, 2)));
    assert_ne!(is, key((0, 2)));
}

#[test]
fn gives_everything_to_a_gateway_that_is_down_when_none_is_up() {
    let down = BTreeSet::from([(0, 1)]);
    let world = World::new([[1].into(), [].into()], down, Encrypt::Clusters);

    let allowed = &world.desired[&(0, 4)].allowed_ips;

    assert_eq!(allowed[&prefix((1, 1))], key((0, 1)));
}

/// The cluster's index, and the node's number in it.
type Place = (usize, u8);

const CLUSTERS: [&str; 2] = ["eu", "us"];

/// Two clusters of four nodes, as each node sees them.
struct World {
    gateways: [BTreeSet<u8>; 2],
    desired: BTreeMap<Place, Desired>,
}

impl World {
    fn new(gateways: [BTreeSet<u8>; 2], down: BTreeSet<Place>, encrypt: Encrypt) -> Self {
        let health = down.iter().map(|it| (key(*it), Health::Unhealthy));
        let health: BTreeMap<PublicKey, Health> = health.collect();
        let policy = Policy {
            encrypt,
            health: &health,
        };
        let places = (0..2).flat_map(|cluster| (1..=4).map(move |node| (cluster, node)));
        let desired = places.map(|place| {
            let (mesh, identity) = mesh(place, &gateways);
            (place, desired(&mesh, &identity, policy))
        });
        Self {
            desired: desired.collect(),
            gateways,
        }
    }

    /// A packet from a pod to another, hop by hop.
    fn follow(&self, from: Place, to: Place) -> Result<(), TestCaseError> {
        let mut here = from;
        for _hop in 0..4 {
            if here == to {
                return Ok(());
            }
            let desired = &self.desired[&here];
            let via = desired.routes.get(&prefix(to));
            if here.0 == to.0 && matches!(via, Some(Via::Node(_))) {
                prop_assert_eq!(from.0, to.0, "no plaintext between clusters");
                return Ok(());
            }
            prop_assert_eq!(via, Some(&Via::Tunnel));
            let next = desired.allowed_ips.get(&prefix(to)).copied();
            prop_assert!(next.is_some(), "{:?} knows no way to {:?}", here, to);
            let next = place(next.unwrap());
            let taken = self.desired[&next].allowed_ips.get(&prefix(from));
            prop_assert_eq!(
                taken,
                Some(&key(here)),
                "{:?} to {:?} at {:?} with {:?}",
                from,
                to,
                next,
                &self.gateways
            );
            here = next;
        }
        prop_assert_eq!(here, to);
        Ok(())
    }
}

fn mesh(own: Place, gateways: &[BTreeSet<u8>; 2]) -> (Mesh, Identity) {
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
            let record = format!(
                r#"{{"Name":"node-{number}","Cluster":"{cluster}","ClusterID":{id},
                "IPAddresses":[{{"Type":"InternalIP","IP":"192.0.{id}.{number}"}}],
                "IPv4AllocCIDR":{{"IP":"10.{id}.{number}.0","Mask":"////AA=="}},
                "Annotations":{{"causeway.io/gateway":"{gateway}"}},
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
