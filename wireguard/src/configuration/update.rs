//! Turns one configuration into the next.

use std::sync::Arc;

use super::{Configuration, Peer, PeerIndex};
use crate::allowed_ips::AllowedIps;
use crate::tunnel::{Identity, SESSION_BITS, Tunnel};
use crate::uapi::{AllowedIpChange, Errno, PeerUpdate, Setting, Update};
use crate::{PrivateKey, PublicKey};

/// The kernel's limit too; a sixteenth of the indices, so that a free one is found quickly.
const PEERS_MAX: usize = 1 << 20;

impl Configuration {
    /// Whether `update` fits the device. What it asks of the system is not judged here.
    pub(crate) fn check(&self, update: &Update) -> Result<(), Errno> {
        if PEERS_MAX < self.peers.len() + update.peers.len() {
            return Err(Errno::OutOfMemory);
        }
        Ok(())
    }

    /// The configuration after `update`. Peers' tunnels change at once, for both configurations.
    pub(crate) fn updated(&self, update: &Update) -> Self {
        let mut next = self.clone();
        if let Some(setting) = &update.private_key {
            next.set_private_key(setting);
        }
        next.fwmark = update.fwmark.unwrap_or(next.fwmark);
        if update.replace_peers {
            next.peers.clear();
            next.peers_by_index.clear();
            next.allowed_ips = AllowedIps::default();
        }
        for peer in &update.peers {
            next.update_peer(peer);
        }
        next
    }

    fn set_private_key(&mut self, setting: &Setting<PrivateKey>) {
        let private_key = match setting {
            Setting::Clear => None,
            Setting::To(private_key) => Some(private_key),
        };
        if private_key == self.identity.as_ref().map(|it| &it.private_key) {
            return;
        }
        self.identity = private_key.map(|it| Arc::new(Identity::new(it.clone())));

        let own_key = self.identity.as_ref().map(|it| it.public_key);
        if let Some(own_key) = own_key {
            self.remove_peer(&own_key);
        }
        for peer in self.peers.values() {
            peer.tunnel.set_identity(self.identity.clone());
        }
    }

    fn update_peer(&mut self, update: &PeerUpdate) {
        let key = update.public_key;
        if update.remove {
            return self.remove_peer(&key);
        }
        let is_self = self.identity.as_ref().map(|it| it.public_key) == Some(key);
        let known = self.peers.contains_key(&key);
        if is_self || (update.update_only && !known) {
            return;
        }
        if !known {
            self.add_peer(key);
        }
        let Some(peer) = self.peers.get(&key).map(Arc::clone) else {
            return;
        };
        if let Some(setting) = &update.preshared_key {
            peer.tunnel.set_preshared_key(match setting {
                Setting::Clear => None,
                Setting::To(preshared_key) => Some(preshared_key.clone()),
            });
        }
        if let Some(endpoint) = update.endpoint {
            peer.tunnel.set_endpoint(endpoint);
        }
        if let Some(seconds) = update.persistent_keepalive_seconds {
            peer.tunnel.set_persistent_keepalive(seconds);
        }
        self.update_allowed_ips(peer.index, update);
    }

    fn update_allowed_ips(&mut self, index: PeerIndex, update: &PeerUpdate) {
        if update.replace_allowed_ips {
            self.allowed_ips.remove_peer(index);
        }
        for change in &update.allowed_ips {
            match change {
                AllowedIpChange::Add(prefix) => self.allowed_ips.insert(*prefix, index),
                AllowedIpChange::Remove(prefix) => self.allowed_ips.remove(*prefix, index),
            }
        }
    }

    fn add_peer(&mut self, key: PublicKey) {
        let mut index = PeerIndex::random();
        while self.peers_by_index.contains_key(&index) {
            index = PeerIndex::random();
        }
        let tunnel = Tunnel::new(key, index.0);
        tunnel.set_identity(self.identity.clone());
        let peer = Arc::new(Peer { index, tunnel });
        self.peers_by_index.insert(index, Arc::clone(&peer));
        self.peers.insert(key, peer);
    }

    fn remove_peer(&mut self, key: &PublicKey) {
        if let Some(peer) = self.peers.remove(key) {
            self.peers_by_index.remove(&peer.index);
            self.allowed_ips.remove_peer(peer.index);
        }
    }
}

impl PeerIndex {
    fn random() -> Self {
        Self(rand::random::<u32>() >> SESSION_BITS)
    }
}
