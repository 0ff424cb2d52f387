//! Decides how a WireGuard device's peers must change to be what the mesh asks for.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use wireguard::uapi::{AllowedIpChange, DeviceState, PeerUpdate, Setting, Update};
use wireguard::{PresharedKey, PrivateKey, PublicKey};

use crate::desired::{Desired, Peer, WIREGUARD_PORT};
use crate::preshared::{Resolved, Secrets};
use crate::search;

mod prefixes;

/// What a device should have, and how it is given that.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    pub desired: &'a Desired,
    /// The endpoints to set now; those of all others stay as they are.
    pub places: &'a BTreeMap<PublicKey, SocketAddr>,
    /// Which secret goes with whom, and the node's own key.
    pub secrets: &'a Secrets,
    pub key: Option<PublicKey>,
    /// Whether others reach this node only where its operator says.
    pub is_behind_nat: bool,
    /// Whether something tries every tunnel all the time.
    pub is_probed: bool,
    /// Nothing is taken away.
    pub keep_unknown: bool,
    /// The device does only what every device does: no peer succeeds another, no secret has an
    /// alternate, and each prefix is one peer's.
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

    let changes = prefixes::changes(device, wish);
    for (key, change) in changes.given {
        let update = updates.entry(key).or_insert_with(|| PeerUpdate::new(key));
        update.allowed_ips.push(change);
    }
    let mut peers: Vec<PeerUpdate> = updates.into_values().collect();
    // What others succeed comes before them.
    peers.sort_by_key(|it| it.successor_of.is_some());

    // What goes, goes after what takes its place.
    let mut taken = BTreeMap::new();
    for (key, change) in changes.taken {
        let update = taken.entry(key).or_insert_with(|| PeerUpdate::new(key));
        update.allowed_ips.push(change);
    }
    peers.extend(taken.into_values());
    let removed = device.peers.keys().filter(|it| wish.is_leaving(it));
    peers.extend(removed.map(|key| PeerUpdate::removal(*key)));
    (!peers.is_empty()).then(|| Update {
        peers,
        ..Update::default()
    })
}

/// Whether an update asks for what some devices do not do.
pub fn is_extended(update: &Update) -> bool {
    update.peers.iter().any(|peer| {
        let mut changes = peer.allowed_ips.iter();
        let is_shared = changes.any(|it| match it {
            AllowedIpChange::Accept(_) | AllowedIpChange::Share(_) => true,
            AllowedIpChange::Add(_) | AllowedIpChange::Remove(_) => false,
        });
        is_shared || peer.successor_of.is_some() || peer.alternate_preshared_key.is_some()
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
    let own = wish.key;
    let wanted = own.and_then(|it| wish.secrets.wanted(peer, [it, key], actual.is_none()));
    if let Some(Resolved { main, alternate }) = wanted {
        let main = (!main.is_none()).then_some(main);
        let alternate = alternate.filter(|_| !wish.is_plain);
        update.preshared_key = change(actual.and_then(|it| it.preshared_key.as_ref()), main);
        let actual = actual.and_then(|it| it.alternate_preshared_key.as_ref());
        update.alternate_preshared_key = change(actual, alternate);
    }
    update
}

/// What makes `wanted` of a secret, if anything.
fn change(
    actual: Option<&PresharedKey>,
    wanted: Option<PresharedKey>,
) -> Option<Setting<PresharedKey>> {
    let differs = actual != wanted.as_ref();
    differs.then(|| wanted.map_or(Setting::Clear, Setting::To))
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

#[cfg(test)]
mod tests;
