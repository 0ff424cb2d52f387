//! Decides how a WireGuard device's peers must change to be what the mesh asks for.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use topology::diff::{Change, diff};
use wireguard::PublicKey;
use wireguard::uapi::{AllowedIpChange, DeviceState, PeerUpdate, Update};

use crate::desired::Desired;

/// Keeps tunnels known to be up, and heals them fast: less than WireGuard's own 10 s, more than
/// its 5 s between handshakes would allow to be useful.
pub const KEEPALIVE_SECONDS: u16 = 5;

/// Lists the changes that `device` needs, or `None` when it has everything.
///
/// Sessions of unchanged peers go on: nothing is replaced as a whole. An endpoint is set when it
/// differs from the one set before, in `endpoints`, so that a peer which roamed is not called back.
/// With `keep_unknown`, nothing is taken away.
pub fn plan(
    device: &DeviceState,
    desired: &Desired,
    endpoints: &BTreeMap<PublicKey, SocketAddr>,
    keep_unknown: bool,
) -> Option<Update> {
    let mut updates: BTreeMap<PublicKey, PeerUpdate> = BTreeMap::new();
    for (key, peer) in &desired.peers {
        let actual = device.peers.get(key);
        let mut update = PeerUpdate::new(*key);
        let endpoint = actual.and_then(|it| it.endpoint);
        let set_before = endpoint.is_some() && endpoints.get(key) == Some(&peer.endpoint);
        if !set_before && endpoint != Some(peer.endpoint) {
            update.endpoint = Some(peer.endpoint);
        }
        if actual.map(|it| it.persistent_keepalive_seconds) != Some(KEEPALIVE_SECONDS) {
            update.persistent_keepalive_seconds = Some(KEEPALIVE_SECONDS);
        }
        if update != PeerUpdate::new(*key) {
            updates.insert(*key, update);
        }
    }

    for change in diff(&allowed_ips(device), &desired.allowed_ips) {
        let (key, change) = match change {
            Change::Put(prefix, key) => (key, AllowedIpChange::Add(prefix)),
            Change::Delete(_) if keep_unknown => continue,
            Change::Delete(prefix) => match owner(device, &prefix) {
                Some(key) if desired.peers.contains_key(&key) => {
                    (key, AllowedIpChange::Remove(prefix))
                }
                // The whole peer goes, below.
                _ => continue,
            },
        };
        let update = updates.entry(key).or_insert_with(|| PeerUpdate::new(key));
        update.allowed_ips.push(change);
    }

    let removed = device
        .peers
        .keys()
        .filter(|it| !desired.peers.contains_key(it));
    if !keep_unknown {
        updates.extend(removed.map(|key| (*key, PeerUpdate::removal(*key))));
    }
    (!updates.is_empty()).then(|| Update {
        peers: updates.into_values().collect(),
        ..Update::default()
    })
}

fn allowed_ips(device: &DeviceState) -> BTreeMap<IpNet, PublicKey> {
    let peers = device.peers.iter();
    peers
        .flat_map(|(key, peer)| peer.allowed_ips.iter().map(|prefix| (*prefix, *key)))
        .collect()
}

fn owner(device: &DeviceState, prefix: &IpNet) -> Option<PublicKey> {
    let mut peers = device.peers.iter();
    peers
        .find(|(_, peer)| peer.allowed_ips.contains(prefix))
        .map(|(key, _)| *key)
}

#[cfg(test)]
mod tests {
    use wireguard::uapi::PeerState;

    use crate::desired::Peer;

    use super::*;

    #[test]
    fn adds_a_peer_with_everything_it_needs() {
        let update = plan(&DeviceState::default(), &desired(), &BTreeMap::new(), false).unwrap();

        let expected = PeerUpdate {
            endpoint: Some(endpoint()),
            persistent_keepalive_seconds: Some(KEEPALIVE_SECONDS),
            allowed_ips: vec![AllowedIpChange::Add(prefix())],
            ..PeerUpdate::new(key(1))
        };
        assert_eq!(update.peers, [expected]);
        assert!(!update.replace_peers);
    }

    #[test]
    fn changes_nothing_once_applied() {
        let device = device(key(1), endpoint());

        assert_eq!(plan(&device, &desired(), &BTreeMap::new(), false), None);
    }

    #[test]
    fn lets_a_peer_roam_but_follows_the_mesh() {
        let roamed = device(key(1), "203.0.113.7:1".parse().unwrap());
        let set = BTreeMap::from([(key(1), endpoint())]);
        assert_eq!(plan(&roamed, &desired(), &set, false), None);

        let moved = BTreeMap::from([(key(1), "192.0.2.9:51871".parse().unwrap())]);
        let update = plan(&roamed, &desired(), &moved, false).unwrap();
        assert_eq!(update.peers[0].endpoint, Some(endpoint()));
    }

    #[test]
    fn moves_a_prefix_by_adding_it_to_the_new_peer() {
        let device = device(key(2), endpoint());

        let update = plan(&device, &desired(), &BTreeMap::new(), false).unwrap();

        assert_eq!(update.peers.len(), 2);
        let added = update
            .peers
            .iter()
            .find(|it| it.public_key == key(1))
            .unwrap();
        assert_eq!(added.allowed_ips, [AllowedIpChange::Add(prefix())]);
        assert!(update.peers.contains(&PeerUpdate::removal(key(2))));
    }

    #[test]
    fn takes_nothing_away_while_the_mesh_is_not_known_whole() {
        let device = device(key(2), endpoint());

        assert_eq!(
            plan(&device, &Desired::default(), &BTreeMap::new(), true),
            None
        );
        let update = plan(&device, &Desired::default(), &BTreeMap::new(), false).unwrap();
        assert_eq!(update.peers, [PeerUpdate::removal(key(2))]);
    }

    fn desired() -> Desired {
        let peer = Peer {
            cluster: "us".parse().unwrap(),
            node: "node-1".parse().unwrap(),
            endpoint: endpoint(),
        };
        Desired {
            peers: BTreeMap::from([(key(1), peer)]),
            allowed_ips: BTreeMap::from([(prefix(), key(1))]),
            ..Desired::default()
        }
    }

    fn device(key: PublicKey, endpoint: SocketAddr) -> DeviceState {
        let peer = PeerState {
            endpoint: Some(endpoint),
            persistent_keepalive_seconds: KEEPALIVE_SECONDS,
            allowed_ips: [prefix()].into(),
            ..PeerState::default()
        };
        DeviceState {
            peers: BTreeMap::from([(key, peer)]),
            ..DeviceState::default()
        }
    }

    fn key(byte: u8) -> PublicKey {
        PublicKey::from([byte; 32])
    }

    fn endpoint() -> SocketAddr {
        "198.51.100.11:51871".parse().unwrap()
    }

    fn prefix() -> IpNet {
        "10.2.1.0/24".parse().unwrap()
    }
}
