//! Decides which nodes count as cut off from this one: those that probes have missed for so long that
//! it is time to look for another way, until they have found them again for long enough.
//!
//! ```text
//!              missed for GIVE_UP_AFTER
//!   in reach ────────────────────────────▶ cut off
//!      ▲                                      │
//!      └──────────────────────────────────────┘
//!              found for RETURN_AFTER
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use topology::health::Health;
use topology::id::{ClusterName, NodeName};
use wireguard::uapi::DeviceState;

use crate::desired::Desired;
use crate::probe::Reports;

/// A device that is started anew, or a handshake that got lost, is no reason for another way: a
/// handshake is tried again after 5 s.
const GIVE_UP_AFTER: Duration = Duration::from_secs(6);

/// What comes and goes is not what others should depend on.
const RETURN_AFTER: Duration = Duration::from_secs(10);

/// What is known of the nodes that there are tunnels to.
#[derive(Debug, Default)]
pub struct CutOff {
    /// Those that have been met.
    met: BTreeMap<(ClusterName, NodeName), Contact>,
    nodes: BTreeSet<(ClusterName, NodeName)>,
}

#[derive(Clone, Copy, Debug)]
struct Contact {
    is_cut_off: bool,
    /// Since when probes say otherwise.
    contradicted_since: Option<Instant>,
}

impl CutOff {
    /// Those that are cut off now.
    pub fn nodes(&self) -> &BTreeSet<(ClusterName, NodeName)> {
        &self.nodes
    }

    /// Takes over what an earlier agent knew of nodes that are new to this one: a device that is sent
    /// nothing for a node's pods by its own tunnel, though it would take it from there. Returns
    /// whether anything changed.
    pub fn meet(&mut self, desired: &Desired, device: &DeviceState) -> bool {
        let peers = desired.peers.iter();
        let mut changed = false;
        for (key, peer) in peers.filter(|(_, it)| it.successor_of.is_none()) {
            let node = (peer.cluster.clone(), peer.node.clone());
            if self.met.contains_key(&node) {
                continue;
            }
            let accepted = device.peers.get(key).map(|it| &it.accepted_ips);
            let mut accepted = accepted.into_iter().flatten();
            let is_cut_off = accepted.any(|it| desired.holders.get(it) == Some(&node));
            let contact = Contact {
                is_cut_off,
                contradicted_since: None,
            };
            if is_cut_off {
                self.nodes.insert(node.clone());
            }
            self.met.insert(node, contact);
            changed |= is_cut_off;
        }
        changed
    }

    /// Takes in what probes say. Returns whether anything changed.
    pub fn observe(&mut self, desired: &Desired, reports: &Reports, now: Instant) -> bool {
        let peers = desired.peers.values();
        let wanted: BTreeSet<_> = peers
            .map(|it| (it.cluster.clone(), it.node.clone()))
            .collect();
        self.met.retain(|node, _| wanted.contains(node));
        for (node, contact) in &mut self.met {
            if let Some(report) = reports.get(node) {
                contact.hear(report.health == Health::Unhealthy, now);
            }
        }
        let met = self.met.iter();
        let nodes = met.filter(|(_, it)| it.is_cut_off);
        let nodes: BTreeSet<_> = nodes.map(|(node, _)| node.clone()).collect();
        let changed = self.nodes != nodes;
        self.nodes = nodes;
        changed
    }
}

