//! Everything a device is configured with, as a value: how an update changes it, and where it
//! sends each packet and datagram. It never opens or sends anything itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};

use crate::allowed_ips::AllowedIps;
use crate::outgoing::Outgoing;
use crate::tunnel::{Datagram, Now, Received, Tunnel};
use crate::uapi::{DeviceState, PeerState};
use crate::{PresharedKey, PrivateKey, PublicKey};

mod update;

/// The configuration at one moment. Readers share it; an update makes the next one.
///
/// Tunnels are shared between successive configurations, so that sessions outlive updates.
#[derive(Clone, Default)]
pub(crate) struct Configuration {
    identity: Option<Arc<Identity>>,
    fwmark: u32,
    peers: BTreeMap<PublicKey, Arc<Peer>>,
    peers_by_index: BTreeMap<PeerIndex, Arc<Peer>>,
    allowed_ips: AllowedIps<PeerIndex>,
}

/// A peer and its tunnel.
pub(crate) struct Peer {
    index: PeerIndex,
    preshared_key: Option<PresharedKey>,
    /// A lock and not one owner, because boringtun's session needs exclusive access from the thread
    /// that seals, the one that opens and the one that keeps time. It is held for one packet's
    /// cipher and never while sending.
    tunnel: Arc<Mutex<Tunnel>>,
}

/// Why a packet or datagram goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Not an IP packet, or not a WireGuard message.
    Malformed,
    /// No peer is allowed the destination address, or answers to the index or key.
    NoPeer,
    /// Not proven to be genuine: a wrong key, a replay, or a session that is over.
    NotAuthentic,
    /// Genuine, but with a source address that belongs to another peer or to none.
    Spoofed,
}

