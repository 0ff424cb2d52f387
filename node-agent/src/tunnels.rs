//! Decides how a WireGuard device's peers must change to be what the mesh asks for.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use topology::diff::{Change, diff};
use wireguard::uapi::{AllowedIpChange, DeviceState, PeerUpdate, Setting, Update};
use wireguard::{PrivateKey, PublicKey};

use crate::desired::{Desired, Peer, WIREGUARD_PORT};
use crate::preshared::{self, Secrets};
use crate::search;

/// What a device should have, and how it is given that.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    pub desired: &'a Desired,
    /// The endpoints to set now; those of all others stay as they are.
    pub places: &'a BTreeMap<PublicKey, SocketAddr>,
    /// The secrets of the own cluster with others, and the node's own key.
    pub secrets: &'a Secrets,
    pub key: Option<PublicKey>,
    /// Whether others reach this node only where its operator says.
    pub is_behind_nat: bool,
    /// Whether something tries every tunnel all the time.
    pub is_probed: bool,
    /// Nothing is taken away.
    pub keep_unknown: bool,
    /// The device does not know of peers that succeed others: it gets none.
    pub is_plain: bool,
}

/// What a device needs to be the one of this node, as after a restart of its own; `None` when it is.
pub fn identity(device: &DeviceState, key: &PrivateKey) -> Option<Update> {
    let is_keyed = device.private_key.as_ref() == Some(key);
    let is_placed = device.listen_port == WIREGUARD_PORT;
    (!is_keyed || !is_placed).then(|| Update {
        private_key: (!is_keyed).then(|| Setting::To(key.clone())),
        listen_port: (!is_placed).then_some(WIREGUARD_PORT),
        ..Update::default()
    })
}

/// Lists the changes that `device` needs, or `None` when it has everything.
///
/// Sessions of unchanged peers go on: nothing is replaced as a whole.
pub fn plan(device: &DeviceState, wish: &Wish<'_>) -> Option<Update> {
    let desired = wish.desired;
    let mut updates = BTreeMap::new();
    for (key, peer) in desired.peers.iter().filter(|(key, _)| wish.has(key)) {
        let actual = device.peers.get(key);
        let update = peer_update(device, wish, *key, peer);
        if update != PeerUpdate::new(*key) || actual.is_none() {
            updates.insert(*key, update);
        }
    }

    for change in diff(&allowed_ips(device), &desired.allowed_ips) {
        let (key, change) = match change {
            Change::Put(prefix, key) => (key, AllowedIpChange::Add(prefix)),
            Change::Delete(_) if wish.keep_unknown => continue,
            Change::Delete(prefix) => match owner(device, &prefix) {
                Some(key) if wish.has(&key) => (key, AllowedIpChange::Remove(prefix)),
                // The whole peer goes, below.
                _ => continue,
            },
        };
        let update = updates.entry(key).or_insert_with(|| PeerUpdate::new(key));
        update.allowed_ips.push(change);
    }

    let removed = device.peers.keys().filter(|it| wish.is_leaving(it));
    updates.extend(removed.map(|key| (*key, PeerUpdate::removal(*key))));
    let mut peers: Vec<PeerUpdate> = updates.into_values().collect();
    // What others succeed comes before them, and goes after what takes its place.
    peers.sort_by_key(|it| (it.remove, it.successor_of.is_some()));
    (!peers.is_empty()).then(|| Update {
        peers,
        ..Update::default()
    })
}

fn peer_update(device: &DeviceState, wish: &Wish<'_>, key: PublicKey, peer: &Peer) -> PeerUpdate {
    let actual = device.peers.get(&key);
    let mut update = PeerUpdate {
        endpoint: wish.places.get(&key).copied(),
        ..PeerUpdate::new(key)
    };
    // A successor that is not in use yet would only be refused.
    let keepalive_seconds = if peer.successor_of.is_some() {
        0
    } else {
        search::keepalive_seconds(&peer.endpoints, actual, wish.is_behind_nat, wish.is_probed)
    };
    let actual_keepalive = actual.map_or(0, |it| it.persistent_keepalive_seconds);
    if actual_keepalive != keepalive_seconds {
        update.persistent_keepalive_seconds = Some(keepalive_seconds);
    }
    let predecessor = actual.and_then(|it| it.successor_of);
    if predecessor != peer.successor_of {
        update.successor_of = match peer.successor_of {
            Some(it) => Some(Setting::To(it)),
            // What it succeeds and is about to go hands over what waits for it.
            None if predecessor.is_some_and(|it| wish.is_leaving(&it)) => None,
            None => Some(Setting::Clear),
        };
    }
    if let (Some(secrets), Some(own)) = (wish.secrets, wish.key) {
        let secret = secrets.get(&peer.cluster);
        let preshared = secret.map(|it| preshared::pair(it, [own, key]));
        if actual.and_then(|it| it.preshared_key.as_ref()) != preshared.as_ref() {
            update.preshared_key = Some(preshared.map_or(Setting::Clear, Setting::To));
        }
    }
    update
}

impl Wish<'_> {
    fn has(&self, key: &PublicKey) -> bool {
        let peer = self.desired.peers.get(key);
        peer.is_some_and(|it| !self.is_plain || it.successor_of.is_none())
    }

    fn is_leaving(&self, key: &PublicKey) -> bool {
        !self.keep_unknown && !self.has(key)
    }
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
mod tests;
