//! Everything a device is configured with, as a value: how an update changes it, and where it
//! sends each packet and datagram. It never opens or sends anything itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::PublicKey;
use crate::admission::{Admission, Verdict};
use crate::allowed_ips::{AllowedIps, Role};
use crate::dropped::DropCause;
use crate::inbox::Inbox;
use crate::message::{Initiation, Message};
use crate::noise::Claim;
use crate::stamper::Stamper;
use crate::tunnel::{Endpoint, Identity, Now, Reply, SESSION_BITS, Tunnel};
use crate::uapi::{DeviceState, PeerState};

mod pairs;
mod spread;
mod update;

pub(crate) use spread::{Open, Way};

use pairs::{Pairs, Partner};
use spread::Seat;

/// The configuration at one moment. Readers share it; an update makes the next one.
///
/// Tunnels are shared between successive configurations, so that sessions outlive updates.
#[derive(Clone, Default)]
pub(crate) struct Configuration {
    identity: Option<Arc<Identity>>,
    admission: Arc<Mutex<Option<Admission>>>,
    stamper: Arc<Stamper>,
    fwmark: u32,
    peers: BTreeMap<PublicKey, Arc<Peer>>,
    peers_by_index: BTreeMap<PeerIndex, Arc<Peer>>,
    allowed_ips: AllowedIps<PeerIndex>,
    pairs: Pairs,
}

/// A peer and its tunnel.
pub(crate) struct Peer {
    index: PeerIndex,
    seat: Seat,
    pub(crate) tunnel: Tunnel,
}

/// Names a peer in the upper three bytes of the session indices it addresses us by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PeerIndex(u32);

impl Configuration {
    /// One that knows nothing yet, and gives out timestamps after those of a former process.
    pub(crate) fn new(stamper: Stamper) -> Self {
        Self {
            stamper: Arc::new(stamper),
            ..Self::default()
        }
    }

    pub(crate) fn fwmark(&self) -> u32 {
        self.fwmark
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.peers.values()
    }

    /// Gives out the timestamps of all handshakes.
    pub(crate) fn stamper(&self) -> &Stamper {
        &self.stamper
    }

    pub(crate) fn state(&self, listen_port: u16) -> DeviceState {
        let mut prefixes = BTreeMap::<_, Vec<_>>::new();
        for (prefix, owner, role) in self.allowed_ips.iter() {
            prefixes.entry((owner, role)).or_default().push(prefix);
        }
        let peers = self.peers.iter().map(|(key, peer)| {
            let mut prefixes = |role| {
                let those = prefixes.remove(&(peer.index, role));
                those.unwrap_or_default().into_iter().collect()
            };
            let state = PeerState {
                allowed_ips: prefixes(Role::Sent),
                accepted_ips: prefixes(Role::Accepted),
                successor_of: self.predecessor(peer).map(Tunnel::public_key),
                ..peer.tunnel.state()
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

    fn predecessor(&self, peer: &Peer) -> Option<&Tunnel> {
        match self.pairs.partner(peer.index)? {
            Partner::Predecessor(it) => Some(&it.tunnel),
            Partner::Successor(_) => None,
        }
    }

    /// Whether `peer` may send what comes from `source`.
    pub(crate) fn is_allowed(&self, source: IpAddr, peer: &Peer) -> bool {
        let partner = self.partner(peer).map(|it| it.index);
        let is_sender = |it| it == peer.index || Some(it) == partner;
        self.allowed_ips.accepts(source, is_sender)
    }

    /// The same end under its other key, while it changes its key.
    pub(crate) fn partner(&self, peer: &Peer) -> Option<&Arc<Peer>> {
        self.pairs.partner(peer.index).map(Partner::peer)
    }

    /// Whether something waits for a session with `peer`, or with the same end under another key.
    pub(crate) fn has_waiting(&self, peer: &Peer) -> bool {
        peer.tunnel.has_waiting() || self.partner(peer).is_some_and(|it| it.tunnel.has_waiting())
    }

    /// The peer that addresses us by a session of this index.
    pub(crate) fn peer_addressed(&self, session: u32) -> Option<&Arc<Peer>> {
        self.peers_by_index.get(&PeerIndex(session >> SESSION_BITS))
    }

    /// Takes a datagram that is no packet.
    pub(crate) fn handle_handshake(
        &self,
        datagram: &[u8],
        from: Endpoint,
        now: Now,
        inbox: &mut Inbox,
    ) {
        let Some(message) = Message::parse(datagram) else {
            inbox.dropped.malformed += 1;
            return;
        };
        let Some(identity) = &self.identity else {
            inbox.dropped.no_peer += 1;
            return;
        };
        let sender = match message {
            Message::Initiation(it) => Some(it.sender),
            Message::Response(it) => Some(it.sender),
            Message::CookieReply(_) | Message::Data { .. } => None,
        };
        if let Some(sender) = sender {
            match self.judge(identity, datagram, from, now) {
                Verdict::Admit => (),
                Verdict::Drop => {
                    inbox.dropped.not_authentic += 1;
                    return;
                }
                Verdict::Prove(cookie) => {
                    let nonce = rand::random();
                    let reply = identity.mac_keys.reply(datagram, sender, cookie, &nonce);
                    let payload = reply.to_vec();
                    inbox.replies.push(Reply { payload, to: from });
                    return;
                }
            }
        }
        match message {
            Message::Initiation(message) => self.answer(identity, message, from, now, inbox),
            Message::Response(message) => match self.peer_addressed(message.receiver) {
                Some(peer) if peer.tunnel.finish(message, from, now) => {
                    inbox.established.push(Arc::clone(peer));
                }
                Some(peer) => inbox.lose(peer, DropCause::NotAuthentic, 1),
                None => inbox.dropped.not_authentic += 1,
            },
            Message::CookieReply(message) => match self.peer_addressed(message.receiver) {
                Some(peer) if peer.tunnel.take_cookie(message, now) => (),
                Some(peer) => inbox.lose(peer, DropCause::NotAuthentic, 1),
                None => inbox.dropped.not_authentic += 1,
            },
            Message::Data { .. } => (),
        }
    }

    fn answer(
        &self,
        identity: &Identity,
        message: Initiation<'_>,
        from: Endpoint,
        now: Now,
        inbox: &mut Inbox,
    ) {
        let Some(claim) = Claim::read(&identity.private_key, message.handshake) else {
            inbox.dropped.not_authentic += 1;
            return;
        };
        let Some(peer) = self.peers.get(&claim.public_key) else {
            inbox.dropped.no_peer += 1;
            return;
        };
        match peer.tunnel.answer(claim, message, from, now) {
            Some(reply) => inbox.replies.push(reply),
            None => inbox.lose(peer, DropCause::NotAuthentic, 1),
        }
    }

    fn judge(&self, identity: &Identity, datagram: &[u8], from: Endpoint, now: Now) -> Verdict {
        // Whole between any two calls, so a panic elsewhere does not spoil it.
        let mut admission = self
            .admission
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        admission
            .get_or_insert_with(|| Admission::new(now.milliseconds))
            .judge(&identity.mac_keys, datagram, from.address, now.milliseconds)
    }
}
