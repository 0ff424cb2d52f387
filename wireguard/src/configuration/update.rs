//! Turns one configuration into the next.
//!
//! An update is planned whole before any of it counts: what cannot be is found while the next
//! configuration is made, and only then do the tunnels change, which successive configurations share.

use std::sync::Arc;

use super::{Configuration, Partner, Peer, PeerIndex, Seat};
use crate::allowed_ips::{AllowedIps, Role};
use crate::tunnel::{Identity, SESSION_BITS, Tunnel};
use crate::uapi::{AllowedIpChange, Errno, PeerUpdate, Setting, Update};
use crate::{PrivateKey, PublicKey};

/// The kernel's limit too; a sixteenth of the indices, so that a free one is found quickly.
const PEERS_MAX: usize = 1 << 20;

/// The next configuration, and what is still to be done to tunnels.
pub(crate) struct Change<'a> {
    next: Configuration,
    is_new_identity: bool,
    /// In the order in which the update asks for them.
    effects: Vec<Effect<'a>>,
}

/// A change of a tunnel. None can fail.
enum Effect<'a> {
    /// What waits for a peer that is removed waits for its successor, which has its flows too.
    Bequeath { from: Arc<Peer>, heir: Arc<Peer> },
    /// A successor is looked for where its predecessor is, unless its place is known.
    Locate {
        successor: Arc<Peer>,
        predecessor: Arc<Peer>,
    },
    Set {
        peer: Arc<Peer>,
        update: &'a PeerUpdate,
    },
}

impl Configuration {
    /// What `update` would make of the configuration. Nothing changes yet.
    ///
    /// # Errors
    ///
    /// The update does not fit the device. What it asks of the system is not judged here.
    pub(crate) fn plan<'a>(&self, update: &'a Update) -> Result<Change<'a>, Errno> {
        let mut change = Change {
            next: self.clone(),
            is_new_identity: false,
            effects: Vec::new(),
        };
        if let Some(setting) = &update.private_key {
            change.set_private_key(setting);
        }
        let next = &mut change.next;
        next.fwmark = update.fwmark.unwrap_or(next.fwmark);
        if update.replace_peers {
            next.peers.clear();
            next.peers_by_index.clear();
            next.allowed_ips = AllowedIps::default();
            next.pairs = super::Pairs::default();
        }
        for peer in &update.peers {
            change.update_peer(peer)?;
        }
        Ok(change)
    }

    fn add_peer(&mut self, key: PublicKey) -> Result<(), Errno> {
        if PEERS_MAX <= self.peers.len() {
            return Err(Errno::OutOfMemory);
        }
        let mut index = PeerIndex::random();
        while self.peers_by_index.contains_key(&index) {
            index = PeerIndex::random();
        }
        let tunnel = Tunnel::new(key, index.0);
        tunnel.set_identity(self.identity.clone());
        let seat = Seat::of(&key);
        let peer = Arc::new(Peer {
            index,
            seat,
            tunnel,
        });
        self.peers_by_index.insert(index, Arc::clone(&peer));
        self.peers.insert(key, peer);
        Ok(())
    }

    fn update_allowed_ips(&mut self, index: PeerIndex, update: &PeerUpdate) {
        if update.replace_allowed_ips {
            self.allowed_ips.remove_peer(index);
        }
        for change in &update.allowed_ips {
            match change {
                AllowedIpChange::Add(prefix) => self.allowed_ips.insert(*prefix, index),
                AllowedIpChange::Share(prefix) => {
                    self.allowed_ips.allow(*prefix, index, Role::Sent);
                }
                AllowedIpChange::Accept(prefix) => {
                    self.allowed_ips.allow(*prefix, index, Role::Accepted);
                }
                AllowedIpChange::Remove(prefix) => self.allowed_ips.remove(*prefix, index),
            }
        }
    }
}

impl<'a> Change<'a> {
    /// The next configuration. Peers' tunnels change at once, for both configurations.
    pub(crate) fn apply(self) -> Configuration {
        if self.is_new_identity {
            for peer in self.next.peers.values() {
                peer.tunnel.set_identity(self.next.identity.clone());
            }
        }
        for effect in self.effects {
            effect.apply();
        }
        self.next
    }