impl Contact {
    fn hear(&mut self, is_missed: bool, now: Instant) {
        if is_missed == self.is_cut_off {
            self.contradicted_since = None;
            return;
        }
        let since = *self.contradicted_since.get_or_insert(now);
        let patience = if self.is_cut_off {
            RETURN_AFTER
        } else {
            GIVE_UP_AFTER
        };
        if since + patience <= now {
            self.is_cut_off = is_missed;
            self.contradicted_since = None;
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
mod tests {
    use ipnet::IpNet;
    use topology::report::ProbeReport;
    use wireguard::PublicKey;
    use wireguard::uapi::PeerState;

    use crate::desired::Peer;

    use super::*;

    #[test]
    fn gives_up_and_returns_after_a_while_of_the_same() {
        let mut world = World::new();

        assert_eq!(
            world.pass(&[(Health::Unhealthy, 5), (Health::Healthy, 1)]),
            []
        );
        assert_eq!(world.pass(&[(Health::Unhealthy, 6)]), []);
        assert_eq!(world.pass(&[(Health::Unhealthy, 1)]), [node()]);
        assert_eq!(world.pass(&[(Health::Unhealthy, 100)]), [node()]);

        let flapping = [(Health::Healthy, 9), (Health::Unhealthy, 1)];
        assert_eq!(world.pass(&flapping.repeat(5)), [node()]);
        assert_eq!(world.pass(&[(Health::Healthy, 10)]), [node()]);
        assert_eq!(world.pass(&[(Health::Healthy, 1)]), []);
    }

    #[test]
    fn takes_a_node_for_reachable_that_answers_no_probes_but_has_a_session() {
        let mut world = World::new();
        assert_eq!(world.pass(&[(Health::Unhealthy, 7)]), [node()]);

        assert_eq!(world.pass(&[(Health::Unknown, 11)]), []);
    }

    #[test]
    fn knows_from_the_device_what_an_earlier_agent_knew() {
        let mut world = World::new();
        let mut state = PeerState::default();
        state.accepted_ips.insert(prefix());
        let device = DeviceState {
            peers: BTreeMap::from([(key(), state)]),
            ..DeviceState::default()
        };

        let mut new = CutOff::default();
        assert!(new.meet(&world.desired, &device));
        assert!(!new.meet(&world.desired, &device), "each is met once");
        world.cut_off = new;
        assert_eq!(
            world.pass(&[(Health::Unknown, 3), (Health::Unhealthy, 20)]),
            [node()]
        );
        assert_eq!(world.pass(&[(Health::Healthy, 11)]), []);
    }

    #[test]
    fn forgets_who_is_gone() {
        let mut world = World::new();
        assert_eq!(world.pass(&[(Health::Unhealthy, 7)]), [node()]);

        world.desired.peers.clear();

        assert_eq!(world.pass(&[(Health::Unhealthy, 7)]), []);
    }

    /// One node that there is a tunnel to.
    struct World {
        cut_off: CutOff,
        desired: Desired,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            let endpoint = "192.0.2.1:51871".parse().unwrap();
            let (cluster, node) = node();
            let peer = Peer {
                cluster: cluster.clone(),
                node: node.clone(),
                endpoint,
                endpoints: vec![endpoint],
                successor_of: None,
            };
            let desired = Desired {
                peers: BTreeMap::from([(key(), peer)]),
                holders: BTreeMap::from([(prefix(), (cluster, node))]),
                ..Desired::default()
            };
            let mut cut_off = CutOff::default();
            assert!(!cut_off.meet(&desired, &DeviceState::default()));
            Self {
                cut_off,
                desired,
                now: Instant::now(),
            }
        }

        /// Lets probes say something for so many seconds, and returns who is cut off in the end.
        fn pass(&mut self, course: &[(Health, u64)]) -> Vec<(ClusterName, NodeName)> {
            for (health, seconds) in course {
                for _second in 0..*seconds {
                    let before = self.cut_off.nodes.clone();
                    let reports = [(node(), report(*health))].into();
                    let changed = self.cut_off.observe(&self.desired, &reports, self.now);
                    assert_eq!(changed, before != *self.cut_off.nodes());
                    self.now += Duration::from_secs(1);
                }
            }
            self.cut_off.nodes().iter().cloned().collect()
        }
    }

    fn report(health: Health) -> ProbeReport {
        ProbeReport {
            health,
            since: 0,
            round_trip_microseconds: None,
            round_trip_p99_microseconds: None,
            loss_per_mille: 0,
            path_mtu: None,
        }
    }

    fn node() -> (ClusterName, NodeName) {
        ("us".parse().unwrap(), "node-1".parse().unwrap())
    }

    fn prefix() -> IpNet {
        "10.2.1.0/24".parse().unwrap()
    }

    fn key() -> PublicKey {
        PublicKey::from([1; 32])
    }
}
