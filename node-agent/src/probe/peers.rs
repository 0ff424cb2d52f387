//! Decides which nodes are probed, and at which addresses: those at the other ends of our tunnels,
//! at the first host of their pod prefix.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::IpNet;
use topology::mesh::Mesh;
use wireguard::uapi::DeviceState;

use super::Peer;
use crate::desired::Desired;
use crate::view;

/// The nodes by inner address. Two keys of one node are one peer.
pub fn peers(
    mesh: &Mesh,
    desired: &Desired,
    device: Option<&DeviceState>,
    now_unix_seconds: u64,
) -> BTreeMap<Ipv4Addr, Peer> {
    let mut peers: BTreeMap<Ipv4Addr, Peer> = BTreeMap::new();
    for (key, peer) in &desired.peers {
        let Some(node) = mesh.nodes().get(&(peer.cluster.clone(), peer.node.clone())) else {
            continue;
        };
        let address = node.pod_prefixes().find_map(|it| match it {
            IpNet::V4(prefix) => {
                let led = desired.allowed_ips.contains_key(&prefix.trunc().into());
                prefix.trunc().hosts().next().filter(|_| led)
            }
            IpNet::V6(_) => None,
        });
        let has_session = device
            .and_then(|it| it.peers.get(key))
            .is_some_and(|it| view::has_session(it, now_unix_seconds));
        let Some(address) = address else {
            continue;
        };
        peers
            .entry(address)
            .and_modify(|it| it.has_session |= has_session)
            .or_insert_with(|| Peer {
                cluster: peer.cluster.clone(),
                node: peer.node.clone(),
                has_session,
            });
    }
    peers
}

#[cfg(test)]
mod tests {
    use topology::mesh::Event;
    use wireguard::PublicKey;
    use wireguard::uapi::{PeerState, UnixTime};

    use super::*;
    use crate::desired;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn probes_the_first_host_of_each_node_that_has_a_tunnel() {
        let mesh = mesh();
        let mut desired = Desired::default();
        lead(&mut desired, key(1), "us", "a", "10.2.1.0/24");
        lead(&mut desired, key(2), "us", "b", "10.9.9.0/24");
        lead(&mut desired, key(3), "us", "unheard-of", "10.2.3.0/24");

        let peers = peers(&mesh, &desired, None, NOW);

        assert_eq!(
            peers,
            [("10.2.1.1".parse().unwrap(), peer("a", false))].into()
        );
    }

    #[test]
    fn takes_two_keys_of_a_node_for_one_peer_that_has_a_session_with_either() {
        let mesh = mesh();
        let mut desired = Desired::default();
        lead(&mut desired, key(1), "us", "a", "10.2.1.0/24");
        lead(&mut desired, key(2), "us", "a", "10.2.1.0/24");
        let with_session = |key, seconds| {
            let state = PeerState {
                last_handshake: Some(UnixTime {
                    seconds,
                    nanoseconds: 0,
                }),
                ..PeerState::default()
            };
            DeviceState {
                peers: [(key, state)].into(),
                ..DeviceState::default()
            }
        };

        for (device, has_session) in [
            (with_session(key(1), NOW - 10), true),
            (with_session(key(2), NOW - 10), true),
            (with_session(key(2), NOW - 180), false),
            (with_session(key(3), NOW - 10), false),
        ] {
            let peers = peers(&mesh, &desired, Some(&device), NOW);
            assert_eq!(
                peers.into_values().collect::<Vec<_>>(),
                [peer("a", has_session)]
            );
        }
    }

    /// Nodes a and b of cluster us.
    fn mesh() -> Mesh {
        let mut mesh = Mesh::new("eu".parse().unwrap());
        for (node, pods) in [("a", "10.2.1.0"), ("b", "10.2.2.0")] {
            let value = format!(
                r#"{{"Name":"{node}","Cluster":"us","ClusterID":2,
                    "IPv4AllocCIDR":{{"IP":"{pods}","Mask":"////AA=="}}}}"#
            );
            let rejected = mesh.apply(Event::Put {
                key: format!("cilium/cache/nodes/v1/us/{node}"),
                value: value.into_bytes(),
            });
            assert!(rejected.is_empty(), "{rejected:?}");
        }
        mesh
    }

    fn lead(desired: &mut Desired, key: PublicKey, cluster: &str, node: &str, prefix: &str) {
        let peer = desired::Peer {
            cluster: cluster.parse().unwrap(),
            node: node.parse().unwrap(),
            endpoint: "192.0.2.1:51871".parse().unwrap(),
            endpoints: vec!["192.0.2.1:51871".parse().unwrap()],
            successor_of: None,
        };
        desired.peers.insert(key, peer);
        desired.allowed_ips.insert(prefix.parse().unwrap(), key);
    }

    fn peer(node: &str, has_session: bool) -> Peer {
        Peer {
            cluster: "us".parse().unwrap(),
            node: node.parse().unwrap(),
            has_session,
        }
    }

    fn key(byte: u8) -> PublicKey {
        PublicKey::from([byte; 32])
    }
}
