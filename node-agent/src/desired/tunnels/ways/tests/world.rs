//! Two clusters, as each of their nodes sees them.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use proptest::prelude::*;
use topology::health::Health;
use topology::mesh::{Event, Mesh};
use wireguard::PublicKey;

use crate::desired::{
    Desired, Encrypt, GatewaySpread, Identity, OptOut, Policy, Via, Ways, desired,
};

/// The cluster's index, and the node's number in it.
pub(super) type Place = (usize, u8);

const CLUSTERS: [&str; 2] = ["eu", "us"];

/// Two clusters of four nodes, as each node sees them.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) gateways: [BTreeSet<u8>; 2],
    pub(super) relays: [BTreeSet<u8>; 2],
    pub(super) encrypt: Encrypt,
    pub(super) spread: GatewaySpread,
    /// Nodes that answer nobody.
    pub(super) down: BTreeSet<Place>,
    /// Nodes of the first cluster, each with one of the second that it does not reach, and that does
    /// not reach it.
    pub(super) cut: BTreeSet<(u8, u8)>,
    /// Probes find again what was cut, which has not been trusted for long enough.
    pub(super) is_mended: bool,
    /// A node of the first cluster that says that it reaches nobody in the second.
    pub(super) deaf: Option<u8>,
    pub(super) desired: BTreeMap<Place, Desired>,
}

impl World {
    pub(super) fn with_down(self, down: BTreeSet<Place>) -> Self {
        Self { down, ..self }
    }

    pub(super) fn derived(mut self) -> Self {
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

    pub(super) fn ways(&self, from: Place, to: Place) -> &Ways {
        &self.desired[&from].allowed_ips[&prefix(to)]
    }

    pub(super) fn follow_all(&self) -> Result<(), TestCaseError> {
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

pub(super) fn key((cluster, node): Place) -> PublicKey {
    let mut bytes = [0; 32];
    bytes[0] = u8::try_from(cluster).unwrap();
    bytes[1] = node;
    bytes.into()
}

pub(super) fn place(key: PublicKey) -> Place {
    let bytes = key.as_bytes();
    (bytes[0].into(), bytes[1])
}

pub(super) fn prefix((cluster, node): Place) -> IpNet {
    format!("10.{}.{node}.0/24", cluster + 1).parse().unwrap()
}