/// What is to be done about a datagram.
#[derive(Debug)]
pub(crate) enum Inbound<'a> {
    Nothing,
    Deliver(&'a [u8]),
    Drop(Dropped),
    Reply(Datagram<'a>),
}

/// The device's own keys, and what follows from them.
struct Identity {
    private_key: PrivateKey,
    public_key: PublicKey,
    /// Decides when handshakes cost a cookie.
    limiter: RateLimiter,
    /// Never refuses; tunnels check each handshake again after `limiter` has passed it.
    unlimited: Arc<RateLimiter>,
}

/// Names a peer in the upper three bytes of the session indices it addresses us by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PeerIndex(u32);

/// Handshakes per second, over all peers, above which senders must prove their address.
const HANDSHAKES_PER_SECOND_MAX: u64 = 100;

/// How many bits of a session index are the session's own.
const SESSION_BITS: u32 = 8;

impl Configuration {
    pub(crate) fn fwmark(&self) -> u32 {
        self.fwmark
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().map(Arc::as_ref)
    }

    /// Starts a new second for the limit on handshakes. Call it as often as you like.
    pub(crate) fn reset_limits(&self) {
        if let Some(identity) = &self.identity {
            identity.limiter.reset_count();
        }
    }

    pub(crate) fn state(&self, listen_port: u16) -> DeviceState {
        let mut prefixes = BTreeMap::<_, Vec<_>>::new();
        for (prefix, owner) in self.allowed_ips.iter() {
            prefixes.entry(owner).or_default().push(prefix);
        }
        let peers = self.peers.iter().map(|(key, peer)| {
            let allowed_ips = prefixes.remove(&peer.index).unwrap_or_default();
            let state = PeerState {
                preshared_key: peer.preshared_key.clone(),
                allowed_ips: allowed_ips.into_iter().collect(),
                ..peer.tunnel().state()
            };
            (*key, state)
        });
        DeviceState {
            private_key: self.identity.as_ref().map(|it| it.private_key.clone()),
            listen_port,
            fwmark: self.fwmark,
            peers: peers.collect(),
        }
    }

    /// Seals a packet from the interface for the peer that is allowed its destination.
    ///
    /// Without a datagram the packet waits for a handshake, or is lost for want of an endpoint.
    pub(crate) fn outbound<'a>(
        &self,
        packet: Outgoing<'_>,
        buffer: &'a mut [u8],
        now: Now,
    ) -> Result<Option<Datagram<'a>>, Dropped> {
        let destination = Tunn::dst_address(packet.padded()).ok_or(Dropped::Malformed)?;
        let peer = self.peer_allowed(destination).ok_or(Dropped::NoPeer)?;
        Ok(peer.tunnel().send(packet, buffer, now))
    }

    /// Opens a datagram from the network.
    ///
    /// If a peer is named, its [`next_queued`](Tunnel::next_queued) packets are due afterwards.
    pub(crate) fn inbound<'a>(
        &self,
        datagram: &[u8],
        source: SocketAddr,
        buffer: &'a mut [u8],
        now: Now,
    ) -> (Inbound<'a>, Option<&Peer>) {
        match self.sender(datagram, source, buffer) {
            Ok(Sender::Peer(peer)) => {
                let received = peer.tunnel().receive(datagram, source, buffer, now);
                (self.judged(peer, received), Some(peer))
            }
            Ok(Sender::Unproven { cookie_bytes }) => {
                let payload = &buffer[..cookie_bytes];
                let to = source;
                (Inbound::Reply(Datagram { payload, to }), None)
            }
            Err(dropped) => (Inbound::Drop(dropped), None),
        }
    }

    /// Finds out who sent `datagram`, or claims to have. Writes a cookie if one is due first.
    fn sender(
        &self,
        datagram: &[u8],
        source: SocketAddr,
        cookie: &mut [u8],
    ) -> Result<Sender<'_>, Dropped> {
        let identity = self.identity.as_ref().ok_or(Dropped::NoPeer)?;
        let limiter = &identity.limiter;
        let message = match limiter.verify_packet(Some(source.ip()), datagram, cookie) {
            Ok(message) => message,
            Err(TunnResult::WriteToNetwork(cookie)) => {
                let cookie_bytes = cookie.len();
                return Ok(Sender::Unproven { cookie_bytes });
            }
            Err(_) => return Err(Dropped::Malformed),
        };

        let peer = match message {
            Packet::HandshakeInit(message) => {
                let secret = identity.private_key.secret();
                let public = x25519_dalek::PublicKey::from(*identity.public_key.as_bytes());
                let claim = parse_handshake_anon(secret, &public, &message)
                    .map_err(|_| Dropped::NotAuthentic)?;
                self.peers.get(&PublicKey::from(claim.peer_static_public))
            }
            Packet::HandshakeResponse(message) => self.peer_addressing(message.receiver_idx),
            Packet::PacketCookieReply(message) => self.peer_addressing(message.receiver_idx),
            Packet::PacketData(message) => self.peer_addressing(message.receiver_idx),
        };
        peer.map(|it| Sender::Peer(it)).ok_or(Dropped::NoPeer)
    }

    fn peer_addressing(&self, session: u32) -> Option<&Arc<Peer>> {
        self.peers_by_index.get(&PeerIndex(session >> SESSION_BITS))
    }

    fn judged<'a>(&self, peer: &Peer, received: Received<'a>) -> Inbound<'a> {
        match received {
            Received::Rejected => Inbound::Drop(Dropped::NotAuthentic),
            Received::Consumed => Inbound::Nothing,
            Received::Reply(reply) => Inbound::Reply(reply),
            Received::Packet(packet) => {
                let owner = source_address(packet).and_then(|it| self.allowed_ips.lookup(it));
                if owner == Some(peer.index) {
                    Inbound::Deliver(packet)
                } else {
                    Inbound::Drop(Dropped::Spoofed)
                }
            }
        }
    }

    fn peer_allowed(&self, address: IpAddr) -> Option<&Peer> {
        let index = self.allowed_ips.lookup(address)?;
        self.peers_by_index.get(&index).map(Arc::as_ref)
    }
}

impl Peer {
    /// The tunnel, for one packet at a time.
    pub(crate) fn tunnel(&self) -> MutexGuard<'_, Tunnel> {
        // A tunnel is whole between any two calls, so a panic elsewhere does not spoil it.
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Identity {
    fn new(private_key: PrivateKey) -> Self {
        let public_key = private_key.public_key();
        let point = x25519_dalek::PublicKey::from(*public_key.as_bytes());
        Self {
            private_key,
            public_key,
            limiter: RateLimiter::new(&point, HANDSHAKES_PER_SECOND_MAX),
            unlimited: Arc::new(RateLimiter::new(&point, u64::MAX)),
        }
    }
}

/// Who sent a datagram, as far as it is known before opening it.
enum Sender<'a> {
    Peer(&'a Peer),
    /// Somebody who must first send the cookie back that was written to the buffer.
    Unproven {
        cookie_bytes: usize,
    },
}

/// The source address of a packet that boringtun has found to be IP.
fn source_address(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => {
            let octets: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            Some(octets.into())
        }
        6 => {
            let octets: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            Some(octets.into())
        }
        _ => None,
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
mod tests;
