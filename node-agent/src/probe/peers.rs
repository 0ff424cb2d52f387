//! Decides which nodes are probed, and at which addresses: those at the other ends of our tunnels,
//! at the first host of their pod prefix. IPv4 goes first where both ends have it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use topology::mesh::Mesh;
use wireguard::uapi::DeviceState;

use super::Peer;
use crate::desired::{self, Desired};
use crate::network::nodes;
use crate::view;

/// The nodes by inner address. Two keys of one node are one peer.
pub fn peers(
    mesh: &Mesh,
    desired: &Desired,
    device: Option<&DeviceState>,
    now_unix_seconds: u64,
) -> BTreeMap<IpAddr, Peer> {
    let ready = device.map(|it| nodes::ready(desired, it));
    let ready = ready.unwrap_or_default();
    let mut peers: BTreeMap<IpAddr, Peer> = BTreeMap::new();
    for (key, peer) in &desired.peers {
        let Some(node) = mesh.nodes().get(&(peer.cluster.clone(), peer.node.clone())) else {
            continue;
        };
        let has_session = device
            .and_then(|it| it.peers.get(key))
            .is_some_and(|it| view::has_session(it, now_unix_seconds));
        let Some(address) = desired::probed_address(node, desired) else {
            continue;
        };
        let probed = peers.entry(address).or_insert_with(|| Peer {
            cluster: peer.cluster.clone(),
            node: peer.node.clone(),
            has_session: false,
            is_told_ready: false,
        });
        probed.has_session |= has_session;
        probed.is_told_ready |= ready.contains(key);
    }
    peers
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use topology::mesh::Event;
    use wireguard::PublicKey;
    use wireguard::uapi::{PeerState, UnixTime};

    use super::*;
    use crate::desired::OwnNode;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn probes_the_first_host_of_each_node_that_has_a_tunnel() {
        let mesh = mesh();
        let mut desired = both_families();
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
        let mut desired = both_families();
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

    #[test]
    fn probes_over_ipv6_where_an_end_has_nothing_else() {
        let mesh = mesh();
        let only_v6 = "fd02:3::/64";
        let mut desired = both_families();
        lead(&mut desired, key(1), "us", "a", "10.2.1.0/24");
        lead(&mut desired, key(3), "us", "v6", only_v6);
        let asked = |desired: &Desired| {
            let peers = peers(&mesh, desired, None, NOW).into_keys();
            peers.map(|it| it.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(asked(&desired), ["10.2.1.1", "fd02:3::1"]);

        lead(&mut desired, key(1), "us", "a", "fd02:1::/64");
        assert_eq!(asked(&desired), ["10.2.1.1", "fd02:3::1"], "IPv4 first");

        desired.own.as_mut().unwrap().address = None;
        assert_eq!(asked(&desired), ["fd02:1::1", "fd02:3::1"]);

        desired.own.as_mut().unwrap().address_v6 = None;
        assert_eq!(asked(&desired), [""; 0]);
    }

    fn both_families() -> Desired {
        Desired {
            own: Some(OwnNode {
                address: Some(Ipv4Addr::new(10, 1, 1, 1)),
                address_v6: Some("fd01::1".parse().unwrap()),
                ..OwnNode::default()
            }),
            ..Desired::default()
        }
    }

    /// Nodes a and b of cluster us, with pods of both kinds, and one with those of IPv6 alone.
    fn mesh() -> Mesh {
        let mut mesh = Mesh::new("eu".parse().unwrap());
        let v4 = |it| format!(r#""IPv4AllocCIDR":{{"IP":"{it}","Mask":"////AA=="}},"#);
        let nodes = [
            ("a", v4("10.2.1.0"), "fd02:1::"),
            ("b", v4("10.2.2.0"), "fd02:2::"),
            ("v6", String::new(), "fd02:3::"),
        ];
        for (node, v4, v6) in nodes {
            let value = format!(
                r#"{{"Name":"{node}","Cluster":"us","ClusterID":2,{v4}
                    "IPv6AllocCIDR":{{"IP":"{v6}","Mask":"//////////8AAAAAAAAAAA=="}}}}"#
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
        let ways = desired::Ways::only(key);
        desired.allowed_ips.insert(prefix.parse().unwrap(), ways);
    }

    fn peer(node: &str, has_session: bool) -> Peer {
        Peer {
            cluster: "us".parse().unwrap(),
            node: node.parse().unwrap(),
            has_session,
            is_told_ready: false,
        }
    }

    fn key(byte: u8) -> PublicKey {
        PublicKey::from([byte; 32])
    }
}