    fn set_private_key(&mut self, setting: &Setting<PrivateKey>) {
        let private_key = match setting {
            Setting::Clear => None,
            Setting::To(private_key) => Some(private_key),
        };
        if private_key == self.next.identity.as_ref().map(|it| &it.private_key) {
            return;
        }
        self.next.identity = private_key.map(|it| Arc::new(Identity::new(it.clone())));
        self.is_new_identity = true;

        let own_key = self.next.identity.as_ref().map(|it| it.public_key);
        if let Some(own_key) = own_key {
            self.remove_peer(&own_key);
        }
    }

    fn update_peer(&mut self, update: &'a PeerUpdate) -> Result<(), Errno> {
        let key = update.public_key;
        if update.remove {
            self.remove_peer(&key);
            return Ok(());
        }
        let next = &mut self.next;
        let is_self = next.identity.as_ref().map(|it| it.public_key) == Some(key);
        let known = next.peers.contains_key(&key);
        if is_self || (update.update_only && !known) {
            return Ok(());
        }
        if !known {
            next.add_peer(key)?;
        }
        let Some(peer) = next.peers.get(&key).map(Arc::clone) else {
            return Ok(());
        };
        next.update_allowed_ips(peer.index, update);
        self.effects.push(Effect::Set {
            peer: Arc::clone(&peer),
            update,
        });
        match &update.successor_of {
            None => Ok(()),
            Some(Setting::Clear) => {
                self.cease_to_succeed(&peer);
                Ok(())
            }
            Some(Setting::To(key)) => self.succeed(peer, key),
        }
    }

    fn cease_to_succeed(&mut self, peer: &Peer) {
        if self.next.predecessor(peer).is_some() {
            self.next.pairs.part(peer.index);
        }
    }

    fn succeed(&mut self, successor: Arc<Peer>, predecessor: &PublicKey) -> Result<(), Errno> {
        let predecessor = self.next.peers.get(predecessor).ok_or(Errno::Invalid)?;
        let predecessor = Arc::clone(predecessor);
        self.next.pairs.join(&successor, &predecessor)?;
        self.effects.push(Effect::Locate {
            successor,
            predecessor,
        });
        Ok(())
    }

    fn remove_peer(&mut self, key: &PublicKey) {
        let next = &mut self.next;
        let Some(peer) = next.peers.remove(key) else {
            return;
        };
        next.peers_by_index.remove(&peer.index);
        if let Some(Partner::Successor(heir)) = next.pairs.part(peer.index) {
            next.allowed_ips.reassign(peer.index, heir.index);
            self.effects.push(Effect::Bequeath { from: peer, heir });
        } else {
            next.allowed_ips.remove_peer(peer.index);
        }
    }
}

impl Effect<'_> {
    fn apply(self) {
        match self {
            Self::Bequeath { from, heir } => {
                heir.seat.take_over(&from.seat);
                for frame in from.tunnel.waited() {
                    heir.tunnel.wait(&frame);
                }
            }
            Self::Locate {
                successor,
                predecessor,
            } => {
                if let (None, Some(endpoint)) =
                    (successor.tunnel.endpoint(), predecessor.tunnel.endpoint())
                {
                    successor.tunnel.set_endpoint(endpoint.address);
                }
            }
            Self::Set { peer, update } => set(&peer.tunnel, update),
        }
    }
}

fn set(tunnel: &Tunnel, update: &PeerUpdate) {
    if let Some(setting) = &update.preshared_key {
        tunnel.set_preshared_key(match setting {
            Setting::Clear => None,
            Setting::To(preshared_key) => Some(preshared_key.clone()),
        });
    }
    if let Some(setting) = &update.alternate_preshared_key {
        tunnel.set_alternate_preshared_key(match setting {
            Setting::Clear => None,
            Setting::To(alternate) => Some(alternate.clone()),
        });
    }
    if let Some(endpoint) = update.endpoint {
        tunnel.set_endpoint(endpoint);
    }
    if let Some(seconds) = update.persistent_keepalive_seconds {
        tunnel.set_persistent_keepalive(seconds);
    }
}

impl PeerIndex {
    fn random() -> Self {
        Self(rand::random::<u32>() >> SESSION_BITS)
    }
}

#[cfg(test)]
mod tests;
