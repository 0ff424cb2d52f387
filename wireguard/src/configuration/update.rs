//! Turns one configuration into the next.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{Configuration, Identity, Peer, PeerIndex, SESSION_BITS};
use crate::allowed_ips::AllowedIps;
use crate::tunnel::{Secrets, Tunnel};
use crate::uapi::{AllowedIpChange, Errno, PeerUpdate, Setting, Update};
use crate::{PresharedKey, PrivateKey, PublicKey};

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
    pub(crate) fn updated(&self, update: &Update, now: Instant) -> Self {
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
            next.update_peer(peer, now);
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
            self.rebuild(peer);
        }
    }

    fn update_peer(&mut self, update: &PeerUpdate, now: Instant) {
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
            self.add_peer(key, now);
        }
        if let Some(setting) = &update.preshared_key {
            self.set_preshared_key(key, setting);
        }
        let Some(peer) = self.peers.get(&key).map(Arc::clone) else {
            return;
        };

        let mut tunnel = peer.tunnel();
        if let Some(endpoint) = update.endpoint {
            tunnel.set_endpoint(endpoint);
        }
        if let Some(seconds) = update.persistent_keepalive_seconds {
            tunnel.set_persistent_keepalive(seconds);
        }
        drop(tunnel);
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

    fn add_peer(&mut self, key: PublicKey, now: Instant) {
        let mut index = PeerIndex::random();
        while self.peers_by_index.contains_key(&index) {
            index = PeerIndex::random();
        }
        let peer = Peer {
            index,
            preshared_key: None,
            tunnel: Arc::new(Mutex::new(Tunnel::new(key, index.0, now))),
        };
        self.rebuild(&peer);
        self.put_peer(key, peer);
    }

    fn set_preshared_key(&mut self, key: PublicKey, setting: &Setting<PresharedKey>) {
        let preshared_key = match setting {
            Setting::Clear => None,
            Setting::To(preshared_key) => Some(preshared_key.clone()),
        };
        let Some(peer) = self.peers.get(&key) else {
            return;
        };
        if peer.preshared_key == preshared_key {
            return;
        }
        let peer = Peer {
            index: peer.index,
            preshared_key,
            tunnel: Arc::clone(&peer.tunnel),
        };
        self.rebuild(&peer);
        self.put_peer(key, peer);
    }

    fn put_peer(&mut self, key: PublicKey, peer: Peer) {
        let peer = Arc::new(peer);
        self.peers_by_index.insert(peer.index, Arc::clone(&peer));
        self.peers.insert(key, peer);
    }

    fn remove_peer(&mut self, key: &PublicKey) {
        if let Some(peer) = self.peers.remove(key) {
            self.peers_by_index.remove(&peer.index);
            self.allowed_ips.remove_peer(peer.index);
        }
    }

    fn rebuild(&self, peer: &Peer) {
        let secrets = self.identity.as_ref().map(|it| Secrets {
            private_key: it.private_key.clone(),
            preshared_key: peer.preshared_key.clone(),
            unlimited: Arc::clone(&it.unlimited),
        });
        peer.tunnel().rebuild(secrets);
    }
}

impl PeerIndex {
    fn random() -> Self {
        Self(rand::random::<u32>() >> SESSION_BITS)
    }
}
